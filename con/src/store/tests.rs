//! What is kept, and what becomes of a disk that is full or a file that is damaged.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use tokio::sync::watch;
use uuid::Uuid;

use super::*;

fn workflow(number: u128) -> Arc<WorkflowRecord> {
    Arc::new(WorkflowRecord {
        workflow_id: WorkflowId::new(Uuid::from_u128(number)),
        name: "w".into(),
        accepted: Timestamp::from_nanos(1),
        domain_id: Some(DomainId::new("d")),
        vertices: vec![],
        notes: vec![],
        domains: DomainRequirements::default(),
        update: None,
    })
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("con.redb");
    let (store, kept) = Store::open(&path, Readiness::default()).unwrap();
    assert_eq!(kept, Kept::default());
    let key = KeyRecord {
        body: CodeDigest::of(b""),
        workflow_id: workflow(1).workflow_id,
        used: Timestamp::EPOCH,
    };
    let writes = vec![
        Write::Workflow(workflow(1)),
        Write::Workflow(workflow(2)),
        Write::Domain(DomainId::new("d")),
        Write::Life(7),
        Write::Key("kept".into(), key.clone()),
        Write::Key("gone".into(), key.clone()),
    ];
    store.write(writes).await.unwrap();
    let gone = workflow(2).workflow_id;
    let writes = vec![
        Write::WorkflowGone(gone),
        Write::KeyGone("gone".into()),
        Write::Moved(workflow(1).workflow_id, DomainId::new("e")),
        Write::Moved(gone, DomainId::new("e")),
        // It was made while the workflow was in another domain.
        Write::Updated(Arc::new(WorkflowRecord {
            name: "updated".into(),
            ..(*workflow(1)).clone()
        })),
        Write::Updated(workflow(2)),
    ];
    store.write(writes).await.unwrap();
    store.close().await;
    assert!(store.write(vec![]).await.is_err());

    let (store, kept) = Store::open(&path, Readiness::default()).unwrap();
    let moved = WorkflowRecord {
        domain_id: Some(DomainId::new("e")),
        name: "updated".into(),
        ..(*workflow(1)).clone()
    };
    assert_eq!(
        kept.workflows,
        [moved],
        "and what is gone does not come back by a move or an update"
    );
    assert_eq!(kept.keys, [("kept".to_owned(), key)]);
    assert!(kept.domains.contains(&DomainId::new("d")));
    assert_eq!(kept.life, 7);
    store.close().await;
}

#[test]
fn a_damaged_store_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.redb");
    std::fs::write(&damaged, "this is no database, whatever its name says").unwrap();
    let error = Store::open(&damaged, Readiness::default())
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("damaged.redb"), "{error}");
    assert!(error.contains("restore it from a copy"), "{error}");
}

#[tokio::test]
async fn a_store_that_another_one_has_open_is_not_to_be_moved_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("con.redb");
    let (store, _) = Store::open(&path, Readiness::default()).unwrap();
    let error = Store::open(&path, Readiness::default()).err().unwrap();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    store.close().await;
}

#[tokio::test]
async fn requests_that_come_together_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(&folder.path().join("con.redb"), Readiness::default()).unwrap();
    let all = (0..100).map(|number| store.write(vec![Write::Workflow(workflow(number))]));
    let outcomes = futures_util::future::join_all(all).await;
    assert!(outcomes.iter().all(Result::is_ok));
    store.close().await;
    let (store, kept) = Store::open(&folder.path().join("con.redb"), Readiness::default()).unwrap();
    assert_eq!(kept.workflows.len(), 100);
    store.close().await;
}

#[tokio::test]
async fn a_store_whose_pages_are_garbled_is_an_error_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("con.redb");
    let (store, _) = Store::open(&path, Readiness::default()).unwrap();
    store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    for byte in bytes.iter_mut().skip(4_096) {
        *byte = byte.wrapping_add(1);
    }
    std::fs::write(&path, bytes).unwrap();
    let error = Store::open(&path, Readiness::default()).err().unwrap();
    assert!(error.to_string().contains("restore it"), "{error}");
}

/// A disk that may be full, and keeps nothing.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) is_full: Arc<AtomicBool>,
    /// How often it has refused something, and taken something.
    pub(crate) counts: Arc<watch::Sender<(u32, u32)>>,
}

impl Disk {
    /// A store on it.
    pub(crate) fn store(&self, readiness: Readiness) -> Store {
        let again = self.clone();
        Store {
            writer: Writer::spawn(self.clone(), move || Ok(again.clone())).unwrap(),
            readiness,
        }
    }
}

impl Committed for Disk {
    type Write = Write;

    fn commit(&mut self, _: &[Write]) -> Result<(), String> {
        let is_full = self.is_full.load(SeqCst);
        self.counts.send_modify(|(refused, taken)| match is_full {
            true => *refused += 1,
            false => *taken += 1,
        });
        match is_full {
            true => Err("No space left".to_owned()),
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_shown_until_writes_go_through_whoever_asks_for_them() {
    let disk = Disk::default();
    let readiness = Readiness::default();
    let store = disk.store(readiness.clone());
    let shown = || readiness.report().reasons.get(PART).cloned();
    let write = async || store.write(vec![Write::Life(1)]).await;
    write().await.unwrap();
    assert_eq!(shown(), None);
    disk.is_full.store(true, SeqCst);
    write().await.unwrap_err();
    assert!(shown().unwrap().contains("No space left"));
    store.try_again().await;
    assert!(shown().is_some(), "it is full");
    disk.is_full.store(false, SeqCst);
    store.try_again().await;
    assert_eq!(shown(), None);
    store.close().await;
}
