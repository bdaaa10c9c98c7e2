//! Installs what the machine lacks, where that can be done; else says what to install.

use std::{path::Path, process::Command};

use anyhow::bail;

use crate::process;

/// Makes sure that `program` is there; on Debian by installing `package`.
pub(crate) fn ensure(program: &str, package: &str) -> anyhow::Result<()> {
    if is_there(program) {
        return Ok(());
    }
    if !Path::new("/etc/debian_version").exists() {
        bail!(
            "`{program}` is missing: install it with your system's package manager, then try again"
        );
    }
    println!("`{program}` is missing: installing the Debian package `{package}`");
    install(package)?;
    if !is_there(program) {
        bail!("`{package}` is installed, but `{program}` is not on the path");
    }
    Ok(())
}

/// Makes sure that some Python has `module`; on Debian by installing `package`.
pub(crate) fn ensure_python(module: &str, package: &str) -> anyhow::Result<()> {
    if has_module(module) {
        return Ok(());
    }
    if !Path::new("/etc/debian_version").exists() {
        bail!("no `python3` has the module `{module}`: install it, then try again");
    }
    println!("Python's `{module}` is missing: installing the Debian package `{package}`");
    install(package)?;
    if !has_module(module) {
        bail!("`{package}` is installed, but no `python3` has the module `{module}`");
    }
    Ok(())
}

/// Whether one of the Pythons that the tests try has a module.
fn has_module(module: &str) -> bool {
    ["python3", "/usr/bin/python3"].into_iter().any(|program| {
        let import = Command::new(program)
            .args(["-c", &format!("import {module}")])
            .output();
        import.is_ok_and(|output| output.status.success())
    })
}

fn install(package: &str) -> anyhow::Result<()> {
    process::run(apt_get().arg("update").arg("-qq"))?;
    process::run(apt_get().args(["install", "-y", "-qq", "--no-install-recommends", package]))
}

fn apt_get() -> Command {
    let mut command = match is_root() {
        true => Command::new("apt-get"),
        false => {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        }
    };
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Whether a program is on the path.
pub(crate) fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
