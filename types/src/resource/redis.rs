//! `redis`: a cast sets a key of a Redis server, a call reads it.

use super::{ConfigProblem, Configurations, Reader, ResourceClass, Setting, read};

/// What there is to know about the class.
pub const CLASS: ResourceClass = ResourceClass {
    class_type: "redis",
    doc: "A cast sets a key of a Redis server to its payload; a call is answered with the value.",
    outputs: &[],
    settings: &[
        Setting {
            name: "url",
            doc: "The server: `redis://[user:password@]host[:port][/database]`.",
            default: None,
        },
        Setting {
            name: "key",
            doc: "The key; 1 to 1024 bytes.",
            default: None,
        },
        Setting {
            name: "timeout",
            doc: "How long the server may take to answer, from 1ms to 1h.",
            default: Some("5s"),
        },
    ],
    check: |configurations| Settings::read(configurations).map(drop),
};

/// The settings of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The server.
    pub url: String,
    /// The key.
    pub key: String,
    /// How long the server may take.
    pub timeout: std::time::Duration,
}

impl Settings {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first setting that is missing, wrong or unknown.
    pub fn read(configurations: &Configurations) -> Result<Self, ConfigProblem> {
        let reader = Reader::new(&CLASS, configurations)?;
        Ok(Self {
            url: reader.parse("url", url)?,
            key: reader.parse("key", |text| match text.len() {
                1..=1024 => Ok(text.to_owned()),
                length => Err(format!("must have 1 to 1024 bytes, not {length}")),
            })?,
            timeout: reader.duration("timeout")?,
        })
    }
}

/// Checks the shape of a URL; whether a server is there is seen when the resource runs.
fn url(text: &str) -> Result<String, String> {
    let error = || format!("`{text}` is no URL such as `redis://127.0.0.1:6379/0`");
    let rest = text.strip_prefix("redis://").ok_or_else(error)?;
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let address = authority.rsplit_once('@').map_or(authority, |(_, it)| it);
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (address, None),
    };
    let port_is_sound = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let database_is_sound = database.is_empty() || database.parse::<u16>().is_ok();
    if read::host(host).is_err() || !port_is_sound || !database_is_sound {
        return Err(error());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, key: &str) -> Result<(), ConfigProblem> {
        let pairs = [("url", url), ("key", key)];
        (CLASS.check)(&pairs.map(|(key, value)| (key.into(), value.into())).into())
    }

    #[test]
    fn urls_of_servers_are_taken() {
        for url in [
            "redis://localhost",
            "redis://127.0.0.1:6379",
            "redis://[::1]:6379/2",
            "redis://:secret@host:1/",
        ] {
            assert_eq!(check(url, "k"), Ok(()), "{url}");
        }
    }

    #[test]
    fn wrong_settings_are_refused_by_key() {
        for url in [
            "",
            "localhost",
            "http://localhost",
            "redis://",
            "redis://a:x",
            "redis://a/x",
            "redis://a b",
        ] {
            assert_eq!(check(url, "k").unwrap_err().key, "url", "{url}");
        }
        assert_eq!(check("redis://a", "").unwrap_err().key, "key");
    }
}
