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
    process::{self, Owned},
};

/// Options of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// End after so many seconds instead of waiting for Ctrl-C
    #[arg(long, value_name = "SECONDS")]
    r#for: Option<u64>,
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
    let folder = tempfile::tempdir()?;
    let redis_port = free_port()?;
    let redis_url = format!("redis://127.0.0.1:{redis_port}");
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
    let demo = Demo::new(&addresses, redis_url, folder.path().to_owned())?;
    demo.submit()?;
    demo.show_next_commands();
    let end = arguments
        .r#for
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        demo.send_requests()?;
        demo.show()?;
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        std::thread::park_timeout(ROUND);
    }
}

fn binary(name: &str) -> PathBuf {
    process::root().join("target/release").join(name)
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
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
    redis_url: String,
    dataset: String,
    ingress: Vec<String>,
    folder: PathBuf,
}

impl Demo {
    fn new(addresses: &Value, redis_url: String, folder: PathBuf) -> anyhow::Result<Self> {
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
            redis_url,
            folder,
        })
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
    fn submit(&self) -> anyhow::Result<()> {
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
            std::thread::park_timeout(Duration::from_millis(100));
        }
    }

    /// The ingress is on one node; the others do not know the host.
    fn send_requests(&self) -> anyhow::Result<()> {
        let mut answered = 0;
        for number in 0..REQUESTS {
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
        Ok(())
    }

    fn show(&self) -> anyhow::Result<()> {
        println!("\nwhere each instance runs:");
        process::run(self.proxy_cli().args(["show", "instances"]))?;
        println!("\nexecution and transfer times of the last minute:");
        process::run(self.proxy_cli().args(["top", "functions", "--once"]))?;
        println!("\nrows in the datasets:");
        let mut files: Vec<_> = fs::read_dir(&self.dataset)?.collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::file_name);
        for file in files {
            let rows = BufReader::new(fs::File::open(file.path())?).lines().count();
            println!(
                "  {:32} {}",
                file.file_name().to_string_lossy(),
                rows.saturating_sub(1)
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
