//! The mirror in Redis.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_types::{
    Timestamp,
    intent::{self, Intent, IntentOutcome},
    mirror,
};
use redis::{AsyncConnectionConfig, FromRedisValue, RedisResult, aio::MultiplexedConnection};
use serde_json::Value;
use tokio::time::Instant;

use super::{NEWEST, SourceError};

/// How long it may take to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How long an outcome is waited for.
const OUTCOME: Duration = Duration::from_secs(10);
/// How often an outcome is looked for.
const POLL: Duration = Duration::from_millis(25);
/// Keys in one request.
const CHUNK: usize = 500;

/// A connection to one Redis.
pub(crate) struct Redis {
    pub(super) url: String,
    connection: MultiplexedConnection,
}

impl Redis {
    pub(super) async fn connect(url: &str) -> Result<Self, SourceError> {
        let client = redis::Client::open(url).map_err(|error| SourceError::Url {
            url: without_password(url),
            what: "Redis",
            reason: format!("{error}; an example is {}", super::DEFAULT_REDIS),
        })?;
        let url = without_password(url);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER));
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| SourceError::Redis {
                url: url.clone(),
                error,
            })?;
        let mut redis = Self { url, connection };
        let domain_id: Option<String> = redis.ask(redis::cmd("GET").arg(mirror::DOMAIN_ID)).await?;
        match domain_id {
            Some(_) => Ok(redis),
            None => Err(SourceError::NoDomain(redis.url)),
        }
    }

    async fn ask<T: FromRedisValue>(&mut self, command: &redis::Cmd) -> Result<T, SourceError> {
        let answer: RedisResult<T> = command.query_async(&mut self.connection).await;
        answer.map_err(|error| self.failed(error))
    }

    async fn ask_all<T: FromRedisValue>(
        &mut self,
        pipeline: &redis::Pipeline,
    ) -> Result<T, SourceError> {
        let answer: RedisResult<T> = pipeline.query_async(&mut self.connection).await;
        answer.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: redis::RedisError) -> SourceError {
        SourceError::Redis {
            url: self.url.clone(),
            error,
        }
    }

    /// The keys with a prefix, in order; `SCAN` may tell a key twice.
    async fn keys(&mut self, prefix: &str, kind: &str) -> Result<BTreeSet<String>, SourceError> {
        let mut keys = BTreeSet::new();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{prefix}*"));
            scan.arg("COUNT").arg(1_000).arg("TYPE").arg(kind);
            let (next, found): (u64, Vec<String>) = self.ask(&scan).await?;
            keys.extend(found);
            if next == 0 {
                return Ok(keys);
            }
            cursor = next;
        }
    }

    pub(super) async fn state(
        &mut self,
        prefix: &str,
    ) -> Result<BTreeMap<String, Value>, SourceError> {
        let keys: Vec<String> = self.keys(prefix, "string").await?.into_iter().collect();
        let mut state = BTreeMap::new();
        for chunk in keys.chunks(CHUNK) {
            let values: Vec<Option<String>> = self.ask(redis::cmd("MGET").arg(chunk)).await?;
            for (key, text) in chunk.iter().zip(values) {
                // A key without a value went between the two requests.
                if let Some(text) = text {
                    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    state.insert(key.clone(), value);
                }
            }
        }
        Ok(state)
    }

    pub(super) async fn samples(
        &mut self,
        keys: &[String],
        since: Timestamp,
    ) -> Result<Vec<Vec<String>>, SourceError> {
        let mut sets: Vec<Vec<String>> = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            for key in chunk {
                let command = pipeline.cmd("ZREVRANGEBYSCORE").arg(key);
                command.arg("+inf").arg(since.as_secs_f64());
                command.arg("LIMIT").arg(0).arg(NEWEST);
            }
            sets.extend(self.ask_all::<Vec<Vec<String>>>(&pipeline).await?);
        }
        for set in &mut sets {
            set.reverse();
        }
        Ok(sets)
    }

    pub(super) async fn performance_keys(&mut self) -> Result<Vec<String>, SourceError> {
        let keys = self.keys("performance:", "zset").await?;
        Ok(keys.into_iter().collect())
    }

    pub(super) async fn all_samples(&mut self, key: &str) -> Result<Vec<String>, SourceError> {
        self.ask(redis::cmd("ZRANGE").arg(key).arg(0).arg(-1)).await
    }

    pub(super) async fn intent(&mut self, intent: &Intent) -> Result<IntentOutcome, SourceError> {
        self.intent_within(intent, OUTCOME).await
    }

    async fn intent_within(
        &mut self,
        intent: &Intent,
        wait: Duration,
    ) -> Result<IntentOutcome, SourceError> {
        let before = self.outcomes().await?;
        let key = intent.key();
        let mut announce = redis::pipe();
        announce.atomic();
        announce.cmd("SET").arg(&key).arg(intent.value()).ignore();
        announce.cmd("RPUSH").arg(intent::ANNOUNCEMENTS).arg(&key);
        self.ask_all::<(u64,)>(&announce).await?;
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            let outcomes = self.outcomes().await?;
            let ours = |outcome: &IntentOutcome| outcome.key == key && !before.contains(outcome);
            if let Some(outcome) = outcomes.into_iter().find(ours) {
                return Ok(outcome);
            }
            tokio::time::sleep(POLL).await;
        }
        let seconds = wait.as_secs();
        // What nobody took must not happen later, when nobody expects it.
        let mut withdraw = redis::cmd("LREM");
        withdraw.arg(intent::ANNOUNCEMENTS).arg(-1).arg(&key);
        let withdrawn: u64 = self.ask(&withdraw).await?;
        if withdrawn == 0 {
            return Err(SourceError::Unanswered { seconds });
        }
        self.ask::<u64>(redis::cmd("DEL").arg(&key)).await?;
        Err(SourceError::Untaken { seconds })
    }

    pub(super) async fn outcomes(&mut self) -> Result<Vec<IntentOutcome>, SourceError> {
        let mut range = redis::cmd("LRANGE");
        range.arg(intent::OUTCOMES).arg(0).arg(-1);
        let texts: Vec<String> = self.ask(&range).await?;
        let outcome = |text: String| {
            serde_json::from_str(&text).map_err(|error| SourceError::Value {
                key: intent::OUTCOMES.to_owned(),
                reason: error.to_string(),
            })
        };
        texts.into_iter().map(outcome).collect()
    }
}

/// The address as it may be shown.
fn without_password(url: &str) -> String {
    let Ok(mut parsed) = url::Url::parse(url) else {
        return url.to_owned();
    };
    if parsed.password().is_some() && parsed.set_password(Some("…")).is_err() {
        return "redis".to_owned();
    }
    parsed.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NODE, RedisServer};

    async fn commands<T: FromRedisValue>(server: &mut RedisServer, command: &[&str]) -> T {
        let mut words = redis::Cmd::new();
        for word in command {
            words.arg(word);
        }
        words.query_async(&mut server.connection).await.unwrap()
    }

    #[tokio::test]
    async fn a_redis_without_a_domain_is_an_error_that_says_so() {
        let server = RedisServer::start().await;
        let error = Redis::connect(&server.url).await.err().unwrap();
        assert!(error.to_string().contains("mirrors no domain"), "{error}");
    }

    #[tokio::test]
    async fn an_intent_that_nobody_takes_is_withdrawn() {
        let mut server = RedisServer::with_domain().await;
        let mut redis = Redis::connect(&server.url).await.unwrap();
        let intent = Intent::Cordon {
            node_id: NODE.parse().unwrap(),
        };
        let outcome = redis.intent_within(&intent, Duration::ZERO).await;
        assert!(matches!(outcome, Err(SourceError::Untaken { .. })));
        let left: u64 = commands(&mut server, &["EXISTS", "intents", &intent.key()]).await;
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn the_outcome_is_that_of_this_intent_and_not_of_an_earlier_one() {
        let mut server = RedisServer::with_domain().await;
        let intent = Intent::Cordon {
            node_id: NODE.parse().unwrap(),
        };
        let outcome = |refused: Option<&str>| IntentOutcome {
            key: intent.key(),
            value: Some(intent.value()),
            timestamp: Timestamp::from_nanos(u64::from(refused.is_some())),
            refused: refused.map(str::to_owned),
        };
        let push = |outcome| serde_json::to_string(&outcome).unwrap();
        let earlier = push(outcome(None));
        let _: u64 = commands(&mut server, &["LPUSH", intent::OUTCOMES, &earlier]).await;
        let mut redis = Redis::connect(&server.url).await.unwrap();
        let orc = async {
            let taken: (String, String) = commands(&mut server, &["BLPOP", "intents", "0"]).await;
            assert_eq!(taken.1, intent.key());
            let later = push(outcome(Some("no")));
            let _: u64 = commands(&mut server, &["LPUSH", intent::OUTCOMES, &later]).await;
        };
        let (answer, ()) = tokio::join!(redis.intent(&intent), orc);
        assert_eq!(answer.unwrap(), outcome(Some("no")));
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = without_password("redis://user:secret@host:6379/1");
        assert!(
            !shown.contains("secret") && shown.contains("host:6379"),
            "{shown}"
        );
    }
}
