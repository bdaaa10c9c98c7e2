//! Services with bytes: what their input names is looked up when a task is handed out, and what they return becomes a
//! blob before its outcome goes to the book, which knows of neither.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use edgeless_dataflow::FAR_PAYLOAD;
use edgeless_orders::{
    book::{Handout, LineId, Outcome, Ticket},
    service::Payload,
};
use rustc_hash::FxHashSet;
use tokio::sync::mpsc;

use super::{
    Orders, Post, ToLine,
    blobs::{BlobName, Blobs, KeepError, ReadError, content_type},
};

/// What a service with bytes gets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) bytes: Bytes,
    pub(super) content_type: String,
}

/// What goes over a line at once.
#[derive(Debug)]
pub enum Taken {
    /// Tasks whose payloads are JSON, and tickets.
    Json(ToLine),
    /// One task with the bytes that it gets as its payload.
    Bytes(Handout, Bytes),
}

/// The tasks of a line, with bytes where its service wants them.
pub struct Tasks {
    orders: Orders,
    line: LineId,
    taken: mpsc::Receiver<ToLine>,
    waiting: VecDeque<Handout>,
    out: Arc<Out>,
}

/// Which tasks with bytes are with a service.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// There never was one: nothing else is to be looked at.
    any: AtomicBool,
    tickets: Mutex<FxHashSet<Ticket>>,
}

impl Out {
    fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    fn add(&self, ticket: Ticket) {
        self.tickets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(ticket);
        self.any.store(true, Ordering::Release);
    }

    fn remove(&self, ticket: Ticket) -> bool {
        self.tickets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&ticket)
    }

    /// Outcomes as the book takes them: what tasks with bytes have returned is kept.
    pub(super) async fn settle(&self, blobs: &Blobs, outcomes: &mut [(Ticket, Outcome)]) {
        if !self.any() {
            return;
        }
        for (ticket, outcome) in outcomes {
            if self.remove(*ticket) {
                let came = std::mem::replace(outcome, Outcome::TimedOut);
                *outcome = settled(blobs, came, None).await;
            }
        }
    }
}

impl Tasks {
    pub(super) fn new(
        orders: Orders,
        line: LineId,
        taken: mpsc::Receiver<ToLine>,
        out: Arc<Out>,
    ) -> Self {
        Self {
            orders,
            line,
            taken,
            waiting: VecDeque::new(),
            out,
        }
    }

    /// What goes over the line next; none: nothing will. It must not be given up half-way.
    pub async fn next(&mut self) -> Option<Taken> {
        loop {
            while let Some(handout) = self.waiting.pop_front() {
                match given(self.orders.blobs(), &handout, FAR_PAYLOAD).await {
                    Ok(given) => {
                        self.out.add(handout.ticket);
                        return Some(Taken::Bytes(handout, given.bytes));
                    }
                    Err(outcome) => {
                        let outcomes = vec![(handout.ticket, outcome)];
                        self.orders.post(Post::Outcomes(self.line, outcomes)).await;
                    }
                }
            }
            let mut message = self.taken.recv().await?;
            if message.tasks.iter().any(|task| task.form == Payload::Bytes) {
                let tasks = std::mem::take(&mut message.tasks);
                let is_json = |task: &Handout| task.form == Payload::Json;
                let (json, bytes): (Vec<_>, Vec<_>) = tasks.into_iter().partition(is_json);
                message.tasks = json;
                self.waiting.extend(bytes);
            }
            if self.out.any() || !self.waiting.is_empty() {
                // Nothing comes back of those.
                for ticket in &message.cancelled {
                    self.waiting.retain(|task| task.ticket != *ticket);
                    self.out.remove(*ticket);
                }
            }
            if !message.tasks.is_empty() || !message.cancelled.is_empty() {
                return Some(Taken::Json(message));
            }
        }
    }
}

/// What a task with bytes gets: those of the blob that its input names, or the text of its input. Else what came of it.
pub(super) async fn given(blobs: &Blobs, handout: &Handout, most: usize) -> Result<Given, Outcome> {
    let Some(name) = BlobName::of_value(&handout.payload) else {
        return Ok(Given {
            bytes: handout.payload.bytes(),
            content_type: content_type::JSON.to_owned(),
        });
    };
    match blobs.read(name, most).await {
        Ok((bytes, content_type)) => Ok(Given {
            bytes,
            content_type,
        }),
        Err(
            error @ (ReadError::Unknown(_) | ReadError::TooLong { .. } | ReadError::Damaged(_)),
        ) => Err(Outcome::Refused(error.to_string())),
        Err(error @ ReadError::Disk { .. }) => Err(Outcome::Failed(error.to_string())),
    }
}

/// What came of a task with bytes, as the book takes it: bytes that were returned are kept, and the result names them.
/// Where the disk refuses them, the task is brought again and this was no attempt, so that nothing is lost.
pub(super) async fn settled(
    blobs: &Blobs,
    outcome: Outcome,
    content_type: Option<String>,
) -> Outcome {
    let (payload, instance) = match outcome {
        Outcome::Reply { payload, instance } => (payload, instance),
        Outcome::Failed(_) | Outcome::Refused(_) | Outcome::TimedOut | Outcome::Undelivered(_) => {
            return outcome;
        }
    };
    match blobs.keep(payload, content_type).await {
        Ok(view) => {
            let text = serde_json::to_vec(&view).expect("texts and a number are written");
            let payload = Bytes::from(text);
            Outcome::Reply { payload, instance }
        }
        Err(error @ KeepError::TooLong) => Outcome::Failed(error.to_string()),
        Err(error @ KeepError::Disk(_)) => {
            tracing::warn!(%error, "the result of a task is done again");
            Outcome::Undelivered(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeless_orders::json::Json;
    use edgeless_types::{OrderId, Timestamp};
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
        (folder, blobs)
    }

    fn handout(payload: String) -> Handout {
        Handout {
            ticket: Ticket(1),
            id: OrderId::at(Timestamp::from_nanos(1), &mut SmallRng::seed_from_u64(1)),
            task: "A".into(),
            undo: false,
            attempt: 1,
            payload: Json::parse(payload).unwrap(),
            form: Payload::Bytes,
            timeout: Duration::from_secs(1),
        }
    }

    fn reply(payload: &'static [u8]) -> Outcome {
        Outcome::Reply {
            payload: Bytes::from_static(payload),
            instance: None,
        }
    }

    #[tokio::test]
    async fn a_task_gets_the_bytes_that_its_input_names_or_its_text() {
        let (_folder, blobs) = blobs();
        let content = Bytes::from_static(b"\x89PNG\r\n\x1a\n1");
        let view = blobs.keep(content.clone(), None).await.unwrap();
        let named = handout(serde_json::to_string(&view).unwrap());
        let given_to = given(&blobs, &named, 100).await.unwrap();
        assert_eq!(given_to.bytes, content);
        assert_eq!(given_to.content_type, "image/png");
        let text = given(&blobs, &handout("\"text\"".to_owned()), 100).await;
        assert_eq!(text.unwrap().bytes, Bytes::from_static(b"\"text\""));
        let too_long = given(&blobs, &named, 8).await.unwrap_err();
        assert!(matches!(too_long, Outcome::Refused(_)));
        let absent = handout(format!("{{\"blob\":\"sha256:{}\"}}", "0".repeat(64)));
        let Outcome::Refused(reason) = given(&blobs, &absent, 100).await.unwrap_err() else {
            panic!("a blob that is not there is not tried again");
        };
        assert!(reason.contains("there is no blob `sha256:00"), "{reason}");
    }

    #[tokio::test]
    async fn what_a_task_with_bytes_returns_is_kept_and_named() {
        let (_folder, blobs) = blobs();
        let out = Out::default();
        let mut outcomes = vec![(Ticket(1), reply(b"GIF89a")), (Ticket(2), reply(b"2"))];
        out.settle(&blobs, &mut outcomes).await;
        assert_eq!(outcomes[0].1, reply(b"GIF89a"), "no task had bytes");
        out.add(Ticket(1));
        out.settle(&blobs, &mut outcomes).await;
        assert_eq!(outcomes[1].1, reply(b"2"), "this one had none");
        let Outcome::Reply { payload, .. } = &outcomes[0].1 else {
            panic!("{outcomes:?}");
        };
        let result = Json::parse(payload.clone()).unwrap();
        let name = BlobName::of_value(&result).unwrap();
        let (content, content_type) = blobs.read(name, 100).await.unwrap();
        assert_eq!(
            (&content[..], content_type.as_str()),
            (&b"GIF89a"[..], "image/gif")
        );
    }

    #[tokio::test]
    async fn a_result_that_the_disk_refuses_is_no_attempt() {
        let (folder, blobs) = blobs();
        std::fs::remove_dir_all(folder.path().join("blobs")).unwrap();
        let outcome = settled(&blobs, reply(b"result"), None).await;
        assert!(matches!(outcome, Outcome::Undelivered(_)), "{outcome:?}");
    }
}
