//! The log on a disk that fails in every way, over random histories.

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};

use super::{simulated::Simulated, *};

mod damage;
mod files;

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
    /// Times that something written ahead was taken back.
    refused: u64,
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
            refused: 0,
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

    /// Some batches are written ahead and synced in any order, as the threads do it.
    fn write_ahead(&mut self) {
        let (mut under_way, mut unwritten) = (Vec::new(), None);
        for _ in 0..self.rng.random_range(1..=syncers::OVERLAP) {
            let records = some_records(&mut self.rng);
            let log = self.log.as_mut().unwrap();
            let batch = batch_of(log, &records);
            match log.write_ahead(&batch) {
                Ok(Some(file)) => under_way.push((records, file, None)),
                Ok(None) => break,
                Err(_) => {
                    unwritten = Some(records);
                    break;
                }
            }
        }
        let mut order: Vec<usize> = (0..under_way.len()).collect();
        order.shuffle(&mut self.rng);
        for thread in order {
            let (_, file, synced) = &mut under_way[thread];
            *synced = Some(self.disk.sync_apart(*file, thread).is_ok());
        }
        let mut under_way: VecDeque<_> = under_way.into();
        let log = self.log.as_mut().unwrap();
        while let Some((records, ..)) = under_way.pop_front_if(|it| it.2 == Some(true)) {
            self.safe.extend(records);
            assert_eq!(log.is_safe(), self.safe.len() as u64, "seed {}", self.seed);
            self.tried.clear();
            self.commits += 1;
        }
        if !under_way.is_empty() {
            log.take_back();
            self.refused += 1;
        }
        let unsafe_ones = under_way.into_iter().map(|(records, ..)| records);
        let tried: Vec<Records> = unsafe_ones.chain(unwritten).collect();
        if !tried.is_empty() {
            self.note_tried(&tried);
        }
    }

    /// Batches that were written and not safe: each may be there with those before it.
    fn note_tried(&mut self, batches: &[Records]) {
        let ends = batches.iter().scan(0, |end, records| {
            *end += records.len();
            Some(*end)
        });
        let ends = ends.collect();
        self.tried.push((batches.concat(), ends));
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
            0..30 => self.commit(),
            30..60 => self.write_ahead(),
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
    let (mut commits, mut refused) = (0, 0);
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
        refused += model.refused;
    }
    assert!(commits > 30_000, "{commits} commits: the test is too lame");
    assert!(
        refused > 1_000,
        "{refused} taken back: the test is too lame"
    );
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
