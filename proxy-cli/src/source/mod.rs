//! Where the state of a domain is read: the mirror in Redis, or ε-ORC's status port.

mod http;
mod redis;

use std::collections::BTreeMap;

use edgeless_types::{NodeId, Timestamp, intent::Intent, intent::IntentOutcome};
use serde_json::Value;

pub(crate) use self::http::chain;
use self::{http::Http, redis::Redis};

/// Where Redis is tried without an option.
pub(crate) const DEFAULT_REDIS: &str = "redis://127.0.0.1:6379";
/// Where ε-ORC is tried without an option.
pub(crate) const DEFAULT_ORC: &str = "http://127.0.0.1:7004";

/// Newest elements taken per sorted set; ε-ORC remembers as many.
pub(crate) const NEWEST: usize = 2_000;

/// Why a source cannot tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The address is none.
    #[error("`{url}` is no address of {what}: {reason}")]
    Url {
        url: String,
        what: &'static str,
        reason: String,
    },
    /// Redis does not answer, or answers an error.
    #[error("Redis at {url}: {error}")]
    Redis {
        url: String,
        error: ::redis::RedisError,
    },
    /// ε-ORC does not answer, or not as it should.
    #[error("ε-ORC at {url}: {reason}")]
    Http { url: String, reason: String },
    /// A node does not answer, or not as it should.
    #[error("the node at {url}: {reason}; is it its status port (`status_url` in node.toml)?")]
    Node { url: String, reason: String },
    /// There is no domain in it.
    #[error("{0} answers, but mirrors no domain: is the proxy of ε-ORC enabled, with this Redis?")]
    NoDomain(String),
    /// Neither default answers.
    #[error("no domain found ({redis}; {orc}); say where it is with --redis-url or --orc-url")]
    Nowhere { redis: String, orc: String },
    /// A value is not what the contract says.
    #[error("the value of `{key}` cannot be read: {reason}; is ε-ORC of another version?")]
    Value { key: String, reason: String },
    /// An intent was announced and nobody took it.
    #[error("nobody took the intent within {seconds} s, so it was withdrawn; is ε-ORC running?")]
    Untaken { seconds: u64 },
    /// An intent is not announced any more and nothing was heard of it.
    #[error(
        "what became of the intent is not known after {seconds} s: ε-ORC took it and does not \
         answer, or Redis was flushed; see `proxy_cli intent list`"
    )]
    Unanswered { seconds: u64 },
}

/// One of the two sources, connected.
pub(crate) enum Source {
    Redis(Redis),
    Http(Http),
}

impl Source {
    /// Connects to Redis, which has to have a domain.
    pub(crate) async fn redis(url: &str) -> Result<Self, SourceError> {
        Redis::connect(url).await.map(Self::Redis)
    }

    /// Connects to ε-ORC's status port.
    pub(crate) async fn http(url: &str) -> Result<Self, SourceError> {
        Http::connect(url).await.map(Self::Http)
    }

    /// Whichever of the defaults has a domain, Redis first.
    pub(crate) async fn find() -> Result<Self, SourceError> {
        let redis = match Self::redis(DEFAULT_REDIS).await {
            Ok(source) => return Ok(source),
            Err(error) => error,
        };
        Self::http(DEFAULT_ORC)
            .await
            .map_err(|orc| SourceError::Nowhere {
                redis: redis.to_string(),
                orc: orc.to_string(),
            })
    }

    /// Its address, for people; without a password.
    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Redis(redis) => &redis.url,
            Self::Http(http) => &http.url,
        }
    }

    /// The plain keys with this prefix, and their values.
    pub(crate) async fn state(
        &mut self,
        prefix: &str,
    ) -> Result<BTreeMap<String, Value>, SourceError> {
        match self {
            Self::Redis(redis) => redis.state(prefix).await,
            Self::Http(http) => http.state(prefix).await,
        }
    }

    /// The newest elements of each sorted set since a moment, oldest first, at most [`NEWEST`].
    pub(crate) async fn samples(
        &mut self,
        keys: &[String],
        since: Timestamp,
    ) -> Result<Vec<Vec<String>>, SourceError> {
        match self {
            Self::Redis(redis) => redis.samples(keys, since).await,
            Self::Http(http) => http.samples(keys, since).await,
        }
    }

    /// Which nodes are cordoned; nothing where the source does not know.
    pub(crate) async fn cordoned(&mut self) -> Result<Option<Vec<NodeId>>, SourceError> {
        match self {
            Self::Redis(_) => Ok(None),
            Self::Http(http) => http.cordoned().await.map(Some),
        }
    }

    /// The keys of all sorted sets of measurements; nothing where the source does not list them.
    pub(crate) async fn performance_keys(&mut self) -> Result<Option<Vec<String>>, SourceError> {
        match self {
            Self::Redis(redis) => redis.performance_keys().await.map(Some),
            Self::Http(_) => Ok(None),
        }
    }

    /// All elements of a sorted set, oldest first.
    pub(crate) async fn all_samples(&mut self, key: &str) -> Result<Vec<String>, SourceError> {
        match self {
            Self::Redis(redis) => redis.all_samples(key).await,
            Self::Http(http) => http.set(key, Timestamp::EPOCH).await,
        }
    }

    /// Asks for an intent and waits for what becomes of it.
    pub(crate) async fn intent(&mut self, intent: &Intent) -> Result<IntentOutcome, SourceError> {
        match self {
            Self::Redis(redis) => redis.intent(intent).await,
            Self::Http(http) => http.intent(intent).await,
        }
    }

    /// What became of intents, newest first.
    pub(crate) async fn outcomes(&mut self) -> Result<Vec<IntentOutcome>, SourceError> {
        match self {
            Self::Redis(redis) => redis.outcomes().await,
            Self::Http(http) => http.outcomes().await,
        }
    }
}

/// Reads a value of the contract.
pub(crate) fn read<T: serde::de::DeserializeOwned>(
    key: &str,
    value: Value,
) -> Result<T, SourceError> {
    serde_json::from_value(value).map_err(|error| SourceError::Value {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}
