//! `cargo xtask bench`: optimised daemons, and the load generators of `tests/`.

use crate::{install, process};

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    install::ensure("redis-server", "redis-server")?;
    process::run(process::cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    let bench = process::root().join("target/release/bench");
    process::run(
        std::process::Command::new(bench)
            .args(arguments)
            .current_dir(process::root()),
    )
}
