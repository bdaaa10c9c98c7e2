//! `order-source`: brings the tasks of a service, as orders need them, from ε-CON to a function.

use super::{ConfigProblem, Configurations, Reader, ResourceClass, Setting, read};

/// The output channel on which tasks are called.
pub const TASK: &str = "task";

/// What there is to know about the class.
pub const CLASS: ResourceClass = ResourceClass {
    class_type: "order-source",
    doc: "Takes the tasks of a service from ε-CON and calls the function on `task` with each.",
    outputs: &[TASK],
    settings: &[
        Setting {
            name: "service",
            doc: "The service that the function is; 1 to 64 letters, digits, `.`, `_` and `-`.",
            default: None,
        },
        Setting {
            name: "url",
            doc: "Where ε-CON hands out tasks: `http://host:port`.",
            default: None,
        },
        Setting {
            name: "max_in_flight",
            doc: "How many tasks may be under way at once, 1 to 65536; others are sent back.",
            default: Some("1024"),
        },
    ],
    check: |configurations| Settings::read(configurations).map(drop),
};

/// The settings of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The service; 1 to 64 letters, digits, `.`, `_` and `-`.
    pub service: String,
    /// Where ε-CON hands out tasks: `http://host:port`.
    pub url: String,
    /// How many tasks may be under way.
    pub max_in_flight: usize,
}

impl Settings {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// The first setting that is missing, wrong or unknown.
    pub fn read(configurations: &Configurations) -> Result<Self, ConfigProblem> {
        let reader = Reader::new(&CLASS, configurations)?;
        Ok(Self {
            service: reader.parse("service", service)?,
            url: reader.parse("url", url)?,
            max_in_flight: reader.count("max_in_flight", 1 << 16)?,
        })
    }
}

fn service(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match (1..=64).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "`{text}` is no name of a service: write 1 to 64 letters, digits, `.`, `_` and `-`"
        )),
    }
}

/// Checks the shape of a URL; whether ε-CON is there is seen when the resource runs.
fn url(text: &str) -> Result<String, String> {
    let error = || format!("`{text}` is no address such as `http://10.0.0.1:7001`");
    let address = text.strip_prefix("http://").ok_or_else(error)?;
    let address = address.strip_suffix('/').unwrap_or(address);
    let (host, port) = address.rsplit_once(':').ok_or_else(error)?;
    let port_is_sound = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if read::host(host).is_err() || !port_is_sound || is_bare_ipv6 {
        return Err(error());
    }
    Ok(format!("http://{address}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(service: &str, url: &str) -> Result<Settings, ConfigProblem> {
        let pairs = [("service", service), ("url", url)];
        Settings::read(&pairs.map(|(key, value)| (key.into(), value.into())).into())
    }

    #[test]
    fn services_and_addresses_are_taken() {
        let longest = "a".repeat(64);
        for service in ["A", "resize-3.v_2", &longest] {
            for url in [
                "http://localhost:7001",
                "http://[::1]:1",
                "http://a.b-c:65535",
            ] {
                let settings = read(service, url).unwrap();
                assert_eq!((settings.service.as_str(), &*settings.url), (service, url));
                assert_eq!(settings.max_in_flight, 1024);
            }
        }
        assert_eq!(read("A", "http://a:1/").unwrap().url, "http://a:1");
    }

    #[test]
    fn wrong_settings_are_refused_by_key() {
        let too_long = "a".repeat(65);
        for service in ["", "a b", "a/b", "é", &too_long] {
            let problem = read(service, "http://a:1").unwrap_err();
            assert_eq!(problem.key, "service", "{service}");
        }
        for url in [
            "",
            "localhost:7001",
            "https://a:1",
            "http://a",
            "http://a:0",
            "http://a:70000",
            "http://:1",
            "http://::1:1",
            "http://a:1/path",
            "http://a b:1",
        ] {
            assert_eq!(read("A", url).unwrap_err().key, "url", "{url}");
        }
        for number in ["0", "65537", "-1", "x"] {
            let pairs = [
                ("service", "A"),
                ("url", "http://a:1"),
                ("max_in_flight", number),
            ];
            let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let problem = Settings::read(&pairs.into()).unwrap_err();
            assert_eq!(problem.key, "max_in_flight", "{number}");
        }
    }
}
