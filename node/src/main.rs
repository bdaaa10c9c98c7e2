//! `node_d`: the node agent.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use edgeless_daemon::Daemon;
use edgeless_node::{Config, config::TEMPLATE};
use edgeless_types::resource::CLASSES;

const DAEMON: Daemon = Daemon {
    name: "node_d",
    about: "The node agent: runs functions and resources. \
            `node_d --available-resources` lists the resources it can provide",
    default_config: "node.toml",
    template: TEMPLATE,
};

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--available-resources") {
        return match list_resources(&mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            // A reader that has seen enough, such as `head`, or a full disk.
            Err(_) => ExitCode::FAILURE,
        };
    }
    edgeless_daemon::run(&DAEMON, async |config: Config, shutdown| {
        edgeless_node::start(config, shutdown).await?.join().await;
        Ok(())
    })
}

fn list_resources(out: &mut impl Write) -> io::Result<()> {
    for class in CLASSES {
        writeln!(out, "{}: {}", class.class_type, class.doc)?;
        let outputs = match class.outputs {
            [] => "none".to_owned(),
            outputs => outputs.join(", "),
        };
        writeln!(out, "  outputs: {outputs}\n  settings:")?;
        for setting in class.settings {
            let default = match setting.default {
                Some(default) => format!("default {default}"),
                None => "required".to_owned(),
            };
            writeln!(out, "    {} ({default}): {}", setting.name, setting.doc)?;
        }
        writeln!(out)?;
    }
    Ok(())
}
