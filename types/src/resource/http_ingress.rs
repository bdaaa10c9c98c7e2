//! `http-ingress`: an HTTP request from outside becomes a call or a cast, an answer the response.

use std::{fmt, str::FromStr, time::Duration};

use super::{ConfigProblem, Configurations, HttpFormat, Reader, ResourceClass, Setting, read};

/// The output channel on which requests leave.
pub const NEW_REQUEST: &str = "new_request";

/// What there is to know about the class.
pub const CLASS: ResourceClass = ResourceClass {
    class_type: "http-ingress",
    doc: "Turns HTTP requests to the node's ingress URL into events, and answers into responses.",
    outputs: &[NEW_REQUEST],
    settings: &[
        Setting {
            name: "host",
            doc: "The host of the requests it takes, without port, or `*` for any.",
            default: None,
        },
        Setting {
            name: "methods",
            doc: "The methods it takes, separated by commas.",
            default: Some("GET,HEAD,POST,PUT,PATCH,DELETE,OPTIONS"),
        },
        Setting {
            name: "path",
            doc: "The path of the requests it takes, with all below it; the longest match wins.",
            default: Some("/"),
        },
        Setting {
            name: "mode",
            doc: "`call`: the answer becomes the response; `cast`: the response is 202 at once.",
            default: Some("call"),
        },
        Setting {
            name: "timeout",
            doc: "How long a request may wait for its answer, from 1ms to 1h; then 504.",
            default: Some("10s"),
        },
        Setting {
            name: "max_body_bytes",
            doc: "The longest body it takes, 1 to 67108864 bytes; then 413.",
            default: Some("1048576"),
        },
        Setting {
            name: "max_in_flight",
            doc: "How many requests may wait for an answer, 1 to 65536; then 503.",
            default: Some("1024"),
        },
        HttpFormat::SETTING,
    ],
    check: |configurations| Settings::read(configurations).map(drop),
};

/// A method of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "RFC 9110 says what they mean")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Patch,
        Self::Delete,
        Self::Options,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|method| method.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                let names = Self::ALL.map(Self::name).join(", ");
                format!("`{text}` is none of {names}")
            })
    }
}

/// Which requests an instance takes by their host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// Requests to any host.
    Any,
    /// Requests to this one, lower case.
    Exact(String),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The answer becomes the response.
    Call,
    /// The response is sent at once.
    Cast,
}

/// The settings of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The host of the requests it takes.
    pub host: Host,
    /// The methods it takes; not empty, sorted, each once.
    pub methods: Vec<Method>,
    /// The path it takes: begins with `/`, and ends with one only when it is `/` itself.
    pub path: String,
    /// What becomes of a request.
    pub mode: Mode,
    /// How long a request may wait.
    pub timeout: Duration,
    /// The longest body it takes, in bytes.
    pub max_body_bytes: usize,
    /// How many requests may wait.
    pub max_in_flight: usize,
    /// How requests and responses are written for functions.
    pub format: HttpFormat,
}

impl Settings {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first setting that is missing, wrong or unknown.
    pub fn read(configurations: &Configurations) -> Result<Self, ConfigProblem> {
        let reader = Reader::new(&CLASS, configurations)?;
        let host = reader.parse("host", |text| match text {
            "*" => Ok(Host::Any),
            text => read::host(text).map(Host::Exact),
        })?;
        let mut methods = Vec::new();
        for text in reader.list("methods")? {
            methods.push(
                text.parse()
                    .map_err(|text| read::problem("methods", text))?,
            );
        }
        methods.sort_unstable();
        methods.dedup();
        let mode = reader.parse("mode", |text| match text {
            "call" => Ok(Mode::Call),
            "cast" => Ok(Mode::Cast),
            _ => Err(format!("`{text}` is neither `call` nor `cast`")),
        })?;
        Ok(Self {
            host,
            methods,
            path: reader.parse("path", path)?,
            mode,
            timeout: reader.duration("timeout")?,
            max_body_bytes: reader.count("max_body_bytes", 64 << 20)?,
            max_in_flight: reader.count("max_in_flight", 1 << 16)?,
            format: HttpFormat::read(&reader)?,
        })
    }
}

fn path(text: &str) -> Result<String, String> {
    let sound = text.starts_with('/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if !sound {
        return Err(format!(
            "`{text}` is no path: it begins with `/` and has no blank, `?` or `#`"
        ));
    }
    let trimmed = text.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, ConfigProblem> {
        let pairs = pairs.iter().map(|&(key, value)| (key.into(), value.into()));
        Settings::read(&pairs.collect())
    }

    #[test]
    fn settings_are_read_and_put_in_order() {
        let settings = read(&[
            ("host", "Demo.Edgeless.com"),
            ("methods", "post, GET,GET"),
            ("path", "/api/"),
            ("mode", "cast"),
            ("timeout", "250ms"),
        ])
        .unwrap();
        assert_eq!(settings.host, Host::Exact("demo.edgeless.com".to_owned()));
        assert_eq!(settings.methods, [Method::Get, Method::Post]);
        assert_eq!(settings.path, "/api");
        assert_eq!(settings.mode, Mode::Cast);
        assert_eq!(settings.timeout, Duration::from_millis(250));
        assert_eq!(settings.max_body_bytes, 1 << 20);
    }

    #[test]
    fn wrong_settings_are_refused_by_key() {
        for (key, value) in [
            ("host", ""),
            ("host", "http://a"),
            ("host", "a:80"),
            ("host", "a b"),
            ("methods", ""),
            ("methods", "GET,"),
            ("methods", "GTE"),
            ("path", "api"),
            ("path", "/a?b"),
            ("path", ""),
            ("mode", "Call"),
            ("timeout", "0s"),
            ("timeout", "ten"),
            ("max_body_bytes", "-1"),
            ("max_body_bytes", "0"),
            ("max_in_flight", "1e3"),
        ] {
            let mut pairs = vec![(key, value)];
            if key != "host" {
                pairs.push(("host", "*"));
            }
            assert_eq!(read(&pairs).unwrap_err().key, key, "{key}={value}");
        }
    }
}
