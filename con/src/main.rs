//! `edgeless_con_d`: ε-CON as a daemon.

use std::process::ExitCode;

use edgeless_con::Config;
use edgeless_daemon::{Daemon, run};

fn main() -> ExitCode {
    let daemon = Daemon {
        name: "edgeless_con_d",
        about: "ε-CON: takes workflows, keeps them, and hands them to domains",
        default_config: "controller.toml",
        template: include_str!("../../configs/controller.toml"),
    };
    run(&daemon, async |config: Config, shutdown| {
        edgeless_con::start(config, shutdown).await?.join().await;
        Ok(())
    })
}
