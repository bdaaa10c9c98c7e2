//! The journal as a whole: what comes back, from whole files and from others.

use std::{fs, path::PathBuf};

use edgeless_types::{
    CodeDigest, LogicalId, WorkflowId,
    workflow::{FunctionSpec, OutputMapping, VertexSpec},
};
use uuid::Uuid;

use super::*;

pub(super) fn id(number: u128) -> LogicalId {
    LogicalId::new(Uuid::from_u128(number))
}

pub(super) fn vertex(number: u128) -> VertexRequest {
    VertexRequest {
        logical_id: id(number),
        workflow_id: WorkflowId::new(Uuid::from_u128(number / 4)),
        spec: VertexSpec::Function(FunctionSpec {
            name: "f".to_owned(),
            class_id: "f".to_owned(),
            function_type: "RUST_WASM".to_owned(),
            version: "1".to_owned(),
            code: CodeDigest::of(b"f"),
            outputs: ["out".to_owned()].into(),
            annotations: [("cpu_millis".to_owned(), "400".to_owned())].into(),
        }),
        outputs: [("out".to_owned(), id(number + 1))].into(),
    }
}

/// Where pages begin in the file.
const HEADER: usize = 4_096;

fn node(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(number))
}

async fn write(journal: &Journal, difference: Difference) {
    let mut written = journal.submit(Arc::new(difference));
    written.outcome().await.unwrap();
}

struct File {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            path: folder.path().join("orc").join(FILE),
            _folder: folder,
        }
    }

    /// What is there after the journal was closed and opened again.
    async fn kept(&self) -> Kept {
        let (journal, kept) = Journal::open(&self.path).unwrap();
        journal.close().await;
        kept
    }

    /// A journal with these vertices, one commit each, as `kill -9` leaves its file behind.
    async fn killed_with(&self, vertices: u128) {
        let (journal, _) = Journal::open(&self.path).unwrap();
        for number in 0..vertices {
            write(&journal, Difference::start(&[vertex(number)])).await;
        }
        let bytes = fs::read(&self.path).unwrap();
        journal.close().await;
        fs::write(&self.path, bytes).unwrap();
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let file = File::new();
    let (journal, kept) = Journal::open(&file.path).unwrap();
    assert_eq!(kept, Kept::default());
    let outputs = OutputMapping::from([("other".to_owned(), id(9))]);
    let patches = [(id(3), outputs.clone()), (id(2), outputs.clone())];
    let mut applied = Kept::default();
    for difference in [
        Difference::reconcile(&[vertex(5)]),
        Difference::reset(),
        Difference::start(&[vertex(1), vertex(2), vertex(3)]),
        Difference::stop(&[id(2), id(7)]),
        Difference::patch(&patches),
        Difference::cordon(node(1), true),
        Difference::cordon(node(2), true),
        Difference::cordon(node(1), false),
        Difference::drain(node(3)),
        Difference::cordon(node(3), true),
        Difference::drain(node(4)),
        Difference::cordon(node(4), false),
        Difference::asleep(id(3), Some(Bytes::from_static(b"first"))),
        Difference::awake(id(3)),
        Difference::asleep(id(1), None),
        Difference::awake(id(1)),
        Difference::asleep(id(3), Some(Bytes::from_static(b"last"))),
        Difference::asleep(id(2), None),
    ] {
        difference.apply(&mut applied);
        write(&journal, difference).await;
    }
    journal.close().await;
    assert!(journal.submit(Arc::default()).outcome().await.is_err());

    let mut patched = vertex(3);
    patched.outputs = outputs;
    let expected = Kept {
        told: true,
        vertices: vec![vertex(1), patched],
        asleep: [(id(3), Some(Bytes::from_static(b"last")))].into(),
        cordoned: [node(2), node(3)].into(),
        drained: [node(3)].into(),
    };
    assert_eq!(file.kept().await, expected);
    assert_eq!(applied, expected);
}

#[tokio::test]
async fn a_reconciliation_leaves_nothing_else_and_a_reset_leaves_nothing() {
    let file = File::new();
    let (journal, _) = Journal::open(&file.path).unwrap();
    write(&journal, Difference::start(&[vertex(1), vertex(2)])).await;
    write(&journal, Difference::reconcile(&[vertex(2), vertex(3)])).await;
    journal.close().await;
    assert_eq!(file.kept().await.vertices, [vertex(2), vertex(3)]);
    let (journal, _) = Journal::open(&file.path).unwrap();
    write(&journal, Difference::reset()).await;
    journal.close().await;
    let nothing = Kept {
        told: true,
        ..Kept::default()
    };
    assert_eq!(
        file.kept().await,
        nothing,
        "it is known that nothing is desired"
    );
}

#[tokio::test]
async fn what_a_sleeper_has_saved_goes_with_it() {
    let state = || Some(Bytes::from_static(b"state"));
    let asleep = |number| Difference::asleep(id(number), state());
    let steps = [
        Difference::start(&[vertex(1), vertex(2), vertex(3)]),
        asleep(1),
        asleep(2),
        asleep(3),
        Difference::stop(&[id(1)]),
        Difference::start(&[vertex(1)]),
        Difference::reconcile(&[vertex(1), vertex(3)]),
        asleep(2),
    ];
    let mut joined = Difference::default();
    for step in &steps {
        joined.then(step.clone());
    }
    // In one commit as in many.
    for steps in [Vec::from(steps), vec![joined]] {
        let file = File::new();
        let (journal, _) = Journal::open(&file.path).unwrap();
        write(&journal, Difference::start(&[vertex(1)])).await;
        write(&journal, asleep(1)).await;
        let mut applied = Kept::default();
        for step in steps {
            step.apply(&mut applied);
            write(&journal, step).await;
        }
        journal.close().await;
        let kept = file.kept().await;
        assert_eq!(kept, applied);
        assert_eq!(kept.asleep, BTreeMap::from([(id(3), state())]));
    }
}

#[tokio::test]
async fn a_spec_is_kept_once_and_goes_with_its_last_vertex() {
    let file = File::new();
    let (journal, _) = Journal::open(&file.path).unwrap();
    let mut other = vertex(9);
    other.spec = VertexSpec::Resource(edgeless_types::workflow::ResourceSpec {
        name: "r".to_owned(),
        class_type: "file-log".to_owned(),
        configurations: [].into(),
    });
    let all = [vertex(1), vertex(2), other.clone()];
    write(&journal, Difference::start(&all)).await;
    journal.close().await;
    let tables = Tables::open(&file.path).unwrap();
    assert_eq!(tables.specs(), 2);
    drop(tables);
    let (journal, _) = Journal::open(&file.path).unwrap();
    write(&journal, Difference::stop(&[id(1)])).await;
    write(&journal, Difference::start(&all)).await;
    write(&journal, Difference::reconcile(&[other])).await;
    journal.close().await;
    assert_eq!(Tables::open(&file.path).unwrap().specs(), 1);
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let file = File::new();
    file.killed_with(20).await;
    assert_eq!(file.kept().await.vertices.len(), 20);
}

#[tokio::test]
async fn a_torn_last_record_is_left_out_and_the_others_are_there() {
    let file = File::new();
    let (journal, _) = Journal::open(&file.path).unwrap();
    let mut before = Vec::new();
    for number in 0..20 {
        before = fs::read(&file.path).unwrap();
        write(&journal, Difference::start(&[vertex(number)])).await;
    }
    // Of the last commit the header came to the disk, but not the pages.
    let mut torn = fs::read(&file.path).unwrap();
    journal.close().await;
    let shared = before.len().min(torn.len());
    torn[HEADER..shared].copy_from_slice(&before[HEADER..shared]);
    fs::write(&file.path, torn).unwrap();
    let all: Vec<_> = (0..19).map(vertex).collect();
    assert_eq!(file.kept().await.vertices, all);
}

#[tokio::test]
async fn a_damaged_journal_is_an_error_that_says_what_to_do() {
    let file = File::new();
    file.killed_with(500).await;
    let whole = fs::read(&file.path).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&file.path, bytes).unwrap();
        let error = Journal::open(&file.path).err();
        let error = error
            .unwrap_or_else(|| panic!("{what} is taken"))
            .to_string();
        assert!(error.contains("orc.redb"), "{what}: {error}");
        assert!(error.contains("is damaged"), "{what}: {error}");
        assert!(error.contains("restore it from a copy"), "{what}: {error}");
    };
    check(&whole[..whole.len() / 2], "half a file");
    check(&whole[..100], "a piece of the header");
    check(
        b"this is no journal, whatever its name says",
        "another file",
    );
    let mut garbled = whole.clone();
    let length = garbled.len();
    for byte in &mut garbled[HEADER..length] {
        *byte = byte.wrapping_add(1);
    }
    check(&garbled, "a garbled file");
    fs::write(&file.path, &whole).unwrap();
    assert_eq!(file.kept().await.vertices.len(), 500);
}

#[tokio::test]
async fn a_byte_that_changed_in_a_file_that_was_closed_is_found() {
    let file = File::new();
    let (journal, _) = Journal::open(&file.path).unwrap();
    let vertices: Vec<_> = (0..2_000).map(vertex).collect();
    write(&journal, Difference::start(&vertices)).await;
    journal.close().await;
    let mut bytes = fs::read(&file.path).unwrap();
    let number = 1_234_u128.to_le_bytes();
    let at = bytes
        .windows(number.len())
        .position(|window| window == number)
        .unwrap();
    bytes[at + 3] ^= 1;
    fs::write(&file.path, bytes).unwrap();
    match Journal::open(&file.path) {
        Err(OpenError::Damaged { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is taken"),
    }
}

#[tokio::test]
async fn of_two_processes_with_one_journal_the_second_is_told_so() {
    let file = File::new();
    let (journal, _) = Journal::open(&file.path).unwrap();
    let error = Journal::open(&file.path).err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    journal.close().await;
}

/// How long a million vertices take: `cargo test --release -p edgeless-orc --lib -- --ignored million --nocapture`.
#[tokio::test]
#[ignore = "measures, and checks nothing that the others do not"]
async fn a_million_vertices_are_read() {
    let file = File::new();
    let (journal, _) = Journal::open(&file.path).unwrap();
    let begin = std::time::Instant::now();
    let spread = |number: u128| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    for part in 0..1_000 {
        let vertices: Vec<_> = (part * 1_000..(part + 1) * 1_000)
            .map(|number| VertexRequest {
                logical_id: id(spread(number)),
                ..vertex(number)
            })
            .collect();
        write(&journal, Difference::start(&vertices)).await;
    }
    let size = fs::metadata(&file.path).unwrap().len() >> 20;
    println!("written in {:?}, {size} MiB", begin.elapsed());
    let killed = fs::read(&file.path).unwrap();
    journal.close().await;
    for (name, bytes) in [("closed", None), ("killed", Some(killed))] {
        if let Some(bytes) = bytes {
            fs::write(&file.path, bytes).unwrap();
        }
        let begin = std::time::Instant::now();
        let (journal, kept) = Journal::open(&file.path).unwrap();
        println!(
            "{name}: {} vertices in {:?}",
            kept.vertices.len(),
            begin.elapsed()
        );
        assert_eq!(kept.vertices.len(), 1_000_000);
        let difference = Difference::reconcile(&kept.vertices);
        let begin = std::time::Instant::now();
        write(&journal, difference).await;
        println!("{name}: the same reconciled in {:?}", begin.elapsed());
        journal.close().await;
    }
}
