//! `redis`: a cast sets a key, a call reads it. What waits goes in one pipeline.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use edgeless_dataflow::{Answer, Factory};
use edgeless_types::resource::{Configurations, redis::Settings};
use redis::{
    Client, Pipeline, RedisError, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
};

use super::{
    Counters,
    mailbox::{self, Delivery, Mailbox, Owner, Replies},
};

/// Commands of one pipeline.
const BATCH: usize = 128;

/// Prepares an instance; the server is sought when the first message comes, so that one that is
/// not there yet does not keep a workflow from starting.
///
/// # Errors
/// A setting is wrong; in words.
pub(super) fn prepare(
    configurations: &Configurations,
    owner: Owner,
    counters: Arc<Counters>,
) -> Result<Factory, String> {
    let settings = Settings::read(configurations).map_err(|problem| problem.to_string())?;
    let refused = |error: RedisError| format!("setting `url`: {error}");
    let client = Client::open(settings.url.as_str()).map_err(refused)?;
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(1)
        .set_connection_timeout(Some(settings.timeout))
        .set_response_timeout(Some(settings.timeout));
    let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(refused)?;
    let store = Store {
        key: settings.key,
        connection,
        counters,
        failing: false,
    };
    Ok(mailbox::factory(owner, |mailbox, replies| {
        store.run(mailbox, replies)
    }))
}

struct Store {
    key: String,
    connection: ConnectionManager,
    counters: Arc<Counters>,
    failing: bool,
}

impl Store {
    async fn run(mut self, mut mailbox: Mailbox, replies: Replies) {
        let mut batch = Vec::with_capacity(BATCH);
        while mailbox.take(&mut batch, BATCH).await > 0 {
            let done = self.carry_out(&batch).await;
            self.report(&done, batch.len());
            let mut values = match &done {
                Ok(values) => Some(values.iter()),
                Err(_) => None,
            };
            let handled = batch.drain(..).map(|delivery| {
                let value = values.as_mut().and_then(Iterator::next);
                let answer = match (&done, value) {
                    (Err(error), _) => Answer::Error(format!("redis: {error}")),
                    (Ok(_), value) => answer(value),
                };
                (delivery, answer)
            });
            replies.finish(handled).await;
        }
    }

    async fn carry_out(&mut self, batch: &[Delivery]) -> Result<Vec<Value>, RedisError> {
        let pipeline = pipeline(&self.key, batch);
        let number = batch.len();
        self.connection
            .req_packed_commands(&pipeline, 0, number)
            .await
    }

    fn report(&mut self, done: &Result<Vec<Value>, RedisError>, number: usize) {
        let refused = match done {
            Ok(values) => values.iter().filter_map(refusal).next(),
            Err(error) => Some(error.to_string()),
        };
        let Some(error) = refused else {
            self.failing = false;
            return;
        };
        let lost = done
            .as_ref()
            .map_or(number, |values| values.iter().filter_map(refusal).count());
        self.counters
            .redis_errors
            .fetch_add(lost as u64, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                key = self.key,
                error,
                "redis refuses messages; they are counted"
            );
        }
    }
}

fn refusal(value: &Value) -> Option<String> {
    match value {
        Value::ServerError(error) => Some(error.to_string()),
        _ => None,
    }
}

fn pipeline(key: &str, batch: &[Delivery]) -> Pipeline {
    let mut pipeline = redis::pipe();
    for delivery in batch {
        match delivery.call {
            Some(_) => pipeline.get(key),
            None => pipeline.set(key, delivery.payload.as_ref()),
        };
    }
    pipeline
}

fn answer(value: Option<&Value>) -> Answer {
    match value {
        Some(Value::BulkString(value)) => Answer::Reply(Bytes::copy_from_slice(value)),
        Some(Value::Nil) => Answer::NoReply,
        Some(Value::ServerError(error)) => Answer::Error(format!("redis: {error}")),
        Some(Value::SimpleString(text)) => Answer::Reply(Bytes::from(text.clone())),
        other => Answer::Error(format!("redis answered with {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use edgeless_dataflow::CallRef;
    use edgeless_types::{InstanceId, NodeId, PhysicalId, Timestamp, message::MessageId};
    use uuid::Uuid;

    use super::*;
    use crate::resource::mailbox::Unfinished;

    fn delivery(call: bool) -> Delivery {
        let caller = InstanceId {
            node_id: NodeId::new(Uuid::nil()),
            physical_id: PhysicalId::new(Uuid::nil()),
        };
        Delivery {
            source: crate::resource::testing::pid(9),
            payload: Bytes::from_static(b"v"),
            created: Timestamp::EPOCH,
            begin: Timestamp::default(),
            tracked: None,
            call: call.then_some(CallRef {
                id: MessageId::default(),
                caller,
                ticket: None,
            }),
            unfinished: Unfinished::nobodys(),
        }
    }

    #[test]
    fn casts_set_and_calls_get_in_their_order() {
        let pipeline = pipeline("k", &[delivery(false), delivery(true)]);
        let packed = String::from_utf8(pipeline.get_packed_pipeline()).unwrap();
        assert!(
            packed.find("SET").unwrap() < packed.find("GET").unwrap(),
            "{packed}"
        );
    }

    #[test]
    fn values_are_replies_and_their_absence_is_none() {
        let value = Value::BulkString(b"v".to_vec());
        assert_eq!(
            answer(Some(&value)),
            Answer::Reply(Bytes::from_static(b"v"))
        );
        assert_eq!(answer(Some(&Value::Nil)), Answer::NoReply);
        assert!(matches!(answer(None), Answer::Error(_)));
    }
}
