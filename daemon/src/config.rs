//! Configuration files: strict TOML whose errors name file, line and key, with overrides from the
//! environment.
//!
//! `EDGELESS__GENERAL__DOMAIN_ID=x` overrides `domain_id` of `[general]`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// The prefix of variables that override keys; levels are separated by two underscores.
pub const ENVIRONMENT_PREFIX: &str = "EDGELESS";

/// A configuration that cannot be used. The daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("could not read `{}`; `-t {}` writes a commented template", path.display(), path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key or value is wrong.
    #[error("{place}: {problem}")]
    Wrong {
        /// File, line, column and key, or the environment.
        place: Place,
        /// What is wrong.
        problem: String,
    },
}

/// Where a wrong key or value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file.
    File {
        /// The file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// The key on that line or the section around it, if there is one.
        key: Option<String>,
    },
    /// In a variable of the environment, or in what it makes of the file.
    Environment,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line,
                key: Some(key),
            } => {
                write!(f, "{}:{line}: key `{key}`", path.display())
            }
            Self::File {
                path,
                line,
                key: None,
            } => write!(f, "{}:{line}", path.display()),
            Self::Environment => write!(f, "environment ({ENVIRONMENT_PREFIX}__…)"),
        }
    }
}

/// Reads a configuration from a file and the environment.
///
/// # Errors
/// The file cannot be read, is not TOML, has an unknown key or a wrong value.
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let overrides = environment().map_err(|problem| ConfigError::Wrong {
        place: Place::Environment,
        problem,
    })?;
    parse(&text, path, overrides)
}

/// Reads a configuration from text alone; `path` is for messages.
///
/// # Errors
/// As [`load`].
pub fn parse<T: DeserializeOwned>(
    text: &str,
    path: &Path,
    overrides: Table,
) -> Result<T, ConfigError> {
    let in_file = |error: &toml::de::Error| wrong_in_file(text, path, error);
    if overrides.is_empty() {
        return toml::from_str(text).map_err(|error| in_file(&error));
    }
    let mut merged: Table = toml::from_str(text).map_err(|error| in_file(&error))?;
    merge(&mut merged, overrides);
    Value::Table(merged)
        .try_into()
        .map_err(
            |merged_error: toml::de::Error| match toml::from_str::<T>(text) {
                Err(error) => in_file(&error),
                Ok(_) => ConfigError::Wrong {
                    place: Place::Environment,
                    problem: merged_error.message().to_owned(),
                },
            },
        )
}

fn environment() -> Result<Table, String> {
    let source = config::Environment::with_prefix(ENVIRONMENT_PREFIX)
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true);
    config::Config::builder()
        .add_source(source)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| error.to_string())
}

fn merge(into: &mut Table, overrides: Table) {
    for (key, value) in overrides {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(overrides)) => merge(inner, overrides),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn wrong_in_file(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text[..start].matches('\n').count() + 1;
    let key = text.lines().nth(line - 1).and_then(key_on);
    ConfigError::Wrong {
        place: Place::File {
            path: path.to_owned(),
            line,
            key,
        },
        problem: error.message().to_owned(),
    }
}

fn key_on(line: &str) -> Option<String> {
    let line = line.trim();
    let section = line
        .strip_prefix('[')
        .and_then(|rest| rest.split(']').next());
    let key = line.split_once('=').map(|(key, _)| key);
    section
        .or(key)
        .map(|name| name.trim_matches(['[', ' ']).to_owned())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::net::Listen;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        general: General,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct General {
        url: Listen,
        #[serde(default)]
        number: u32,
    }

    fn check(text: &str, line: usize, key: &str, problem: &str) {
        let error = parse::<Config>(text, Path::new("x.toml"), Table::new()).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.starts_with(&format!("x.toml:{line}: key `{key}`: ")),
            "{shown}"
        );
        assert!(shown.contains(problem), "{shown}");
    }

    #[test]
    fn errors_name_file_line_and_key() {
        let url = "[general]\nurl = \"http://127.0.0.1:0\"\n";
        check(&format!("{url}numbr = 1\n"), 3, "numbr", "unknown field");
        check(
            &format!("{url}number = \"one\"\n"),
            3,
            "number",
            "invalid type",
        );
        check("[general]\nurl = \"127.0.0.1\"\n", 2, "url", "http://");
        check(
            "[general]\nnumber = 1\n",
            1,
            "general",
            "missing field `url`",
        );
    }

    #[test]
    fn the_environment_overrides_the_file_and_is_checked_as_well() {
        let text = "[general]\nurl = \"http://127.0.0.1:0\"\n";
        let overrides: Table = toml::from_str("[general]\nnumber = 7").unwrap();
        let config: Config = parse(text, Path::new("x.toml"), overrides).unwrap();
        assert_eq!(config.general.number, 7);
        assert_eq!(config.general.url.to_string(), "http://127.0.0.1:0");

        let overrides: Table = toml::from_str("[general]\nnumbr = 7").unwrap();
        let error = parse::<Config>(text, Path::new("x.toml"), overrides).unwrap_err();
        assert!(error.to_string().starts_with("environment"), "{error}");
    }
}
