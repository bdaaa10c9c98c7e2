//! `edgeless_cli function build`: has cargo compile a guest to WebAssembly, and makes a component of it if it
//! has the bindings of one.
//!
//! Where the target `wasm32-unknown-unknown` is installed, that toolchain is used; else Debian's
//! `rustc-web` and `rust-web-src` with the standard library built from source.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Args;
use serde_json::{Value, json};
use wit_component::ComponentEncoder;

use crate::{
    failure::{Failure, file},
    output::Output,
};

const TARGET: &str = "wasm32-unknown-unknown";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Functions of the host are found when the module is loaded.
const FLAGS: &str = "-Clink-arg=--import-undefined";

#[derive(Debug, Args)]
pub(crate) struct Build {
    /// Folders of guest crates; each gets `<folder>.wasm`
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
}

/// How guests are compiled here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Toolchain {
    /// The toolchain of the folder has the target.
    Own,
    /// Debian's compiler builds the standard library; the linker comes with the own toolchain.
    Debian { linker: PathBuf },
}

/// Compiles each folder.
///
/// # Errors
/// There is no compiler for the target, or the source does not compile.
pub(crate) fn run(build: &Build, output: &Output) -> Result<(), Failure> {
    for dir in &build.dirs {
        let built = build_one(dir)?;
        let bytes = std::fs::metadata(&built).map_err(file(&built))?.len();
        let answer = json!({ "code": built, "bytes": bytes });
        output.answer(&answer, |_| {
            format!("{} is built, {bytes} bytes\n", built.display())
        })?;
    }
    Ok(())
}

fn build_one(dir: &Path) -> Result<PathBuf, Failure> {
    let folder = dir.canonicalize().map_err(file(dir))?;
    let name = folder
        .file_name()
        .ok_or_else(|| Failure::Usage(format!("`{}` has no name", dir.display())))?;
    if !folder.join("Cargo.toml").is_file() {
        let shown = dir.display();
        return Err(Failure::Build(format!("`{shown}` has no Cargo.toml")));
    }
    let path = compile(&folder, &toolchain(&folder)?)?;
    let target = dir.join(name).with_added_extension("wasm");
    let code = std::fs::read(&path).map_err(file(&path))?;
    std::fs::write(&target, finished(code)?).map_err(file(&target))?;
    Ok(target)
}

/// What bindings for components leave in a module.
const BINDINGS: &[u8] = b"component-type";

/// The component that a module is meant to be, if it is, or else the module as it is.
fn finished(module: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if !module
        .windows(BINDINGS.len())
        .any(|bytes| bytes == BINDINGS)
    {
        return Ok(module);
    }
    let encoder = ComponentEncoder::default().module(&module);
    let component = encoder.and_then(|encoder| encoder.validate(true).encode());
    component.map_err(|error| Failure::Build(format!("no component can be made of it: {error:#}")))
}

/// Looks for a compiler of the target.
fn toolchain(folder: &Path) -> Result<Toolchain, Failure> {
    let arguments = ["--print", "target-libdir", "--target", TARGET];
    let libraries = PathBuf::from(ask("rustc", &arguments, folder)?);
    if libraries.is_dir() {
        return Ok(Toolchain::Own);
    }
    let missing = |what: &str| {
        Failure::Build(format!(
            "{what}: run `rustup target add {TARGET}`, or on Debian \
             `apt-get install rustc-web rust-web-src`"
        ))
    };
    if !Path::new(DEBIAN_RUSTC).exists() {
        return Err(missing("no compiler for WebAssembly is installed"));
    }
    let sysroot = PathBuf::from(ask("rustc", &["--print", "sysroot"], folder)?);
    let host = ask("rustc", &["--print", "host-tuple"], folder)?;
    let linker = sysroot.join("lib/rustlib").join(host).join("bin/rust-lld");
    match linker.exists() {
        true => Ok(Toolchain::Debian { linker }),
        false => Err(missing("no linker for WebAssembly is installed")),
    }
}

/// The one line that a program prints.
fn ask(program: &str, arguments: &[&str], folder: &Path) -> Result<String, Failure> {
    let asked = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::Build(format!("could not run `{program}`: {error}")))?;
    let command = arguments.join(" ");
    match asked.status.success() {
        true => Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned()),
        false => Err(Failure::Build(format!("`{program} {command}` failed"))),
    }
}

/// Runs cargo and answers where the module is.
fn compile(folder: &Path, toolchain: &Toolchain) -> Result<PathBuf, Failure> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", FLAGS)
        .current_dir(folder)
        .stdout(Stdio::piped());
    if let Toolchain::Debian { linker } = toolchain {
        cargo
            .arg("-Zbuild-std=std,panic_abort")
            .env("RUSTC", DEBIAN_RUSTC)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
    }
    let could_not = |error| Failure::Build(format!("could not run `cargo`: {error}"));
    let mut running = cargo.spawn().map_err(could_not)?;
    let mut messages = String::new();
    let mut stdout = running.stdout.take().expect("it was asked for");
    let read = stdout.read_to_string(&mut messages);
    let status = running.wait().map_err(could_not)?;
    read.map_err(could_not)?;
    if !status.success() {
        let shown = folder.display();
        return Err(Failure::Build(format!("`{shown}` does not compile")));
    }
    module(&messages, folder).ok_or_else(|| {
        let problem = "its Cargo.toml needs `[lib] crate-type = [\"cdylib\"]`";
        Failure::Build(format!("`{}` gives no module: {problem}", folder.display()))
    })
}

/// The module of the crate in a folder, among what cargo says it made.
fn module(messages: &str, folder: &Path) -> Option<PathBuf> {
    let manifest = folder.join("Cargo.toml");
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(&manifest))
        .filter_map(|message| {
            let mut files = message["filenames"].as_array()?.iter();
            let code = files.find_map(|path| path.as_str().filter(|it| it.ends_with(".wasm")))?;
            Some(PathBuf::from(code))
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_of_the_folder_is_taken_and_not_that_of_a_dependency() {
        let messages = [
            json!({"reason": "compiler-artifact", "manifest_path": "/sdk/Cargo.toml",
                "filenames": ["/t/sdk.wasm"]}),
            json!({"reason": "compiler-artifact", "manifest_path": "/double/Cargo.toml",
                "filenames": ["/t/double.d", "/t/double.wasm"]}),
            json!({"reason": "build-finished", "success": true}),
        ];
        let messages: String = messages
            .iter()
            .map(|message| format!("{message}\n"))
            .collect();
        let found = |folder| module(&messages, Path::new(folder));
        assert_eq!(found("/double"), Some(PathBuf::from("/t/double.wasm")));
        assert_eq!(found("/other"), None);
    }

    #[test]
    fn modules_without_bindings_stay_modules_and_torn_bindings_are_an_error() {
        let module = b"\0asm\x01\0\0\0".to_vec();
        assert_eq!(finished(module.clone()).unwrap(), module);
        // A section of this name that holds nothing.
        let torn = [&module[..], b"\0\x0f\x0ecomponent-type"].concat();
        let shown = finished(torn).unwrap_err().to_string();
        assert!(shown.contains("component"), "{shown}");
    }

    #[test]
    fn a_folder_without_a_crate_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let shown = build_one(folder.path()).unwrap_err().to_string();
        assert!(shown.contains("Cargo.toml"), "{shown}");
    }
}
