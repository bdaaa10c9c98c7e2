//! `http-egress`: a message becomes an HTTP request to the outside, its response the answer.

use std::time::Duration;

use super::{ConfigProblem, Configurations, HttpFormat, Reader, ResourceClass, Setting, read};

/// What there is to know about the class.
pub const CLASS: ResourceClass = ResourceClass {
    class_type: "http-egress",
    doc: "Sends HTTP requests; a call is answered with the response, a cast drops it.",
    outputs: &[],
    settings: &[
        Setting {
            name: "allowed_hosts",
            doc: "The hosts it may send to, separated by commas; `*` for any, `*.name` for all below.",
            default: Some("*"),
        },
        Setting {
            name: "timeout",
            doc: "How long a request may take in all, from 1ms to 1h.",
            default: Some("10s"),
        },
        Setting {
            name: "max_body_bytes",
            doc: "The longest response body it takes, 1 to 67108864 bytes.",
            default: Some("1048576"),
        },
        Setting {
            name: "max_in_flight",
            doc: "How many requests may be on their way at once, 1 to 4096; others wait.",
            default: Some("64"),
        },
        HttpFormat::SETTING,
    ],
    check: |configurations| Settings::read(configurations).map(drop),
};

/// Where requests may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowedHost {
    /// Anywhere.
    Any,
    /// To this host, lower case.
    Exact(String),
    /// To all hosts below this one, lower case, without the leading `*.`.
    Below(String),
}

impl AllowedHost {
    /// Whether a request may go to `host` (lower case).
    pub fn allows(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name == host,
            Self::Below(name) => host
                .strip_suffix(name.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }
}

/// The settings of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where requests may go; not empty.
    pub allowed_hosts: Vec<AllowedHost>,
    /// How long a request may take.
    pub timeout: Duration,
    /// The longest response body it takes, in bytes.
    pub max_body_bytes: usize,
    /// How many requests may be on their way.
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
        let allowed = reader.list("allowed_hosts")?.into_iter().map(allowed_host);
        Ok(Self {
            allowed_hosts: allowed
                .collect::<Result<_, _>>()
                .map_err(|text| read::problem("allowed_hosts", text))?,
            timeout: reader.duration("timeout")?,
            max_body_bytes: reader.count("max_body_bytes", 64 << 20)?,
            max_in_flight: reader.count("max_in_flight", 1 << 12)?,
            format: HttpFormat::read(&reader)?,
        })
    }
}

fn allowed_host(text: &str) -> Result<AllowedHost, String> {
    match (text, text.strip_prefix("*.")) {
        ("*", _) => Ok(AllowedHost::Any),
        (_, Some(below)) => read::host(below).map(AllowedHost::Below),
        (_, None) => read::host(text).map(AllowedHost::Exact),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_allowed_exactly_below_or_all() {
        let configurations = [("allowed_hosts".to_owned(), "A.org, *.b.org".to_owned())];
        let settings = Settings::read(&configurations.into()).unwrap();
        let allowed = |host| settings.allowed_hosts.iter().any(|it| it.allows(host));
        assert!(allowed("a.org") && allowed("x.b.org") && allowed("x.y.b.org"));
        assert!(!allowed("b.org") && !allowed("xb.org") && !allowed(".b.org"));
        assert!(AllowedHost::Any.allows("anything"));
    }

    #[test]
    fn wrong_settings_are_refused_by_key() {
        for (key, value) in [
            ("allowed_hosts", ""),
            ("allowed_hosts", "a,,b"),
            ("allowed_hosts", "https://a"),
            ("allowed_hosts", "a*"),
            ("timeout", "-1s"),
            ("max_body_bytes", "x"),
            ("max_in_flight", "5000"),
        ] {
            let configurations = [(key.to_owned(), value.to_owned())];
            let problem = Settings::read(&configurations.into()).unwrap_err();
            assert_eq!(problem.key, key, "{key}={value}");
        }
    }
}
