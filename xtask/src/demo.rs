//! `cargo xtask demo`: from nothing to a running system with something to see.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{
    install,
    process::{self, Interrupt, Owned},
    redis,
};

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// End after so many seconds instead of waiting for Ctrl-C
    #[arg(long, value_name = "SECONDS")]
    r#for: Option<u64>,
    /// End after one round; fail unless every request was answered
    #[arg(long, conflicts_with = "for")]
    once: bool,
}

/// Requests in each round.
const REQUESTS: usize = 20;
/// Between two rounds.
const ROUND: Duration = Duration::from_secs(3);

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    install::ensure("redis-server", "redis-server")?;
    install::ensure("curl", "curl")?;
    println!("building everything, optimised; the first time this takes some minutes");
    process::run(process::cargo().args(["build", "--release", "--workspace", "--bins"]))?;
    let interrupt = Interrupt::listen()?;
    let folder = tempfile::tempdir()?;
    let redis_port = free_port()?;
    let redis_url = redis_url(redis_port);
    println!("starting Redis at {redis_url}");
    let _redis = Owned::start(
        Command::new("redis-server")
            .args([
                "--port",
                &redis_port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .current_dir(folder.path())
            .stdout(Stdio::null()),
    )?;
    println!(
        "starting ε-CON, ε-ORC and three nodes in `{}`",
        folder.path().display()
    );
    let (_inabox, addresses) = start_inabox(folder.path(), &redis_url)?;
    let demo = Demo::new(&addresses, redis_port, folder.path().to_owned())?;
    match demo.play(arguments, &interrupt) {
        // A command that Ctrl-C ended is no failure.
        Err(_) if interrupt.happened() => {}
        outcome => outcome?,
    }
    println!("\nending everything");
    Ok(())
}

fn binary(name: &str) -> PathBuf {
    process::root().join("target/release").join(name)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Rows of a table, without its header.
fn rows(table: &Path) -> anyhow::Result<usize> {
    let lines = BufReader::new(fs::File::open(table)?).lines().count();
    Ok(lines.saturating_sub(1))
}

fn redis_url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

fn start_inabox(folder: &Path, redis_url: &str) -> anyhow::Result<(Owned, Value)> {
    let log = fs::File::create(folder.join("inabox.log"))?;
    let mut inabox = Owned::start(
        Command::new(binary("edgeless_inabox"))
            .args(["--free-ports", "--redis-url", redis_url, "--dir"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(log),
    )?;
    let output = inabox
        .0
        .stdout
        .take()
        .context("the output of edgeless_inabox is not there")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    if line.is_empty() {
        bail!(
            "edgeless_inabox did not start:\n{}",
            fs::read_to_string(folder.join("inabox.log"))?
        );
    }
    Ok((inabox, serde_json::from_str(&line)?))
}

struct Demo {
    rest_url: String,
    redis_port: u16,
    redis_url: String,
    dataset: String,
    ingress: Vec<String>,
    folder: PathBuf,
}

impl Demo {
    fn new(addresses: &Value, redis_port: u16, folder: PathBuf) -> anyhow::Result<Self> {
        let text = |pointer: &str| {
            let value = addresses.pointer(pointer).and_then(Value::as_str);
            value
                .map(str::to_owned)
                .with_context(|| format!("no `{pointer}` among the addresses"))
        };
        let nodes = addresses.get("nodes").and_then(Value::as_array);
        let ingress = nodes.into_iter().flatten().filter_map(|node| {
            node.get("http_ingress_url")
                .and_then(Value::as_str)
                .map(str::to_owned)
        });
        Ok(Self {
            rest_url: text("/con/rest_url")?,
            dataset: text("/orc/dataset_path")?,
            ingress: ingress.collect(),
            redis_port,
            redis_url: redis_url(redis_port),
            folder,
        })
    }

    /// Rounds of requests, each followed by what they left behind, until it is time to end.
    fn play(&self, arguments: &Arguments, interrupt: &Interrupt) -> anyhow::Result<()> {
        self.submit(interrupt)?;
        self.show_next_commands();
        let started = Instant::now();
        let end = arguments.r#for.map(Duration::from_secs);
        while !interrupt.happened() {
            let before = self.samples()?;
            let answered = self.send_requests(interrupt)?;
            self.await_samples(before, interrupt)?;
            self.show()?;
            if arguments.once {
                anyhow::ensure!(
                    answered == REQUESTS,
                    "only {answered} of {REQUESTS} requests were answered"
                );
                return Ok(());
            }
            let mut next = Instant::now() + ROUND;
            if let Some(end) = end {
                if started.elapsed() >= end {
                    return Ok(());
                }
                next = next.min(started + end);
            }
            interrupt.wait_until(next);
        }
        Ok(())
    }

    fn cli(&self) -> Command {
        let mut command = Command::new(binary("edgeless_cli"));
        command
            .args(["--url", &self.rest_url])
            .current_dir(process::root());
        command
    }

    fn proxy_cli(&self) -> Command {
        let mut command = Command::new(binary("proxy_cli"));
        command.args(["--redis-url", &self.redis_url]);
        command
    }

    /// Publishes the functions and submits the workflow; nodes may need a moment to register.
    fn submit(&self, interrupt: &Interrupt) -> anyhow::Result<()> {
        for name in ["http_processor", "double"] {
            let path = format!("functions/{name}");
            process::run(self.cli().args(["function", "push", &path]))?;
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let start = ["workflow", "start", "configs/workflows/http_to_file.json"];
            let output = self.cli().args(start).output()?;
            if output.status.success() {
                let id = String::from_utf8_lossy(&output.stdout);
                println!("workflow {} runs", id.trim());
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{}", String::from_utf8_lossy(&output.stderr));
            }
            if interrupt.wait_until(Instant::now() + Duration::from_millis(100)) {
                bail!("interrupted");
            }
        }
    }

    /// How many were answered. The ingress is on one node; the others do not know the host.
    fn send_requests(&self, interrupt: &Interrupt) -> anyhow::Result<usize> {
        let mut answered = 0;
        for number in 0..REQUESTS {
            if interrupt.happened() {
                bail!("interrupted");
            }
            for url in &self.ingress {
                let output = Command::new("curl")
                    .args([
                        "-s",
                        "-o",
                        "/dev/null",
                        "-w",
                        "%{http_code}",
                        "-H",
                        "Host: demo.edgeless",
                    ])
                    .args(["-d", &number.to_string(), url])
                    .output()?;
                if output.stdout == b"200" {
                    answered += 1;
                    break;
                }
            }
        }
        println!("\n{answered} of {REQUESTS} HTTP requests were answered");
        Ok(answered)
    }

    /// Samples that have arrived in the mirror as well as in the dataset.
    fn samples(&self) -> anyhow::Result<usize> {
        let mirrored = redis::rows(self.redis_port)?;
        let mirrored = mirrored.get("performance:function_execution_time");
        let recorded = rows(&Path::new(&self.dataset).join("performance_samples.csv"))?;
        Ok(mirrored.map_or(0, |count| count.rows.min(recorded)))
    }

    /// Waits for the nodes' next refresh, which brings the samples; not for long, as showing
    /// nothing new is an answer too.
    fn await_samples(&self, before: usize, interrupt: &Interrupt) -> anyhow::Result<()> {
        let deadline = Instant::now() + ROUND;
        while Instant::now() < deadline && self.samples()? <= before {
            if interrupt.wait_until(Instant::now() + Duration::from_millis(100)) {
                bail!("interrupted");
            }
        }
        Ok(())
    }

    fn show(&self) -> anyhow::Result<()> {
        println!("\nwhere each instance runs:");
        process::run(self.proxy_cli().args(["show", "instances"]))?;
        println!("\nexecution and transfer times of the last minute:");
        process::run(self.proxy_cli().args(["top", "functions", "--once"]))?;
        println!("\nrows in Redis:");
        for (kind, count) in redis::rows(self.redis_port)? {
            println!("  {kind:42} {:3} keys {:6} rows", count.keys, count.rows);
        }
        println!("\nrows in the datasets:");
        let mut files: Vec<_> = fs::read_dir(&self.dataset)?.collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            println!(
                "  {:32} {}",
                file.file_name().to_string_lossy(),
                rows(&file.path())?
            );
        }
        Ok(())
    }

    fn show_next_commands(&self) {
        let release = process::root().join("target/release");
        println!("\nto look around, in another terminal:");
        println!("  export PATH=\"{}:$PATH\"", release.display());
        println!("  proxy_cli -r {} top workflow", self.redis_url);
        println!("  edgeless_cli --url {} workflow list", self.rest_url);
        println!(
            "  tail -f {}/node-*/files/doubled.log",
            self.folder.display()
        );
        println!("  curl {}/api/v1/openapi.json", self.rest_url);
        println!("Ctrl-C ends everything");
    }
}
