//! The thread of the log on a disk that fails and is full.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use super::{
    super::{Options, disk::Disk, simulated::Simulated},
    *,
};

const OPTIONS: Options = Options {
    segment_bytes: 5_120,
    max_bytes: 4 * 5_120,
    sync_delay: Duration::ZERO,
};

struct Running {
    disk: Arc<Simulated>,
    writer: Writer,
    thread: JoinHandle<()>,
    said: Receiver<Progress>,
}

fn start() -> Running {
    let disk = Arc::new(Simulated::new(0));
    let log = Log::open_on(disk.clone(), Path::new("log"), OPTIONS, 1, |_, _| Ok(())).unwrap();
    let (say, said) = sync_channel(10_000);
    let (writer, thread) = Writer::start(log, move |progress| say.send(progress).unwrap()).unwrap();
    Running {
        disk,
        writer,
        thread,
        said,
    }
}

impl Running {
    fn append(&self, record: &[u8]) {
        let mut batch = self.writer.buffer();
        batch.push(record).unwrap();
        self.writer.append(batch).unwrap();
    }

    /// Waits until records are safe.
    fn durable(&self, through: u64) {
        while !matches!(self.said.recv().unwrap(), Progress::Durable { through: now, .. } if now >= through)
        {
        }
    }

    fn stalled(&self) -> String {
        loop {
            if let Progress::Stalled(why) = self.said.recv().unwrap() {
                return why;
            }
        }
    }

    /// Ends the thread; all records that are safe then.
    fn end(self) -> (Vec<Vec<u8>>, Vec<Progress>) {
        drop(self.writer);
        self.thread.join().unwrap();
        self.disk.cut();
        let mut records = Vec::new();
        Log::open_on(self.disk, Path::new("log"), OPTIONS, 1, |_, record| {
            records.push(record.to_vec());
            Ok(())
        })
        .unwrap();
        (records, self.said.iter().collect())
    }
}

#[test]
fn all_that_was_handed_over_is_safe_in_its_order_when_it_ends() {
    let running = start();
    for number in 0..200_u8 {
        running.append(&[number]);
    }
    let (records, said) = running.end();
    assert_eq!(
        records,
        (0..200).map(|number| vec![number]).collect::<Vec<_>>()
    );
    let through: Vec<_> = said
        .iter()
        .filter_map(|progress| match progress {
            Progress::Durable { through, .. } => Some(*through),
            Progress::Stalled(_) | Progress::Room(_) => None,
        })
        .collect();
    assert!(through.is_sorted());
    assert_eq!(through.last(), Some(&200));
}

#[test]
fn what_comes_during_a_sync_is_committed_together() {
    let disk = Arc::new(Simulated::new(0));
    let log = Log::open_on(disk.clone(), Path::new("log"), OPTIONS, 1, |_, _| Ok(())).unwrap();
    let (say, said) = sync_channel(100);
    // The thread waits in here, after its first commit, until all others were handed over.
    let (go, gone) = sync_channel::<()>(0);
    let (writer, thread) = Writer::start(log, move |progress| {
        if matches!(progress, Progress::Durable { through: 1, .. }) {
            gone.recv().unwrap();
        }
        say.send(progress).unwrap();
    })
    .unwrap();
    let append = || {
        let mut batch = writer.buffer();
        batch.push(b"x").unwrap();
        writer.append(batch).unwrap();
    };
    append();
    let before = loop {
        if writer.waiting() == 0 {
            break disk.syncs();
        }
        std::thread::yield_now();
    };
    (0..50).for_each(|_| append());
    go.send(()).unwrap();
    drop(writer);
    thread.join().unwrap();
    assert!(disk.syncs() <= before + 2);
    let last = said.iter().last().unwrap();
    assert!(
        matches!(
            last,
            Progress::Durable {
                through: 51,
                syncs: 2,
                ..
            }
        ),
        "{last:?}"
    );
}

#[test]
fn a_disk_that_refuses_is_tried_again_and_nothing_is_lost() {
    let running = start();
    running.append(b"one");
    running.durable(1);
    running.disk.fail(1.0);
    running.append(b"two");
    running.append(b"three");
    assert!(running.stalled().contains("failed"));
    running.disk.fail(0.0);
    running.durable(3);
    let (records, _) = running.end();
    assert_eq!(records, [&b"one"[..], b"two", b"three"]);
}

#[test]
fn a_full_log_goes_on_when_it_is_trimmed() {
    let running = start();
    for _ in 0..5 {
        running.append(&[1; 900]);
    }
    assert!(running.stalled().contains("raise `max_bytes`"));
    running.writer.trim(3);
    running.durable(5);
}

#[test]
fn room_is_said_when_a_spare_segment_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path(), OPTIONS, 1, |_, _| Ok(())).unwrap();
    let (say, said) = sync_channel(100);
    let (writer, thread) = Writer::start(log, move |progress| say.send(progress).unwrap()).unwrap();
    let mut batch = writer.buffer();
    batch.push(&[1; 900]).unwrap();
    writer.append(batch).unwrap();
    // The rest of the first segment is too small for another; the room of the second is said by whatever comes first.
    let room = |progress: Progress| match progress {
        Progress::Durable { room, .. } | Progress::Room(room) => room,
        Progress::Stalled(why) => panic!("{why}"),
    };
    while room(said.recv().unwrap()) < 1_024 {}
    drop(writer);
    thread.join().unwrap();
}

#[test]
fn a_thread_that_panicked_is_noticed() {
    let disk = Arc::new(Simulated::new(0));
    let log = Log::open_on(disk, Path::new("log"), OPTIONS, 1, |_, _| Ok(())).unwrap();
    let (writer, thread) = Writer::start(log, |_| panic!("on purpose")).unwrap();
    writer.append(writer.buffer()).unwrap();
    let mut batch = writer.buffer();
    batch.push(b"one").unwrap();
    writer.append(batch).unwrap();
    thread.join().unwrap_err();
    assert_eq!(writer.append(writer.buffer()), Err(Ended));
}

#[test]
fn what_is_committed_by_its_owner_keeps_its_place_among_what_the_thread_commits() {
    let running = start();
    let mut here = 0;
    for number in 0..20_u8 {
        let mut batch = running.writer.buffer();
        batch.push(&[number]).unwrap();
        // Every fifth goes to the thread in any case.
        let kept = match number % 5 {
            0 => Err(batch),
            _ => running.writer.commit_here(batch),
        };
        match kept {
            Ok(Progress::Durable { through, .. }) => {
                assert_eq!(through, u64::from(number) + 1);
                here += 1;
            }
            Ok(other) => panic!("{other:?}"),
            Err(batch) => running.writer.append(batch).unwrap(),
        }
        if number % 5 == 0 {
            running.durable(u64::from(number) + 1);
        }
    }
    assert!(here > 10, "{here}");
    let (records, _) = running.end();
    let expected: Vec<Vec<u8>> = (0..20).map(|number| vec![number]).collect();
    assert_eq!(records, expected);
}

#[test]
fn a_disk_that_refuses_gives_the_batch_back_and_the_thread_goes_on_trying() {
    let running = start();
    running.disk.fail(1.0);
    let mut batch = running.writer.buffer();
    batch.push(b"first").unwrap();
    let Err(batch) = running.writer.commit_here(batch) else {
        panic!("it was refused");
    };
    running.writer.append(batch).unwrap();
    running.stalled();
    let mut second = running.writer.buffer();
    second.push(b"second").unwrap();
    let Err(second) = running.writer.commit_here(second) else {
        panic!("it must not overtake the first");
    };
    running.writer.append(second).unwrap();
    running.disk.fail(0.0);
    running.durable(2);
    assert_eq!(running.end().0, [b"first".to_vec(), b"second".to_vec()]);
}

/// A disk whose syncs take a while, each by itself.
struct Slow {
    disk: Simulated,
    /// Syncs under way, and the most there were.
    under_way: Mutex<(usize, usize)>,
}

impl Slow {
    fn during(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        crate::pause::pause(Duration::from_millis(4));
        self.under_way.lock().unwrap().0 -= 1;
        sync()
    }
}

impl Disk for Slow {
    fn files(&self) -> io::Result<Vec<(u32, u64)>> {
        self.disk.files()
    }
    fn path(&self, file: u32) -> PathBuf {
        self.disk.path(file)
    }
    fn read(&self, file: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.disk.read(file, offset, into)
    }
    fn write(&self, file: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write(file, offset, bytes)
    }
    fn sync(&self, file: u32) -> io::Result<()> {
        self.during(|| self.disk.sync(file))
    }
    fn open_apart(&self, file: u32, threads: usize) -> io::Result<()> {
        self.disk.open_apart(file, threads)
    }
    fn sync_apart(&self, file: u32, thread: usize) -> io::Result<()> {
        self.during(|| self.disk.sync_apart(file, thread))
    }
    fn make(&self, file: u32, bytes: u64, gently: bool) -> io::Result<()> {
        self.disk.make(file, bytes, gently)
    }
    fn remove(&self, file: u32) -> io::Result<()> {
        self.disk.remove(file)
    }
    fn salt(&self) -> u64 {
        self.disk.salt()
    }
}

/// Records go to a slow disk, of whose syncs this share fails, until so many are safe; the most syncs that were under
/// way at once.
fn to_a_slow_disk(seed: u64, failing: f64) -> usize {
    const RECORDS: u64 = 4_000;
    let disk = Arc::new(Slow {
        disk: Simulated::new(seed),
        under_way: Mutex::default(),
    });
    let options = Options {
        segment_bytes: 1 << 18,
        max_bytes: 1 << 23,
        ..OPTIONS
    };
    let log = Log::open_on(disk.clone(), Path::new("log"), options, 1, |_, _| Ok(())).unwrap();
    let (say, said) = sync_channel(10_000);
    let (writer, thread) = Writer::start(log, move |progress| say.send(progress).unwrap()).unwrap();
    disk.disk.fail(failing);
    let (mut handed, mut safe) = (0, 0);
    while safe < RECORDS {
        // A few are always waiting, so that there is something to overlap.
        while handed < RECORDS && handed < safe + 600 {
            let mut batch = writer.buffer();
            batch.push(&handed.to_le_bytes().repeat(64)).unwrap();
            writer.append(batch).unwrap();
            handed += 1;
        }
        if let Progress::Durable { through, .. } = said.recv().unwrap() {
            assert!(through >= safe, "what is safe stays safe");
            safe = through;
        }
    }
    disk.disk.fail(0.0);
    drop(writer);
    thread.join().unwrap();
    disk.disk.cut();
    let mut records = Vec::new();
    Log::open_on(disk.clone(), Path::new("log"), options, 1, |_, record| {
        records.push(u64::from_le_bytes(record[..8].try_into().unwrap()));
        Ok(())
    })
    .unwrap();
    assert_eq!(records, Vec::from_iter(0..RECORDS));
    disk.under_way.lock().unwrap().1
}

#[test]
fn syncs_of_a_slow_disk_overlap_and_all_is_safe_in_its_order() {
    assert!(to_a_slow_disk(0, 0.0) > 1, "no two were under way at once");
}

#[test]
fn what_was_written_ahead_of_a_sync_that_failed_is_written_again_in_its_order() {
    for seed in 1..4 {
        to_a_slow_disk(seed, 0.1);
    }
}
