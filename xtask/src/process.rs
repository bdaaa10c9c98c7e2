//! Child processes that end with their owner.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map_or_else(|| here.to_owned(), Path::to_owned)
}

/// `cargo`, in the root of the repository.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end; its output is shown.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command
        .status()
        .with_context(|| format!("could not start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// A child that is ended with its owner: first politely, then by force.
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Starts a command without input.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = show(command);
        command.stdin(Stdio::null());
        command
            .spawn()
            .map(Self)
            .with_context(|| format!("could not start `{shown}`"))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let polite = Command::new("kill").arg(self.0.id().to_string()).status();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while polite.is_ok() && std::time::Instant::now() < deadline {
            match self.0.try_wait() {
                Ok(Some(_)) => return,
                Ok(None) => std::thread::park_timeout(std::time::Duration::from_millis(20)),
                Err(_) => break,
            }
        }
        if self.0.kill().is_err() || self.0.wait().is_err() {
            eprintln!("xtask: process {} could not be ended", self.0.id());
        }
    }
}
