//! `edgeless_orc_d`: ε-ORC as a daemon.

use std::process::ExitCode;

use edgeless_daemon::{Daemon, run};
use edgeless_orc::Config;

/// A fifth of the time of a burst of starts went into the allocator of the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let daemon = Daemon {
        name: "edgeless_orc_d",
        about: "ε-ORC: places, heals and moves the functions and resources of one domain",
        default_config: "orchestrator.toml",
        template: include_str!("../../configs/orchestrator.toml"),
    };
    run(&daemon, async |config: Config, shutdown| {
        edgeless_orc::start(config, shutdown).await?.join().await?;
        Ok(())
    })
}
