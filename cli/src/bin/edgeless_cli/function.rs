//! `edgeless_cli function`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use edgeless_con::rest::FunctionStatus;
use reqwest::{Method, header::CONTENT_TYPE};
use serde::Deserialize;

use crate::{
    client::{Client, Failure},
    show,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the WebAssembly of a function's folder
    Build {
        /// The folder with `Cargo.toml` and `function.toml`
        dir: PathBuf,
    },
    /// Publish a function: a folder with `function.toml`, or a `.wasm` beside one
    Push {
        /// The folder or file
        path: PathBuf,
        /// Replace other code of the same id and version
        #[arg(long)]
        replace: bool,
    },
    /// All published functions
    List,
}

/// `function.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    id: String,
    version: String,
    function_type: String,
    #[serde(default)]
    outputs: Vec<String>,
}

pub(crate) async fn run(command: Command, client: &Client) -> Result<(), Failure> {
    match command {
        Command::Build { dir } => build(&dir),
        Command::Push { path, replace } => push(&path, replace, client).await,
        Command::List => list(client).await,
    }
}

fn build(dir: &Path) -> Result<(), Failure> {
    let manifest = manifest(dir)?;
    let status = std::process::Command::new("cargo")
        .args(["build", "--release", "--target", "wasm32-unknown-unknown"])
        .env("RUSTFLAGS", "-C link-arg=--import-undefined")
        .current_dir(dir)
        .status()
        .map_err(|error| Failure::Other(format!("cargo cannot be started: {error}")))?;
    if !status.success() {
        let text = "cargo failed; is the target there? `rustup target add wasm32-unknown-unknown`";
        return Err(Failure::Other(text.to_owned()));
    }
    println!("built {} {}", manifest.id, manifest.version);
    Ok(())
}

async fn push(path: &Path, replace: bool, client: &Client) -> Result<(), Failure> {
    let folder = match path.is_dir() {
        true => path,
        false => path.parent().unwrap_or(Path::new(".")),
    };
    let manifest = manifest(folder)?;
    let file = match path.is_dir() {
        true => folder.join(format!("{}.wasm", manifest.id)),
        false => path.to_owned(),
    };
    let code = std::fs::read(&file).map_err(|error| Failure::File(file, error))?;
    let path = format!("/functions/{}/{}", manifest.id, manifest.version);
    let request = client
        .request(Method::PUT, &path)
        .query(&[
            ("function_type", manifest.function_type),
            ("outputs", manifest.outputs.join(",")),
            ("replace", replace.to_string()),
        ])
        .header(CONTENT_TYPE, "application/wasm")
        .body(code);
    let status: FunctionStatus = client.ask(request).await?;
    if client.json {
        return show::json(&status);
    }
    println!("{} {} {}", status.id, status.version, status.digest);
    Ok(())
}

fn manifest(folder: &Path) -> Result<Manifest, Failure> {
    let path = folder.join("function.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|error| Failure::File(path.clone(), error))?;
    edgeless_daemon::config::parse(&text, &path, Default::default())
        .map_err(|error| Failure::Other(error.to_string()))
}

async fn list(client: &Client) -> Result<(), Failure> {
    let all: Vec<FunctionStatus> = client.get("/functions").await?;
    if client.json {
        return show::json(&all);
    }
    let row = |function: FunctionStatus| {
        let digest = function.digest.chars().take(12).collect();
        let outputs = function.outputs.join(",");
        [
            function.id,
            function.version,
            function.function_type,
            outputs,
            digest,
        ]
    };
    let rows = all.into_iter().map(row).collect();
    show::table(
        ["function", "version", "runtime", "outputs", "digest"],
        rows,
    );
    Ok(())
}
