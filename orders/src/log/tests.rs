//! The log on a disk that fails in every way, over random histories; and on real files.

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{simulated::Simulated, *};

const OPTIONS: Options = Options {
    segment_bytes: 5_120,
    max_bytes: 8 * 5_120,
    sync_delay: Duration::ZERO,
};

type Records = Vec<Vec<u8>>;

fn open(disk: &Arc<Simulated>, from: u64) -> Result<(Log, Records), OpenError> {
    let mut records = Vec::new();
    let replay = |sequence, record: &[u8]| {
        assert_eq!(sequence, from.max(1) + records.len() as u64);
        records.push(record.to_vec());
        Ok(())
    };
    let disk = Arc::clone(disk) as Arc<dyn Disk>;
    let log = Log::open_on(disk, Path::new("log"), OPTIONS, from, replay)?;
    Ok((log, records))
}

fn batch_of(log: &Log, records: &[Vec<u8>]) -> Batch {
    let mut batch = log.batch();
    for record in records {
        batch.push(record).unwrap();
    }
    batch
}

/// Records that occur only once.
fn some_records(rng: &mut SmallRng) -> Records {
    let largest = match rng.random_range(0..10) {
        0 => 980,
        1..4 => 300,
        _ => 40,
    };
    let count = rng.random_range(1..=8);
    let records = std::iter::repeat_with(|| {
        let mut record = vec![0; rng.random_range(0..=largest)];
        rng.fill(&mut record[..]);
        record
    });
    records.take(count).collect()
}

/// A log and what it must hold.
struct Model {
    seed: u64,
    rng: SmallRng,
    disk: Arc<Simulated>,
    log: Option<Log>,
    /// All records that are safe, from the first on.
    safe: Records,
    /// Commits since then that failed, and where their parts end.
    tried: Vec<(Records, Vec<usize>)>,
    /// No record below is needed.
    trimmed: u64,
    /// Commits that succeeded.
    commits: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let disk = Arc::new(Simulated::new(seed));
        let mut model = Self {
            seed,
            rng: SmallRng::seed_from_u64(!seed),
            disk,
            log: None,
            safe: Vec::new(),
            tried: Vec::new(),
            trimmed: 1,
            commits: 0,
        };
        model.reopen();
        model
    }

    /// Opens until the disk lets it, and compares.
    fn reopen(&mut self) {
        self.log = None;
        let seed = self.seed;
        let from = self
            .rng
            .random_range(self.trimmed..=self.safe.len() as u64 + 1);
        let (log, records) = loop {
            match open(&self.disk, from) {
                Ok(opened) => break opened,
                Err(OpenError::Unusable { .. }) => match self.rng.random_bool(0.5) {
                    true => self.disk.cut(),
                    false => self.disk.end_process(),
                },
                Err(error) => panic!("seed {seed}: {error}"),
            }
        };
        let kept = &self.safe[from as usize - 1..];
        assert!(
            records.starts_with(kept),
            "seed {seed}: safe records are lost"
        );
        let more = &records[kept.len()..];
        let is_whole = |(tried, ends): &(Records, Vec<usize>)| {
            ends.contains(&more.len()) && tried.starts_with(more)
        };
        let is_known = more.is_empty() || self.tried.iter().any(is_whole);
        assert!(is_known, "seed {seed}: records that nobody wrote like this");
        self.safe.extend_from_slice(more);
        assert_eq!(log.next(), self.safe.len() as u64 + 1, "seed {seed}");
        self.tried.clear();
        self.log = Some(log);
    }

    fn commit(&mut self) {
        let records = some_records(&mut self.rng);
        let log = self.log.as_mut().unwrap();
        let batch = batch_of(log, &records);
        match log.commit(&batch) {
            Ok(last) => {
                self.safe.extend(records);
                assert_eq!(last, self.safe.len() as u64, "seed {}", self.seed);
                self.tried.clear();
                self.commits += 1;
            }
            Err(_) => {
                let parts = batch.parts(log.capacity());
                let ends = parts.iter().scan(0, |end, part| {
                    *end += part.count as usize;
                    Some(*end)
                });
                self.tried.push((records, ends.collect()));
            }
        }
    }

    fn trim(&mut self) {
        let end = self.safe.len() as u64 + 1;
        self.trimmed = self.rng.random_range(self.trimmed..=end);
        self.log.as_mut().unwrap().trim(self.trimmed);
    }

    fn crash(&mut self) {
        match self.rng.random_bool(0.7) {
            true => self.disk.cut(),
            false => self.disk.end_process(),
        }
        // Recovery can be interrupted as well.
        if self.rng.random_bool(0.3) {
            self.disk.cut_after(self.rng.random_range(1..20));
        }
        self.reopen();
        self.disk.end_process();
    }

    fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..60 => self.commit(),
            60..72 => self.trim(),
            72..80 => {
                self.log.as_ref().unwrap().spares.step().ok();
            }
            80..90 => self.disk.cut_after(self.rng.random_range(1..12)),
            90..92 => {
                let is_full = self.rng.random_bool(0.5);
                self.disk.fill_up(is_full);
            }
            _ => self.crash(),
        }
    }
}

#[test]
fn what_a_commit_returned_for_is_there_after_any_history_and_nothing_else() {
    let mut commits = 0;
    for seed in 0..3_000 {
        let mut model = Model::new(seed);
        let failing = model.rng.random_range(0..3);
        model.disk.fail(f64::from(failing) * 0.04);
        for _ in 0..60 {
            model.step();
        }
        model.disk.fail(0.0);
        model.crash();
        commits += model.commits;
    }
    assert!(commits > 30_000, "{commits} commits: the test is too lame");
}

#[test]
fn a_disk_that_works_again_takes_the_same_batch() {
    for seed in 0..200 {
        let disk = Arc::new(Simulated::new(seed));
        let (mut log, _) = open(&disk, 1).unwrap();
        let mut all = Vec::new();
        for records in [
            vec![vec![1; 40]; 3],
            vec![vec![2; 900]; 2],
            vec![vec![3; 9]],
        ] {
            let batch = batch_of(&log, &records);
            disk.fail(0.5);
            let is_taken = (0..10_000).any(|_| log.commit(&batch).is_ok());
            assert!(is_taken, "seed {seed}");
            all.extend(records);
        }
        disk.fail(0.0);
        disk.cut();
        assert_eq!(open(&disk, 1).unwrap().1, all, "seed {seed}");
    }
}

/// A log of some commits that was closed properly.
struct Written {
    disk: Arc<Simulated>,
    records: Records,
    /// Records of the last commit.
    last: usize,
    /// Where its last part stands.
    place: (u32, std::ops::Range<usize>),
}

fn written(seed: u64, rng: &mut SmallRng) -> Written {
    let disk = Arc::new(Simulated::new(seed));
    let (mut log, _) = open(&disk, 1).unwrap();
    let mut written = Written {
        disk: Arc::clone(&disk),
        records: Vec::new(),
        last: 0,
        place: (0, 0..0),
    };
    for _ in 0..rng.random_range(1..16) {
        let records = some_records(rng);
        let (file, start) = (log.active.file, log.offset as usize);
        if log.commit(&batch_of(&log, &records)).is_ok() {
            let start = if log.active.file == file {
                start
            } else {
                HEADER
            };
            written.last = records.len();
            written.place = (log.active.file, start..log.offset as usize);
            written.records.extend(records);
        }
        if rng.random_bool(0.5) {
            log.spares.step().unwrap();
        }
    }
    while log.spares.step().unwrap() {}
    drop(log);
    disk.cut();
    written
}

/// Opens what is damaged; whether that was noticed. Only what hit the last commit may go unnoticed, and `hit` says that
/// it is gone altogether.
fn check_damage(seed: u64, written: &Written, hit: bool) -> bool {
    let all = &written.records;
    match open(&written.disk, 1) {
        Ok((_, records)) => {
            assert!(all.starts_with(&records), "seed {seed}: other records");
            let is_known = records.len() >= all.len() - written.last;
            assert!(is_known || hit, "seed {seed}: lost silently");
            false
        }
        Err(OpenError::Damaged { sequence, .. }) => {
            assert!(sequence <= all.len() as u64 + 1, "seed {seed}");
            true
        }
        Err(error) => panic!("seed {seed}: {error}"),
    }
}

#[test]
fn what_was_safe_and_is_damaged_ends_the_start() {
    let mut noticed = 0;
    for seed in 0..4_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let written = written(seed, &mut rng);
        let files = written.disk.files().unwrap();
        let (file, bytes) = files[rng.random_range(0..files.len())];
        let from = if rng.random_bool(0.2) { 0 } else { HEADER };
        let at = rng.random_range(from..bytes as usize);
        let hit = if rng.random_bool(0.5) {
            written.disk.damage(file, at, |byte| *byte ^= 4);
            false
        } else {
            let sector = at / 512 * 512;
            let zero = |at| written.disk.damage(file, at, |byte| *byte = 0);
            (sector..sector + 512).for_each(zero);
            let (last, place) = &written.place;
            file == *last && sector < place.end && place.start < sector + 512
        };
        noticed += u32::from(check_damage(seed, &written, hit));
    }
    assert!(
        noticed > 1_000,
        "{noticed} noticed: the test damages nothing"
    );
}

#[test]
fn a_missing_segment_ends_the_start() {
    let mut noticed = 0;
    for seed in 0..1_000 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let written = written(seed, &mut rng);
        let files = written.disk.files().unwrap().len() as u32;
        // With the last one all that shows it would be lost as well.
        if files > 1 {
            written.disk.lose(rng.random_range(0..files - 1));
            noticed += u32::from(check_damage(seed, &written, false));
        }
    }
    assert!(noticed > 500, "{noticed} noticed: the test loses nothing");
}

#[test]
fn damage_to_records_that_are_not_asked_for_is_no_obstacle() {
    let disk = Arc::new(Simulated::new(0));
    let (mut log, _) = open(&disk, 1).unwrap();
    for number in 0..4 {
        log.commit(&batch_of(&log, &[vec![number; 900]])).unwrap();
    }
    drop(log);
    disk.damage(0, HEADER + 100, |byte| *byte ^= 1);
    assert!(matches!(
        open(&disk, 1),
        Err(OpenError::Damaged { sequence: 1, .. })
    ));
    assert_eq!(open(&disk, 2).unwrap().1.len(), 3);
}

#[test]
fn a_torn_batch_is_forgotten_although_a_later_unsynced_one_is_whole() {
    let disk = Arc::new(Simulated::new(0));
    let (mut log, _) = open(&disk, 1).unwrap();
    log.commit(&batch_of(&log, &[b"safe".to_vec()])).unwrap();
    // Two parts, written before the first sync.
    log.commit(&batch_of(&log, &[vec![1; 900], vec![2; 900]]))
        .unwrap();
    drop(log);
    disk.damage(1, HEADER + 500, |byte| *byte ^= 1);
    let (mut log, records) = open(&disk, 1).unwrap();
    assert_eq!(records, [b"safe".to_vec()]);
    // Neither does it come back when the sequence reaches it again.
    log.commit(&batch_of(&log, &[b"other".to_vec()])).unwrap();
    drop(log);
    assert_eq!(open(&disk, 2).unwrap().1, [b"other".to_vec()]);
}

#[test]
fn a_refused_batch_does_not_return_after_another_took_its_place() {
    let mut refused = 0;
    for seed in 0..2_000 {
        let disk = Arc::new(Simulated::new(seed));
        let (mut log, _) = open(&disk, 1).unwrap();
        // Up to the end of a sector, so that the next batch has one of its own.
        log.commit(&batch_of(&log, &[vec![0; 468]])).unwrap();
        assert!(log.offset.is_multiple_of(512));
        disk.fail(0.5);
        let x = batch_of(&log, &[b"refused".to_vec()]);
        // Refused, and then refused to be cleared: what is read and what is safe may differ from now on.
        let is_refused = log.commit(&x).is_err() && log.commit(&x).is_err();
        disk.fail(0.0);
        drop(log);
        disk.end_process();
        let (mut log, records) = open(&disk, 1).unwrap();
        if !is_refused || records.len() > 1 {
            continue;
        }
        refused += 1;
        // It has no room beside the first one.
        log.commit(&batch_of(&log, &[vec![2; 900]])).unwrap();
        drop(log);
        disk.cut();
        let (_, records) = open(&disk, 1).unwrap();
        assert_eq!(records, [vec![0; 468], vec![2; 900]], "seed {seed}");
    }
    assert!(refused > 100, "{refused} refused: the test is too lame");
}

#[test]
fn segments_are_used_again_and_nothing_of_their_past_counts() {
    let disk = Arc::new(Simulated::new(0));
    let (mut log, _) = open(&disk, 1).unwrap();
    for number in 0..100_u64 {
        let record = number.to_le_bytes().repeat(50);
        log.commit(&batch_of(&log, &[record])).unwrap();
        log.trim(log.next());
    }
    drop(log);
    assert!(disk.files().unwrap().len() <= 3);
    let (_, records) = open(&disk, 100).unwrap();
    assert_eq!(records, [99_u64.to_le_bytes().repeat(50)]);
    assert!(matches!(open(&disk, 1), Err(OpenError::Damaged { .. })));
}

#[test]
fn a_full_log_refuses_and_goes_on_when_it_is_trimmed() {
    let disk = Arc::new(Simulated::new(0));
    let (mut log, _) = open(&disk, 1).unwrap();
    let batch = batch_of(&log, &[vec![7; 900]]);
    for _ in 0..8 {
        log.commit(&batch).unwrap();
    }
    let refused = log.commit(&batch).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert_eq!(log.next(), 9);
    log.trim(3);
    assert_eq!(log.commit(&batch).unwrap(), 9);
}

#[test]
fn a_full_disk_takes_what_there_is_space_for() {
    let disk = Arc::new(Simulated::new(0));
    let (mut log, _) = open(&disk, 1).unwrap();
    while log.spares.step().unwrap() {}
    disk.fill_up(true);
    let batch = batch_of(&log, &[vec![7; 400]]);
    let fitting = log.room() / 448;
    for _ in 0..fitting {
        log.commit(&batch).unwrap();
    }
    assert!(log.commit(&batch).is_err());
    disk.fill_up(false);
    log.commit(&batch).unwrap();
}

#[test]
fn a_commit_is_one_sync() {
    let disk = Arc::new(Simulated::new(0));
    let (mut log, _) = open(&disk, 1).unwrap();
    let before = disk.syncs();
    log.commit(&batch_of(&log, &vec![vec![1; 10]; 20])).unwrap();
    assert_eq!(disk.syncs(), before + 1);
}

mod files {
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
}
