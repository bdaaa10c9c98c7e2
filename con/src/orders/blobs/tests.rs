//! Blobs are kept by their content, and removed only when nobody needs them.

use std::{ops::ControlFlow, time::Duration};

use edgeless_orders::{
    record::{Accepted, Change, Record, What},
    store::{Keep, Rows, Store, Tables, Which},
};
use edgeless_types::{OrderId, Timestamp};
use rand::{SeedableRng, rngs::SmallRng};

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn blobs() -> (tempfile::TempDir, Blobs) {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
    (folder, blobs)
}

async fn put(blobs: &Blobs, content: &[u8], content_type: Option<&str>) -> (BlobView, bool) {
    let mut incoming = blobs.begin().await.unwrap();
    for piece in content.chunks(3) {
        incoming.write(piece).await.unwrap();
    }
    incoming
        .finish(content_type.map(str::to_owned))
        .await
        .unwrap()
}

fn name(content: &[u8]) -> BlobName {
    BlobName::new(CodeDigest::of(content))
}

fn files(blobs: &Blobs) -> usize {
    fs::read_dir(&blobs.0.folder).unwrap().count()
}

fn make_old(blobs: &Blobs, content: &[u8]) {
    let file = File::open(blobs.path(name(content))).unwrap();
    file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
}

#[tokio::test]
async fn a_blob_is_kept_once_by_its_content_and_read_as_it_was_put() {
    let (_folder, blobs) = blobs();
    let (view, is_new) = put(&blobs, b"some bytes", Some("text/plain")).await;
    assert!(is_new);
    assert_eq!(view.blob, name(b"some bytes").to_string());
    assert_eq!((view.bytes, view.content_type.as_str()), (10, "text/plain"));
    assert_eq!(
        put(&blobs, b"some bytes", None).await,
        (view.clone(), false)
    );
    let again = blobs.keep(Bytes::from_static(b"some bytes"), None).await;
    assert_eq!(again.unwrap(), view);
    let read = blobs.read(name(b"some bytes"), 10).await.unwrap();
    assert_eq!(
        read,
        (Bytes::from_static(b"some bytes"), "text/plain".to_owned())
    );
    let other = put(&blobs, b"some bytes", Some("text/x-other")).await;
    assert_eq!(other.0.content_type, "text/plain");
    let (view, _) = put(&blobs, b"other bytes", None).await;
    assert_eq!(view.content_type, "application/octet-stream");
    let (view, _) = put(&blobs, b"other bytes", Some("image/x-late")).await;
    assert_eq!(view.content_type, "image/x-late");
    assert_eq!(files(&blobs), 4);
}

#[tokio::test]
async fn what_is_not_finished_leaves_nothing_behind() {
    let (folder, blobs) = blobs();
    let mut incoming = blobs.begin().await.unwrap();
    incoming.write(b"half").await.unwrap();
    drop(incoming);
    assert_eq!(files(&blobs), 0);
    let mut incoming = blobs.begin().await.unwrap();
    let too_long = incoming.write(&vec![0; BLOB_BYTES + 1]).await;
    assert!(matches!(too_long, Err(KeepError::TooLong)));
    drop(incoming);
    // As after a crash.
    fs::write(folder.path().join("blobs/1-2.part"), "half").unwrap();
    let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
    assert_eq!(files(&blobs), 0);
}

#[tokio::test]
async fn a_blob_that_is_absent_damaged_or_too_long_is_not_read() {
    let (_folder, blobs) = blobs();
    let absent = blobs.read(name(b"absent"), 10).await;
    assert!(matches!(absent, Err(ReadError::Unknown(_))));
    assert!(!blobs.used(name(b"absent")).await.unwrap());
    assert!(blobs.file(name(b"absent")).await.unwrap().is_none());
    put(&blobs, b"content", None).await;
    let long = blobs.read(name(b"content"), 6).await;
    assert!(matches!(long, Err(ReadError::TooLong { bytes: 7, .. })));
    fs::write(blobs.path(name(b"content")), "Content").unwrap();
    let damaged = blobs.read(name(b"content"), 10).await;
    assert!(matches!(damaged, Err(ReadError::Damaged(_))));
}

#[tokio::test]
async fn only_old_blobs_that_no_order_names_are_removed() {
    let (folder, blobs) = blobs();
    let store = Tables::open(&folder.path().join("orders.redb")).unwrap();
    for content in [&b"named"[..], b"used", b"forgotten", b"put just now"] {
        put(&blobs, content, None).await;
    }
    for content in [&b"named"[..], b"used", b"forgotten"] {
        make_old(&blobs, content);
    }
    assert!(blobs.used(name(b"used")).await.unwrap());
    let input = format!("{{\"image\":{{\"blob\":\"{}\"}}}}", name(b"named"));
    let accepted = What::Accepted(Box::new(Accepted {
        client: "anybody".to_owned(),
        input: input.into(),
        ..Accepted::default()
    }));
    let at = Timestamp::from_nanos(1);
    let id = OrderId::at(at, &mut SmallRng::seed_from_u64(1));
    let mut rows = Rows::default();
    rows.add(
        1,
        Record::of(Change::new(id, at, accepted)),
        &Default::default(),
    );
    store.apply(&rows, Keep::ForGood).unwrap();

    assert_eq!(blobs.sweep(&store, SystemTime::now(), HOUR).unwrap(), 1);
    let there = |content: &[u8]| blobs.path(name(content)).exists();
    assert!(there(b"named") && there(b"used") && there(b"put just now"));
    assert!(!there(b"forgotten"));
    assert_eq!(files(&blobs), 6);
    assert_eq!(blobs.sweep(&store, SystemTime::now(), HOUR).unwrap(), 0);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_removes_nothing() {
    struct Broken;
    impl Store for Broken {
        fn applied(&self) -> Result<u64, edgeless_orders::store::StoreError> {
            Ok(0)
        }
        fn apply(&self, _: &Rows, _: Keep) -> Result<(), edgeless_orders::store::StoreError> {
            Ok(())
        }
        fn read(&self, _: OrderId) -> Result<Option<Record>, edgeless_orders::store::StoreError> {
            Ok(None)
        }
        fn find(
            &self,
            _: &str,
            _: &str,
        ) -> Result<Option<(OrderId, [u8; 32])>, edgeless_orders::store::StoreError> {
            Ok(None)
        }
        fn visit(
            &self,
            _: Which,
            _: Option<OrderId>,
            _: &mut dyn FnMut(OrderId, Record) -> ControlFlow<()>,
        ) -> Result<(), edgeless_orders::store::StoreError> {
            Err(edgeless_orders::store::StoreError("damaged".to_owned()))
        }
        fn undelivered(&self) -> Result<Vec<OrderId>, edgeless_orders::store::StoreError> {
            Ok(Vec::new())
        }
        fn forget(
            &self,
            _: Timestamp,
            _: usize,
        ) -> Result<usize, edgeless_orders::store::StoreError> {
            Ok(0)
        }
    }
    let (_folder, blobs) = blobs();
    put(&blobs, b"old", None).await;
    make_old(&blobs, b"old");
    assert!(blobs.sweep(&Broken, SystemTime::now(), HOUR).is_err());
    assert!(blobs.path(name(b"old")).exists());
}
