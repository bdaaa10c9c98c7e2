//! `cargo xtask test`: everything, with real daemons and a real Redis.

use crate::{install, process};

pub(crate) fn run() -> anyhow::Result<()> {
    install::ensure("redis-server", "redis-server")?;
    println!("building the daemons, with which the tests run");
    process::run(process::cargo().args(["build", "--workspace", "--bins"]))?;
    process::run(process::cargo().args(["test", "--workspace"]))
}
