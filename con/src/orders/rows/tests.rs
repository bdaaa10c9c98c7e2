//! What brings records to the store, with a store that counts and refuses.

use std::{
    future::Future,
    ops::ControlFlow,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
};

use edgeless_orders::{book::Told, record::Record, store::Which};
use edgeless_types::{OrderId, Timestamp};

use super::*;

/// A store that has nothing. It refuses so many batches.
#[derive(Default)]
struct Nothing {
    refuses: AtomicUsize,
    taken: AtomicUsize,
}

impl Store for Nothing {
    fn applied(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn apply(&self, _: &Rows, _: Keep) -> Result<(), StoreError> {
        let one_less = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.refuses.fetch_update(set, fetch, one_less).is_ok() {
            return Err(StoreError("the disk is away".to_owned()));
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read(&self, _: OrderId) -> Result<Option<Record>, StoreError> {
        Ok(None)
    }

    fn find(&self, _: &str, _: &str) -> Result<Option<(OrderId, [u8; 32])>, StoreError> {
        Ok(None)
    }

    fn visit(
        &self,
        _: Which,
        _: Option<OrderId>,
        _: &mut dyn FnMut(OrderId, Record) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn undelivered(&self) -> Result<Vec<OrderId>, StoreError> {
        Ok(Vec::new())
    }

    fn forget(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

/// How often something was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What runs, for tests that look at each of its turns.
struct World {
    store: Arc<Nothing>,
    records: mpsc::Sender<Records>,
    applied: watch::Receiver<u64>,
}

fn world() -> (World, Applier) {
    let (records, taken) = mpsc::channel(16);
    let (applied, applied_by) = watch::channel(0);
    let store = Arc::new(Nothing::default());
    let applier = Applier {
        store: Arc::clone(&store) as Arc<dyn Store>,
        records: taken,
        applied,
        log: Weak::new(),
        retention: Duration::from_secs(60),
        readiness: Readiness::default(),
    };
    let world = World {
        store,
        records,
        applied: applied_by,
    };
    (world, applier)
}

/// One turn; whether it wants another one at once.
async fn turn(run: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let polled = run.poll(&mut Context::from_waker(&waker));
    assert_eq!(polled, Poll::Pending);
    // Who has had more than its share is woken by the runtime.
    tokio::task::yield_now().await;
    woken.0.load(Ordering::Relaxed) > 0
}

fn asked(list: Vec<(u64, Record, Told)>) -> Records {
    let wanted = true;
    Records { list, wanted }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_store_that_has_all_keeps_nobody_busy() {
    let (world, applier) = world();
    let mut run = pin!(applier.run());
    turn(run.as_mut()).await;
    world.records.try_send(asked(Vec::new())).unwrap();
    turn(run.as_mut()).await;
    tokio::time::advance(2 * GATHER).await;
    assert!(!turn(run.as_mut()).await, "it goes on and on");
    assert_eq!(world.store.taken.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_records_has_them_at_once_and_others_when_they_are_gathered() {
    let (mut world, applier) = world();
    let mut run = pin!(applier.run());
    turn(run.as_mut()).await;
    let record = |number| (number, delivered(), Told::default());
    let wanted = asked(vec![record(1)]);
    world.records.try_send(wanted).unwrap();
    turn(run.as_mut()).await;
    assert_eq!(*world.applied.borrow_and_update(), 1);
    let gathered = Records {
        wanted: false,
        ..asked(vec![record(2)])
    };
    world.records.try_send(gathered).unwrap();
    turn(run.as_mut()).await;
    assert_eq!(*world.applied.borrow_and_update(), 1);
    tokio::time::advance(2 * GATHER).await;
    assert!(!turn(run.as_mut()).await);
    assert_eq!(*world.applied.borrow_and_update(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_is_tried_again_after_a_pause() {
    let (world, applier) = world();
    world.store.refuses.store(1, Ordering::Relaxed);
    let readiness = applier.readiness.clone();
    let mut run = pin!(applier.run());
    turn(run.as_mut()).await;
    let records = asked(vec![(1, delivered(), Told::default())]);
    world.records.try_send(records).unwrap();
    assert!(!turn(run.as_mut()).await);
    assert_eq!(*world.applied.borrow(), 0);
    assert!(readiness.restore(PART), "it was said that it refuses");
    tokio::time::advance(2 * PAUSE).await;
    turn(run.as_mut()).await;
    assert_eq!(*world.applied.borrow(), 1);
}

/// A record of some order.
fn delivered() -> Record {
    use edgeless_orders::record::{Change, Delivered, What};
    let id = OrderId::new(uuid::Uuid::from_u128(1));
    let what = What::Delivered(Delivered::default());
    Record::of(Change::new(id, now(), what))
}
