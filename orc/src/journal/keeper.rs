//! When the journal is written, and who is answered then: one commit is under way at a time, and what comes meanwhile
//! goes together into the next. Its owner never waits for the disk.
//!
//! What the disk refuses is tried again with pauses, together with what has come since; whoever waited for it is told
//! at once that it is not kept yet.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_daemon::{
    status::Readiness,
    writer::{WriteError, Written},
};
use edgeless_types::LogicalId;
use tokio::time::Instant;

use super::{Difference, Journal};

/// The part of `/readyz`.
const PART: &str = "journal";
/// Bounds of the pause after a commit that failed.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// Within that time it is kept who sleeps and has saved nothing: without it a copy is started in vain.
const QUIET: Duration = Duration::from_secs(1);

/// Keeps what it is given; each difference comes with an `A`, which is handed back with the outcome.
pub(crate) struct Keeper<A> {
    journal: Journal,
    readiness: Readiness,
    next: Difference,
    next_waiting: Vec<A>,
    /// Nobody waits for what is next, and it need not be begun before that.
    may_wait: Option<Instant>,
    under_way: Option<UnderWay<A>>,
    /// Commits that failed in a row, and when the next is tried.
    failed: Option<(u32, Instant)>,
}

struct UnderWay<A> {
    difference: Arc<Difference>,
    waiting: Vec<A>,
    written: Written,
}

impl<A> Keeper<A> {
    pub(crate) fn new(journal: Journal, readiness: Readiness) -> Self {
        Self {
            journal,
            readiness,
            next: Difference::default(),
            next_waiting: Vec::new(),
            may_wait: None,
            under_way: None,
            failed: None,
        }
    }

    /// Takes what is to be kept.
    pub(crate) fn keep(&mut self, difference: Difference, waiting: A) {
        self.next.then(difference);
        self.next_waiting.push(waiting);
        self.may_wait = None;
    }

    /// A vertex has no copies any more; its last one has saved this.
    pub(crate) fn asleep(&mut self, logical_id: LogicalId, state: Option<Bytes>) {
        let within = if state.is_some() {
            Duration::ZERO
        } else {
            QUIET
        };
        self.keep_quietly(Difference::asleep(logical_id, state), within);
    }

    /// A vertex that had no copies has one again.
    pub(crate) fn awake(&mut self, logical_id: LogicalId) {
        self.keep_quietly(Difference::awake(logical_id), QUIET);
    }

    /// Takes what is to be kept, and nobody waits for: a commit is begun within that time, with what comes until then.
    fn keep_quietly(&mut self, difference: Difference, within: Duration) {
        let by = Instant::now() + within;
        self.may_wait = match self.next.is_empty() {
            true => Some(by),
            false => self.may_wait.map(|it| it.min(by)),
        };
        self.next.then(difference);
    }

    /// Begins a commit if there is something to be kept and none is under way.
    pub(crate) fn hand_over(&mut self) {
        let is_later = |moment: Instant| Instant::now() < moment;
        let is_early =
            self.failed.is_some_and(|it| is_later(it.1)) || self.may_wait.is_some_and(is_later);
        if self.under_way.is_some() || self.next.is_empty() || is_early {
            return;
        }
        let difference = Arc::new(std::mem::take(&mut self.next));
        let waiting = std::mem::take(&mut self.next_waiting);
        let written = self.journal.submit(Arc::clone(&difference));
        self.under_way = Some(UnderWay {
            difference,
            waiting,
            written,
        });
    }

    /// What the commit under way came to, and who waited for it; never, while none is. It can be given up and asked
    /// again.
    pub(crate) async fn written(&mut self) -> (Result<(), WriteError>, Vec<A>) {
        let Some(under_way) = &mut self.under_way else {
            return std::future::pending().await;
        };
        let outcome = under_way.written.outcome().await;
        let Some(under_way) = self.under_way.take() else {
            return std::future::pending().await;
        };
        match &outcome {
            Ok(()) => {
                self.failed = None;
                if self.readiness.restore(PART) {
                    tracing::info!("the journal is written again");
                }
            }
            Err(error) => self.refused(under_way.difference, error),
        }
        (outcome, under_way.waiting)
    }

    fn refused(&mut self, difference: Arc<Difference>, error: &WriteError) {
        let later = std::mem::take(&mut self.next);
        self.next = Arc::unwrap_or_clone(difference);
        self.next.then(later);
        self.may_wait = None;
        let failures = self.failed.map_or(0, |(failures, _)| failures);
        let pause = (PAUSES.0 * 2_u32.pow(failures.min(8))).min(PAUSES.1);
        self.failed = Some((failures + 1, Instant::now() + pause));
        let reason = format!("the journal cannot be written: {error}");
        if self.readiness.degrade(PART, reason) {
            tracing::error!(%error, "the journal cannot be written; it is tried again");
        }
    }

    /// Writes what is left, and lets go of the file.
    pub(crate) async fn close(mut self) {
        (self.failed, self.may_wait) = (None, None);
        loop {
            self.hand_over();
            if self.under_way.is_none() {
                break;
            }
            if self.written().await.0.is_err() {
                tracing::error!("the end of the journal is not written");
                break;
            }
        }
        self.journal.close().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use edgeless_daemon::{
        status::ReadinessStatus,
        writer::{Committed, Writer},
    };

    use super::super::tests::{id, vertex};
    use super::*;

    /// What came to a disk that may be full.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(bool, Vec<Difference>)>>);

    impl Committed for Disk {
        type Write = Arc<Difference>;

        fn commit(&mut self, writes: &[Arc<Difference>]) -> Result<(), String> {
            let mut disk = self.0.lock().unwrap();
            if disk.0 {
                return Err("full".to_owned());
            }
            disk.1.extend(writes.iter().map(|write| (**write).clone()));
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_committed_in_time_or_with_what_somebody_does() {
        let disk = Disk::default();
        let again = disk.clone();
        let writer = Writer::spawn(disk.clone(), move || Ok(again.clone())).unwrap();
        let mut keeper = Keeper::new(Journal { writer }, Readiness::default());

        keeper.asleep(id(1), None);
        keeper.hand_over();
        assert!(keeper.under_way.is_none(), "there is time");
        tokio::time::advance(QUIET).await;
        keeper.hand_over();
        keeper.written().await.0.unwrap();

        keeper.awake(id(1));
        keeper.asleep(id(2), Some(Bytes::from_static(b"state")));
        keeper.hand_over();
        keeper.written().await.0.unwrap();

        keeper.awake(id(3));
        keeper.keep(Difference::stop(&[id(4)]), "somebody");
        keeper.awake(id(5));
        keeper.hand_over();
        assert_eq!(keeper.written().await.1, ["somebody"]);
        keeper.awake(id(6));
        keeper.close().await;
        let sleeps = |it: &Difference| it.sleeps.len();
        let written = disk.0.lock().unwrap();
        assert_eq!(Vec::from_iter(written.1.iter().map(sleeps)), [1, 2, 3, 1]);
    }

    #[tokio::test]
    async fn what_a_full_disk_refused_is_kept_with_what_came_since() {
        let disk = Disk::default();
        disk.0.lock().unwrap().0 = true;
        let again = disk.clone();
        let writer = Writer::spawn(disk.clone(), move || Ok(again.clone())).unwrap();
        let readiness = Readiness::default();
        readiness.started();
        let mut keeper = Keeper::new(Journal { writer }, readiness.clone());

        keeper.keep(Difference::start(&[vertex(1), vertex(2)]), "first");
        keeper.hand_over();
        keeper.keep(Difference::stop(&[id(1)]), "second");
        keeper.hand_over();
        let (outcome, waiting) = keeper.written().await;
        assert!(outcome.is_err());
        assert_eq!(waiting, ["first"], "whoever came later waits for the next");
        assert_eq!(readiness.report().status, ReadinessStatus::Degraded);
        assert!(readiness.report().reasons["journal"].contains("full"));

        disk.0.lock().unwrap().0 = false;
        keeper.hand_over();
        assert!(
            keeper.under_way.is_none(),
            "a disk that refuses has a pause"
        );
        keeper.failed = Some((1, Instant::now()));
        keeper.hand_over();
        let (outcome, waiting) = keeper.written().await;
        assert_eq!((outcome, waiting), (Ok(()), vec!["second"]));
        assert_eq!(readiness.report().status, ReadinessStatus::Ready);
        keeper.keep(Difference::stop(&[id(2)]), "third");
        keeper.close().await;

        let mut expected = Difference::start(&[vertex(1), vertex(2)]);
        expected.then(Difference::stop(&[id(1)]));
        let kept = &disk.0.lock().unwrap().1;
        assert_eq!(*kept, [expected, Difference::stop(&[id(2)])]);
    }
}
