//! The configuration of the client (`cli.toml`): where ε-CON is.

use std::path::Path;

use serde::Deserialize;
use url::Url;

use crate::{
    failure::{Failure, file},
    output::Output,
};

const TEMPLATE: &str = include_str!("../../../../configs/cli.toml");
const DEFAULT_FILE: &str = "cli.toml";
const DEFAULT_URL: &str = "http://127.0.0.1:7008";

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Where ε-CON serves REST.
    controller_url: Url,
}

/// Where ε-CON serves REST: as given, else as the named file says, else as `cli.toml` says if it
/// is there, else at the usual port of this machine.
///
/// # Errors
/// The file cannot be read, or has an unknown key or a wrong value; the URL is none.
pub(crate) fn controller_url(given: Option<&str>, path: Option<&Path>) -> Result<Url, Failure> {
    let url = match (given, path) {
        (Some(text), _) => Url::parse(text)
            .map_err(|error| Failure::Usage(format!("--url: `{text}` is no URL: {error}")))?,
        (None, Some(path)) => read(path)?,
        (None, None) if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
        (None, None) => Url::parse(DEFAULT_URL).expect("the default is a URL"),
    };
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(Failure::Usage(format!(
            "`{url}` is neither http nor https; write it as {DEFAULT_URL}"
        ))),
    }
}

fn read(path: &Path) -> Result<Url, Failure> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        edgeless_daemon::config::ConfigError::Read {
            path: path.to_owned(),
            source,
        }
    })?;
    let config: Config = edgeless_daemon::config::parse(&text, path, Default::default())?;
    Ok(config.controller_url)
}

/// Writes a commented configuration; `-` is standard output.
///
/// # Errors
/// The file is there already, or cannot be written.
pub(crate) fn write_template(path: &Path, output: &Output) -> Result<(), Failure> {
    if path == Path::new("-") {
        return output.text(TEMPLATE);
    }
    let mut created = std::fs::File::create_new(path).map_err(file(path))?;
    std::io::Write::write_all(&mut created, TEMPLATE.as_bytes()).map_err(file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_a_configuration_with_the_default() {
        let config: Config =
            edgeless_daemon::config::parse(TEMPLATE, Path::new(DEFAULT_FILE), Default::default())
                .unwrap();
        assert_eq!(config.controller_url, Url::parse(DEFAULT_URL).unwrap());
    }

    #[test]
    fn what_is_given_wins_and_must_be_http() {
        let url = controller_url(Some("http://con:1"), Some(Path::new("absent.toml"))).unwrap();
        assert_eq!(url.as_str(), "http://con:1/");
        for wrong in ["con:1", "redis://con:1", ""] {
            assert_eq!(controller_url(Some(wrong), None).unwrap_err().code(), 2);
        }
        let error = controller_url(None, Some(Path::new("absent.toml"))).unwrap_err();
        assert!(error.to_string().contains("absent.toml"), "{error}");
    }
}
