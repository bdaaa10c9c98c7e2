//! `edgeless_cli function push|list`; building is in [`crate::build`].

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use serde::Deserialize;

use crate::{
    build::Build,
    client::Client,
    failure::{Failure, file},
    json::Json,
    output::{Output, Style, names, table},
    view::Function,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile a function to WebAssembly, beside its source
    Build(Build),
    /// Publish functions in the registry of ε-CON
    Push(Push),
    /// Show all published functions
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Push {
    /// Folders with `function.toml` and `<folder>.wasm`, or `.wasm` files beside a `function.toml`
    #[arg(required = true, value_name = "DIR-OR-WASM")]
    paths: Vec<PathBuf>,
    /// Replace other code of the same id and version
    #[arg(long)]
    replace: bool,
}

/// `function.toml`: what the registry is told about a function.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// The name of the class.
    pub(crate) id: String,
    /// Its version.
    pub(crate) version: String,
    /// Its runtime.
    pub(crate) function_type: String,
    /// The output channels it may cast to.
    #[serde(default)]
    pub(crate) outputs: Vec<String>,
}

pub(crate) async fn run(command: Command, client: &Client, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Build(build) => crate::build::run(&build, output),
        Command::Push(push) => {
            for path in &push.paths {
                let answer = push_one(path, push.replace, client).await?;
                let function: Function = client.view(&answer)?;
                output.answer(&answer, |_| {
                    let Function { id, version, .. } = &function;
                    format!("{id} {version} is published ({})\n", function.digest)
                })?;
            }
            Ok(())
        }
        Command::List => {
            let answer = client.get(&["functions"]).await?;
            let functions: Vec<Function> = client.view(&answer)?;
            output.answer(&answer, |style| tell_list(&functions, style))
        }
    }
}

async fn push_one(path: &Path, replace: bool, client: &Client) -> Result<Json, Failure> {
    let (description, code) = locate(path)?;
    let description = describe(&description)?;
    let code = std::fs::read(&code).map_err(file(&code))?;
    let path = ["functions", &description.id, &description.version];
    let request = client
        .request(Method::PUT, &path)
        .query(&[
            ("function_type", &description.function_type),
            ("outputs", &description.outputs.join(",")),
        ])
        .query(&[("replace", replace)])
        .header("content-type", "application/wasm")
        .body(code);
    client.send(request).await
}

/// The files of a function: its description and its code.
fn locate(path: &Path) -> Result<(PathBuf, PathBuf), Failure> {
    if !path.is_dir() {
        let folder = path.parent().unwrap_or(Path::new(""));
        return Ok((folder.join("function.toml"), path.to_owned()));
    }
    // `.` and `..` have no name of their own.
    let folder = path.canonicalize().map_err(file(path))?;
    let code = match folder.file_name() {
        Some(name) => path.join(name).with_added_extension("wasm"),
        None => return Err(Failure::Usage(format!("`{}` has no name", path.display()))),
    };
    Ok((path.join("function.toml"), code))
}

/// Reads `function.toml`.
fn describe(path: &Path) -> Result<Description, Failure> {
    let text = std::fs::read_to_string(path).map_err(file(path))?;
    Ok(edgeless_daemon::config::parse(
        &text,
        path,
        Default::default(),
    )?)
}

fn tell_list(functions: &[Function], style: Style) -> String {
    let rows = functions.iter().map(|function| {
        [
            function.id.clone(),
            function.version.clone(),
            function.function_type.clone(),
            names(&function.outputs),
            function.digest.clone(),
        ]
    });
    let header = ["FUNCTION", "VERSION", "RUNTIME", "OUTPUTS", "SHA-256"];
    table(style, header, rows, "no function is published")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_code_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let double = folder.path().join("double");
        std::fs::create_dir(&double).unwrap();
        let expected = (double.join("function.toml"), double.join("double.wasm"));
        assert_eq!(locate(&double).unwrap(), expected);
        assert_eq!(locate(&double.join("double.wasm")).unwrap(), expected);
    }

    #[test]
    fn a_wrong_description_names_file_line_and_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("function.toml");
        let right = "id = \"double\"\nversion = \"1\"\nfunction_type = \"RUST_WASM\"\n";
        std::fs::write(&path, right).unwrap();
        assert_eq!(describe(&path).unwrap().id, "double");
        std::fs::write(&path, format!("{right}output = []\n")).unwrap();
        let shown = describe(&path).unwrap_err().to_string();
        assert!(shown.contains("function.toml:4: key `output`"), "{shown}");
    }
}
