//! Intents from Redis: announced in a list, taken in order.

use std::time::Duration;

use edgeless_types::intent::ANNOUNCEMENTS;
use redis::aio::MultiplexedConnection;

use crate::handle::Handle;

/// How often the list is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Between two tries to reach Redis.
const RETRY: Duration = Duration::from_millis(500);

/// Takes intents for as long as ε-ORC runs.
pub(super) async fn run(client: redis::Client, orc: Handle) {
    loop {
        let error = match session(&client, &orc).await {
            Ok(()) => return,
            Err(error) => error,
        };
        tracing::debug!(%error, "no intents from Redis");
        tokio::time::sleep(RETRY).await;
    }
}

async fn session(client: &redis::Client, orc: &Handle) -> redis::RedisResult<()> {
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(2)))
        .set_response_timeout(Some(Duration::from_secs(5)));
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut list_is_wrong = false;
    loop {
        let announced: redis::RedisResult<Option<Vec<u8>>> = redis::cmd("LPOP")
            .arg(ANNOUNCEMENTS)
            .query_async(&mut redis)
            .await;
        let key = match announced {
            Ok(Some(key)) => String::from_utf8_lossy(&key).into_owned(),
            Ok(None) => {
                list_is_wrong = false;
                tokio::time::sleep(POLL).await;
                continue;
            }
            Err(error) if error.code() == Some(WRONG_TYPE) => {
                if !std::mem::replace(&mut list_is_wrong, true) {
                    tracing::error!(
                        "`{ANNOUNCEMENTS}` in Redis is no list: no intent is taken until it is deleted"
                    );
                }
                tokio::time::sleep(RETRY).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let value = take(&mut redis, &key).await?;
        if orc.intent(key, value).await.is_err() {
            return Ok(());
        }
    }
}

/// What Redis says of a key that holds something else.
const WRONG_TYPE: &str = "WRONGTYPE";

/// The value of an intent, which is deleted; nothing for a key that is no intent, or holds no text: then
/// the intent is refused.
async fn take(redis: &mut MultiplexedConnection, key: &str) -> redis::RedisResult<Option<String>> {
    if !key.starts_with("intent:") {
        return Ok(None);
    }
    let taken: redis::RedisResult<Option<Vec<u8>>> =
        redis::cmd("GETDEL").arg(key).query_async(redis).await;
    match taken {
        Ok(value) => Ok(value.map(|text| String::from_utf8_lossy(&text).into_owned())),
        Err(error) if error.code() == Some(WRONG_TYPE) => {
            tracing::warn!(key, "an intent holds no text");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
