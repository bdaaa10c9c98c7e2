//! The status port of ε-ORC.

use std::{collections::BTreeMap, time::Duration};

use edgeless_types::{
    NodeId, Timestamp,
    intent::{Intent, IntentOutcome},
    mirror,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{RequestBuilder, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::SourceError;

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Requests at a time.
const AT_A_TIME: usize = 16;

/// A client of one ε-ORC.
pub(crate) struct Http {
    pub(super) url: String,
    client: reqwest::Client,
}

/// What is needed of `GET /api/v1/nodes`.
#[derive(Deserialize)]
struct NodeStatus {
    node_id: NodeId,
    cordoned: bool,
}

impl Http {
    pub(super) async fn connect(url: &str) -> Result<Self, SourceError> {
        let wrong = |reason: String| SourceError::Url {
            url: url.to_owned(),
            what: "an ε-ORC's status port",
            reason: format!("{reason}; an example is {}", super::DEFAULT_ORC),
        };
        let parsed = url::Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("it has to begin with http://".to_owned()));
        }
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|error| wrong(chain(&error)))?;
        let http = Self {
            url: url.trim_end_matches('/').to_owned(),
            client,
        };
        if http.state(mirror::DOMAIN_ID).await?.is_empty() {
            return Err(http.failed("it names no domain".to_owned()));
        }
        Ok(http)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    fn failed(&self, reason: String) -> SourceError {
        SourceError::Http {
            url: self.url.clone(),
            reason,
        }
    }

    /// Sends a request whose answer is JSON when its status is one of these.
    async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        good: &[StatusCode],
    ) -> Result<T, SourceError> {
        let failed = |error: &reqwest::Error| self.failed(chain(error));
        let response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| failed(&error))?;
        if !good.contains(&status) {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(self.failed(format!("it answers {status}: {}", text.trim())));
        }
        serde_json::from_slice(&body).map_err(|error| {
            self.failed(format!(
                "its answer cannot be read ({error}); is it the status port?"
            ))
        })
    }

    pub(super) async fn state(&self, prefix: &str) -> Result<BTreeMap<String, Value>, SourceError> {
        let request = self.get("/api/v1/state").query(&[("prefix", prefix)]);
        self.ask(request, &[StatusCode::OK]).await
    }

    pub(super) async fn samples(
        &self,
        keys: &[String],
        since: Timestamp,
    ) -> Result<Vec<Vec<String>>, SourceError> {
        stream::iter(keys)
            .map(|key| self.set(key, since))
            .buffered(AT_A_TIME)
            .try_collect()
            .await
    }

    pub(super) async fn set(
        &self,
        key: &str,
        since: Timestamp,
    ) -> Result<Vec<String>, SourceError> {
        let query = [("key", key), ("since", &since.to_string())];
        let request = self.get("/api/v1/samples").query(&query);
        let set: Vec<(Timestamp, String)> = self.ask(request, &[StatusCode::OK]).await?;
        Ok(set.into_iter().map(|(_, member)| member).collect())
    }

    pub(super) async fn cordoned(&self) -> Result<Vec<NodeId>, SourceError> {
        let request = self.get("/api/v1/nodes");
        let nodes: Vec<NodeStatus> = self.ask(request, &[StatusCode::OK]).await?;
        let cordoned = nodes.into_iter().filter(|node| node.cordoned);
        Ok(cordoned.map(|node| node.node_id).collect())
    }

    pub(super) async fn intent(&self, intent: &Intent) -> Result<IntentOutcome, SourceError> {
        let body = serde_json::json!({ "key": intent.key(), "value": intent.value() });
        let url = format!("{}/api/v1/intents", self.url);
        // Refusals are answers, too.
        let good = [
            StatusCode::OK,
            StatusCode::UNPROCESSABLE_ENTITY,
            StatusCode::BAD_REQUEST,
        ];
        self.ask(self.client.post(url).json(&body), &good).await
    }

    pub(super) async fn outcomes(&self) -> Result<Vec<IntentOutcome>, SourceError> {
        let request = self.get("/api/v1/intents/outcomes");
        self.ask(request, &[StatusCode::OK]).await
    }
}

/// An error of the client and what caused it, without the address, which is told anyway.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "it does not answer in time".to_owned()
    } else if error.is_connect() {
        "nobody answers there".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        cause = error.source();
        if cause.is_none() {
            text = format!("{text} ({error})");
        }
    }
    text
}
