//! `cargo xtask test`: everything, with real daemons and a real Redis.

use crate::{install, process};

pub(crate) fn run() -> anyhow::Result<()> {
    install::ensure("redis-server", "redis-server")?;
    install::ensure_python("redis", "python3-redis")?;
    // One test sets the clock of daemons with it, and is skipped without it.
    if let Err(error) = install::ensure("faketime", "faketime") {
        println!("{error}; the test that sets clocks is skipped");
    }
    // The examples of `docs/datasets.md` run with it.
    if let Err(error) = install::ensure_python("pandas", "python3-pandas") {
        println!("{error}; the test that runs examples with it is skipped");
    }
    println!("building the daemons, with which the tests run");
    process::run(process::cargo().args(["build", "--workspace", "--bins"]))?;
    process::run(process::cargo().args(["test", "--workspace"]))?;
    // The guests are a workspace of their own; what needs no host is tested on this machine.
    let sdk = ["--manifest-path", "functions/Cargo.toml"];
    process::run(
        process::cargo()
            .arg("test")
            .args(sdk)
            .args(["-p", "edgeless_function"]),
    )
}
