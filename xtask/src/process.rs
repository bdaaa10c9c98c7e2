//! Child processes that end with their owner.

use std::{
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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

/// Whether somebody asked this program to end: Ctrl-C, SIGTERM, or a closed terminal.
///
/// The signals then only set a flag, so that `main` returns and every owner ends what it started.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// How soon a wait notices.
    const SLICE: Duration = Duration::from_millis(50);

    /// Listens from now on.
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .context("could not listen to signals")?;
        }
        Ok(Self(flag))
    }

    /// Whether it is time to end.
    pub(crate) fn happened(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until `end`, or less when it is time to end; whether it is.
    pub(crate) fn wait_until(&self, end: Instant) -> bool {
        while !self.happened() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left.min(Self::SLICE));
        }
        self.happened()
    }
}

/// A child that is ended with its owner: first politely, then by force.
pub(crate) struct Owned(pub(crate) Child);

impl Owned {
    /// Starts a command without input, in a process group of its own: Ctrl-C reaches its owner only,
    /// which ends its children in the right order.
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let shown = show(command);
        command.stdin(Stdio::null()).process_group(0);
        command
            .spawn()
            .map(Self)
            .with_context(|| format!("could not start `{shown}`"))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let polite = Command::new("kill").arg(self.0.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(10);
        while polite.is_ok() && Instant::now() < deadline {
            match self.0.try_wait() {
                Ok(Some(_)) => return,
                Ok(None) => std::thread::park_timeout(Duration::from_millis(20)),
                Err(_) => break,
            }
        }
        if self.0.kill().is_err() || self.0.wait().is_err() {
            eprintln!("xtask: process {} could not be ended", self.0.id());
        }
    }
}
