//! Processes that end with their owner.

use std::{
    collections::BTreeMap,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::Duration,
};

use anyhow::Context;

/// A daemon and what is needed to start it again.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Starts a program; its output goes to `log`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: PathBuf, arguments: Vec<String>, log: PathBuf) -> anyhow::Result<Self> {
        Self::start_with(program, arguments, &[], log)
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_with(
        program: PathBuf,
        arguments: Vec<String>,
        environment: &[(&str, String)],
        log: PathBuf,
    ) -> anyhow::Result<Self> {
        let environment = environment.iter();
        let mut daemon = Self {
            program,
            arguments,
            environment: environment
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            log,
            child: None,
        };
        daemon.restart()?;
        Ok(daemon)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                let program = self.program.display();
                format!("could not start `{program}`; `cargo xtask test` builds it")
            })?;
        self.child = Some(child);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take()
            && (child.kill().is_err() || child.wait().is_err())
        {
            eprintln!("`{}` could not be killed", self.program.display());
        }
    }

    /// Sends a signal by its name.
    ///
    /// # Errors
    /// `kill` cannot be run.
    pub fn signal(&self, name: &str) -> anyhow::Result<()> {
        if let Some(child) = &self.child {
            Command::new("kill")
                .args([&format!("-{name}"), &child.id().to_string()])
                .status()?;
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child
            .as_mut()
            .and_then(|child| child.try_wait().ok().flatten())
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let last: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("--- the end of {}", self.log.display());
            for line in last.into_iter().rev() {
                eprintln!("{line}");
            }
        }
    }
}

/// A port that is free, and that this process gives out once. It lies below those that systems
/// give to outgoing connections, so that none of these takes it meanwhile.
///
/// # Errors
/// None is free.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in 0..PORTS {
        // Processes that start together have numbers that are next to each other.
        let start = (u64::from(std::process::id()) * APART % u64::from(PORTS)) as u16;
        let port = FIRST_PORT + (start + NEXT.fetch_add(1, Relaxed)) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

/// The range of [`free_port`].
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 20_000;
/// Ports between those with which two such processes begin.
const APART: u64 = 211;

/// A binary of the workspace, built with the profile of this test.
///
/// # Errors
/// The path of this executable is not known.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let folder = here.ancestors().find(|folder| folder.join(name).exists());
    let folder = folder.context("the daemons are not built; `cargo xtask test` builds them")?;
    Ok(folder.join(name))
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .map_or_else(|| here.to_owned(), Path::to_owned)
}

/// Starts a Redis that keeps nothing.
///
/// # Errors
/// It cannot be started.
pub fn redis(port: u16, folder: &Path) -> anyhow::Result<Daemon> {
    let arguments = [
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--appendonly",
        "no",
        // As docs/mirror.md says: small sets are searched from one end to the other otherwise.
        "--zset-max-listpack-entries",
        "0",
    ];
    let arguments = arguments.map(str::to_owned).to_vec();
    Daemon::start(
        PathBuf::from("redis-server"),
        arguments,
        folder.join("redis.log"),
    )
}

/// The resident memory of a process in MiB.
pub fn rss_mib(pid: u32) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The processor time that the threads of a process have used, in nanoseconds by thread; the counters of whole
/// ticks are too coarse for a process that is idle.
pub type ThreadTimes = BTreeMap<String, u64>;

/// What each thread of a process has used so far.
pub fn thread_times(pid: u32) -> Option<ThreadTimes> {
    let mut times = ThreadTimes::new();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let thread = thread.ok()?;
        // A thread may end meanwhile.
        let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        let nanos = text.split_whitespace().next()?.parse().ok()?;
        times.insert(thread.file_name().to_string_lossy().into_owned(), nanos);
    }
    Some(times)
}

/// Seconds used between two looks by the threads that are there at the second one.
pub fn used(before: &ThreadTimes, after: &ThreadTimes) -> f64 {
    let of = |(thread, &time): (&String, &u64)| {
        time.saturating_sub(before.get(thread).copied().unwrap_or_default())
    };
    after.iter().map(of).sum::<u64>() as f64 / 1e9
}

/// How long a process may take to end by itself.
pub const ENDING: Duration = Duration::from_secs(20);
