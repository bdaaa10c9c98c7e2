//! `edgeless_con_d`: ε-CON as a daemon.

use std::process::ExitCode;

use edgeless_con::Config;
use edgeless_daemon::{Daemon, run};

/// Orders come and go by the ten thousand a second, each a handful of small pieces that different threads let go of.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let daemon = Daemon {
        name: "edgeless_con_d",
        about: "ε-CON: takes workflows, keeps them, and hands them to domains",
        default_config: "controller.toml",
        template: include_str!("../../configs/controller.toml"),
    };
    run(&daemon, async |config: Config, shutdown| {
        edgeless_con::start(config, shutdown).await?.join().await?;
        Ok(())
    })
}
