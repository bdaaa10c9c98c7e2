//! `cargo xtask functions`: builds the example functions, and knows whether they are up to date.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use crate::{component, process};

const TARGET: &str = "wasm32-unknown-unknown";

/// Options of `cargo xtask functions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Build nothing; fail when a `.wasm` does not match its source
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = process::root().join("functions");
    if arguments.check {
        return check(&folder);
    }
    process::run(&mut build_command(&folder)?)?;
    for name in names(&folder)? {
        let built = folder.join(format!("target/{TARGET}/release/{name}.wasm"));
        let script = folder.join(&name).join("build.sh");
        if script.exists() {
            process::run(Command::new(&script).arg(&built))?;
        }
        let code =
            fs::read(&built).with_context(|| format!("could not read `{}`", built.display()))?;
        let code = match is_component(&folder, &name)? {
            true => component::encode(&code).with_context(|| format!("`{name}`"))?,
            false => code,
        };
        let kept = folder.join(&name).join(format!("{name}.wasm"));
        fs::write(&kept, code).with_context(|| format!("could not write `{}`", kept.display()))?;
    }
    let text = checksums(&folder)?;
    fs::write(folder.join("checksums.txt"), text).context("could not write the checksums")
}

/// Fails when what is checked in does not match.
pub(crate) fn check(folder: &Path) -> anyhow::Result<()> {
    let kept = fs::read_to_string(folder.join("checksums.txt"))
        .context("could not read functions/checksums.txt")?;
    if kept != checksums(folder)? {
        bail!("a function or its .wasm has changed; `cargo xtask functions` builds them anew");
    }
    Ok(())
}

fn build_command(folder: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new("cargo");
    if !has_target() {
        // Debian's compiler for the web, with a standard library that is built along.
        println!("the target {TARGET} is missing; trying Debian's compiler");
        let compiler = ["/usr/lib/rust-web/bin/rustc", "/usr/bin/rustc"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .context("install rustc-web, cargo-web and rust-web-src, or `rustup target add wasm32-unknown-unknown`")?;
        command.env("RUSTC", compiler).env("RUSTC_BOOTSTRAP", "1");
        command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker()?);
        command.args(["build", "-Zbuild-std=std,panic_abort"]);
    } else {
        command.arg("build");
    }
    command
        .args(["--release", "--target", TARGET, "--target-dir", "target"])
        .current_dir(folder);
    command.env("RUSTFLAGS", "-C link-arg=--import-undefined");
    Ok(command)
}

fn sysroot() -> anyhow::Result<PathBuf> {
    let output = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()?;
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim(),
    ))
}

fn has_target() -> bool {
    sysroot().is_ok_and(|root| root.join("lib/rustlib").join(TARGET).exists())
}

fn linker() -> anyhow::Result<PathBuf> {
    let rustlib = sysroot()?.join("lib/rustlib");
    for entry in fs::read_dir(&rustlib)? {
        let linker = entry?.path().join("bin/rust-lld");
        if linker.exists() {
            return Ok(linker);
        }
    }
    bail!(
        "the toolchain has no rust-lld below `{}`",
        rustlib.display()
    )
}

/// The functions: folders with a `function.toml`.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.join("function.toml").exists()
            && let Some(name) = path.file_name()
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a function is a component.
fn is_component(folder: &Path, name: &str) -> anyhow::Result<bool> {
    let text = fs::read_to_string(folder.join(name).join("function.toml"))?;
    Ok(text
        .lines()
        .any(|line| line == "function_type = \"WASM_COMPONENT\""))
}

/// One line per function: the hash of all it is made from, and that of its `.wasm`.
fn checksums(folder: &Path) -> anyhow::Result<String> {
    let mut text = String::from("# function, SHA-256 of its sources, SHA-256 of its .wasm\n");
    for name in names(folder)? {
        let mut sources = BTreeMap::new();
        let shared: &[&str] = match is_component(folder, &name)? {
            true => &["sdk_c", "../node/wit"],
            false => &["sdk", "sdk_image", "sdk_orders"],
        };
        for part in ["Cargo.toml", "Cargo.lock", &name].iter().chain(shared) {
            collect(folder, &folder.join(part), &mut sources)?;
        }
        let mut hasher = Sha256::new();
        for (path, content) in &sources {
            hasher.update(path.as_bytes());
            hasher.update(content);
        }
        let wasm = fs::read(folder.join(&name).join(format!("{name}.wasm")))
            .with_context(|| format!("`{name}` is not built"))?;
        writeln!(
            text,
            "{name} {} {}",
            hex(&hasher.finalize()),
            hex(&Sha256::digest(wasm))
        )?;
    }
    Ok(text)
}

fn collect(root: &Path, path: &Path, into: &mut BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            collect(root, &entry?.path(), into)?;
        }
    } else if path
        .extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| ["rs", "toml", "lock", "c", "h", "sh", "wit"].contains(&ending))
    {
        let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
        into.insert(name, fs::read(path)?);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_checked_in_function_matches_its_source() {
        super::check(&crate::process::root().join("functions")).unwrap();
    }
}
