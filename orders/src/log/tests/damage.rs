//! Damage to what was safe once is noticed, and what a crash leaves is not taken for it.

use super::*;

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
