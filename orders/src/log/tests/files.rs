//! The log on real files: what else may be wrong with a folder.

use super::*;

fn open(folder: &Path, options: Options, from: u64) -> Result<(Log, Records), OpenError> {
    let mut records = Vec::new();
    let log = Log::open(folder, options, from, |_, record| {
        records.push(record.to_vec());
        Ok(())
    })?;
    Ok((log, records))
}

fn refused(folder: &Path, options: Options, from: u64) -> OpenError {
    match open(folder, options, from) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

#[test]
fn records_are_read_again_over_many_segments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new");
    let (mut log, _) = open(&path, OPTIONS, 0).unwrap();
    let all: Records = (0..40_u8).map(|number| vec![number; 100]).collect();
    for records in all.chunks(3) {
        log.commit(&batch_of(&log, records)).unwrap();
    }
    drop(log);
    let (log, records) = open(&path, OPTIONS, 11).unwrap();
    assert_eq!(records, all[10..]);
    assert_eq!(log.next(), 41);
}

#[test]
fn nobody_else_can_use_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), OPTIONS, 1).unwrap();
    let error = refused(folder.path(), OPTIONS, 1);
    assert!(matches!(error, OpenError::InUse { .. }));
    drop(log);
    open(folder.path(), OPTIONS, 1).unwrap();
}

#[test]
fn another_folder_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter"), "dear").unwrap();
    let error = refused(folder.path(), OPTIONS, 1).to_string();
    assert!(error.contains("holds `letter`"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_log_that_ends_before_the_rows_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(folder.path(), OPTIONS, 5).to_string();
    assert!(error.contains("ends with record 0"), "{error}");
    assert!(error.contains("up to 4"), "{error}");
}

#[test]
fn another_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), OPTIONS, 1).unwrap());
    let path = folder.path().join("000000.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..36]);
    bytes[36..40].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = refused(folder.path(), OPTIONS, 1);
    assert!(matches!(error, OpenError::Version { found: 9, .. }));
}

#[test]
fn options_that_do_not_fit_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), OPTIONS, 1).unwrap());
    let check = |segment_bytes, max_bytes, expected: &str| {
        let options = Options {
            segment_bytes,
            max_bytes,
            sync_delay: Duration::ZERO,
        };
        let error = refused(folder.path(), options, 1).to_string();
        assert!(error.contains(expected), "{error}");
    };
    check(5_119, 50_000, "take a multiple of 512");
    check(4_096, 50_000, "take a multiple of 512");
    check(5_120, 5_120, "take at least two segments");
    check(10_240, 50_000, "set it back");
}

#[test]
fn a_segment_that_was_cut_short_is_damage_and_an_unfinished_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), OPTIONS, 1).unwrap();
    log.commit(&batch_of(&log, &[b"one".to_vec()])).unwrap();
    drop(log);
    std::fs::write(folder.path().join("000077.segment"), [0; 1_000]).unwrap();
    assert_eq!(open(folder.path(), OPTIONS, 1).unwrap().1.len(), 1);
    assert!(!folder.path().join("000077.segment").exists());
    let first = folder.path().join("000000.segment");
    let bytes = std::fs::read(&first).unwrap();
    std::fs::write(&first, &bytes[..4_500]).unwrap();
    let error = refused(folder.path(), OPTIONS, 1);
    assert!(matches!(error, OpenError::Damaged { offset: 4_500, .. }));
}

#[test]
fn a_record_the_caller_refuses_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), OPTIONS, 1).unwrap();
    log.commit(&batch_of(&log, &[b"a".to_vec(), b"b".to_vec()]))
        .unwrap();
    drop(log);
    let refuse = |sequence, _: &[u8]| match sequence {
        2 => Err("unknown order".to_owned()),
        _ => Ok(()),
    };
    let error = Log::open(folder.path(), OPTIONS, 1, refuse).err().unwrap();
    assert!(error.to_string().contains("record 2"), "{error}");
}
