//! Addresses: where a daemon listens, and where a peer is.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::net::TcpListener;
use url::Url;

/// An address as `http://host:port`, without a path. Port 0 means any free port when listening.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listen {
    host: String,
    port: u16,
}

/// Where a peer takes messages: `http://host:port`, or `https://host:port` where it speaks TLS only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerUrl {
    /// Without TLS.
    Plain(Listen),
    /// With TLS only.
    Tls(Listen),
}

/// The text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an address of the form http://host:port: {problem}")]
pub struct ListenError {
    text: String,
    problem: String,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("could not listen at {address}")]
pub struct BindError {
    address: Listen,
    source: std::io::Error,
}

/// An open listener and its address with the port it really has.
#[derive(Debug)]
pub struct Bound {
    /// Accepts connections already.
    pub listener: TcpListener,
    /// Where; the port is never 0.
    pub url: Listen,
}

impl Listen {
    /// The address of a host and port; a numeric host must be without brackets.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// Any free port of the loopback interface.
    pub fn loopback() -> Self {
        Self::new("127.0.0.1", 0)
    }

    /// The port; 0 means any.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Opens the listener; `name` says in the log what it is for.
    ///
    /// # Errors
    /// The host does not resolve to an address of this machine, or the port is taken.
    pub async fn bind(&self, name: &str) -> Result<Bound, BindError> {
        let error = |source| BindError {
            address: self.clone(),
            source,
        };
        let listener = TcpListener::bind((self.host.as_str(), self.port))
            .await
            .map_err(error)?;
        let local: SocketAddr = listener.local_addr().map_err(error)?;
        let url = Self::new(self.host.clone(), local.port());
        tracing::info!(%url, "{name} is bound");
        Ok(Bound { listener, url })
    }
}

impl Listen {
    fn write(&self, scheme: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }

    fn parse(text: &str, scheme: &str) -> Result<Self, ListenError> {
        let error = |problem: &str| ListenError {
            text: text.to_owned(),
            problem: problem.to_owned(),
        };
        let url = Url::parse(text).map_err(|problem| error(&problem.to_string()))?;
        if url.scheme() != scheme {
            return Err(error(&format!("the scheme must be {scheme}")));
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(error("it must end after the port"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(error("it must not hold credentials"));
        }
        let host = url.host_str().ok_or_else(|| error("the host is missing"))?;
        let explicit = text.trim_end_matches('/').rsplit(':').next();
        let port = url
            .port_or_known_default()
            .filter(|port| explicit.and_then(|digits| digits.parse().ok()) == Some(*port))
            .ok_or_else(|| error("the port is missing"))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write("http", f)
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, "http")
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(at) => at.write("http", f),
            Self::Tls(at) => at.write("https", f),
        }
    }
}

impl FromStr for PeerUrl {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.starts_with("https:") {
            true => Listen::parse(text, "https").map(Self::Tls),
            false => text.parse().map(Self::Plain),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_strictly() {
        for good in [
            "http://127.0.0.1:0",
            "http://localhost:7001/",
            "http://[::1]:80",
        ] {
            let address: Listen = good.parse().unwrap();
            assert_eq!(address.to_string(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "127.0.0.1:80",
            "http://127.0.0.1",
            "https://a:1",
            "http://a:1/path",
            "http://a:b",
            "http://a:99999",
            "http://u:p@a:1",
        ] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[test]
    fn peers_are_read_with_and_without_tls() {
        let at = || Listen::new("::1", 443);
        for (text, expected) in [
            ("http://[::1]:443", PeerUrl::Plain(at())),
            ("https://[::1]:443", PeerUrl::Tls(at())),
        ] {
            let peer: PeerUrl = text.parse().unwrap();
            assert_eq!(peer, expected);
            assert_eq!(peer.to_string(), text);
        }
        for bad in [
            "",
            "ftp://a:1",
            "https://a",
            "https://u:p@a:1",
            "https://a:1/b",
        ] {
            assert!(bad.parse::<PeerUrl>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn port_zero_becomes_a_real_port() {
        let bound = Listen::loopback().bind("test").await.unwrap();
        assert_ne!(bound.url.port(), 0);
        assert!(bound.url.bind("test").await.is_err());
    }
}
