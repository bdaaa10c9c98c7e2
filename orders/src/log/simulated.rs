//! A disk in memory that fails like a real one: what is not synced is lost or torn sector by sector, in any order; a
//! sync that fails loses some of it for good, although it is still read; it can refuse, be full or stop at any moment.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Mutex, MutexGuard},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::disk::Disk;

/// What is written whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Image {
    /// What is read.
    cached: Vec<u8>,
    /// What is there after a power cut.
    safe: Vec<u8>,
    /// Sectors on their way, with everything they held since the last sync.
    dirty: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Syncs that failed, and how many of them each of those knows who have the file open.
    errors: u64,
    known: BTreeMap<usize, u64>,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u32, Image>,
    rng: SmallRng,
    /// Operations until the power is cut.
    fuse: Option<u32>,
    /// How often a write or sync fails.
    failing: f64,
    is_full: bool,
    syncs: u64,
}

#[derive(Debug)]
pub(super) struct Simulated(Mutex<State>);

impl Simulated {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(State {
            files: BTreeMap::new(),
            rng: SmallRng::seed_from_u64(seed),
            fuse: None,
            failing: 0.0,
            is_full: false,
            syncs: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power is cut after so many operations.
    pub(super) fn cut_after(&self, operations: u32) {
        self.state().fuse = Some(operations);
    }

    pub(super) fn fail(&self, probability: f64) {
        self.state().failing = probability;
    }

    pub(super) fn fill_up(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    pub(super) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// The process ends: what was written is still read.
    pub(super) fn end_process(&self) {
        let mut state = self.state();
        state.fuse = None;
        state.files.values_mut().for_each(Image::close);
    }

    /// The power is cut: of every sector that was on its way one version is left.
    pub(super) fn cut(&self) {
        let mut state = self.state();
        let State {
            files, rng, fuse, ..
        } = &mut *state;
        *fuse = None;
        for image in files.values_mut() {
            image.settle(rng);
            image.close();
            image.cached.clone_from(&image.safe);
        }
    }

    /// Changes bytes behind everybody's back.
    pub(super) fn damage(&self, file: u32, offset: usize, change: impl Fn(&mut u8)) {
        let mut state = self.state();
        let image = state.files.get_mut(&file).unwrap();
        change(&mut image.safe[offset]);
        change(&mut image.cached[offset]);
    }

    /// Takes a file away behind everybody's back.
    pub(super) fn lose(&self, file: u32) {
        self.state().files.remove(&file).unwrap();
    }
}

impl Simulated {
    fn sync_by(&self, file: u32, who: usize) -> io::Result<()> {
        let mut state = self.state();
        let is_cut = state.burn()?;
        let failing = state.failing;
        state.syncs += 1;
        let (image, rng) = state.image(file)?;
        if is_cut || rng.random_bool(failing) {
            image.settle(rng);
            image.errors += 1;
        }
        for (sector, versions) in std::mem::take(&mut image.dirty) {
            let last = versions.last().unwrap();
            image.safe[sector * SECTOR..][..last.len()].copy_from_slice(last);
        }
        match image.known.insert(who, image.errors).unwrap_or(0) < image.errors {
            true => Err(io::Error::other("a sync failed")),
            false => Ok(()),
        }
    }
}

impl Image {
    /// Nobody has it open any more.
    fn close(&mut self) {
        self.errors = 0;
        self.known.clear();
    }

    /// Of every sector on its way one version arrives, or none.
    fn settle(&mut self, rng: &mut SmallRng) {
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if let Some(version) = versions.get(rng.random_range(0..=versions.len())) {
                self.safe[sector * SECTOR..][..version.len()].copy_from_slice(version);
            }
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.cached[offset..offset + bytes.len()].copy_from_slice(bytes);
        for sector in offset / SECTOR..=(offset + bytes.len() - 1) / SECTOR {
            let version = self.cached[sector * SECTOR..(sector + 1) * SECTOR].to_vec();
            self.dirty.entry(sector).or_default().push(version);
        }
    }
}

impl State {
    /// Counts an operation; whether the power is cut in the middle of it.
    fn burn(&mut self) -> io::Result<bool> {
        match &mut self.fuse {
            None => Ok(false),
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(*left == 0)
            }
        }
    }

    fn image(&mut self, file: u32) -> io::Result<(&mut Image, &mut SmallRng)> {
        let image = self.files.get_mut(&file);
        Ok((image.ok_or(io::ErrorKind::NotFound)?, &mut self.rng))
    }
}

impl Disk for Simulated {
    fn files(&self) -> io::Result<Vec<(u32, u64)>> {
        let mut state = self.state();
        state.burn()?;
        let sizes = state.files.iter();
        Ok(sizes
            .map(|(&file, image)| (file, image.cached.len() as u64))
            .collect())
    }

    fn path(&self, file: u32) -> PathBuf {
        PathBuf::from(file.to_string())
    }

    fn read(&self, file: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        let (image, _) = state.image(file)?;
        let bytes = image.cached.get(offset as usize..).unwrap_or_default();
        into.copy_from_slice(
            bytes
                .get(..into.len())
                .ok_or(io::ErrorKind::UnexpectedEof)?,
        );
        Ok(())
    }

    fn write(&self, file: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let is_cut = state.burn()?;
        let failing = state.failing;
        let (image, rng) = state.image(file)?;
        if is_cut || rng.random_bool(failing) {
            let end = offset as usize + rng.random_range(0..=bytes.len());
            let part = (end / SECTOR * SECTOR).saturating_sub(offset as usize);
            image.write(offset as usize, &bytes[..part]);
            return Err(io::Error::other("a write failed"));
        }
        image.write(offset as usize, bytes);
        Ok(())
    }

    fn sync(&self, file: u32) -> io::Result<()> {
        self.sync_by(file, 0)
    }

    fn open_apart(&self, file: u32, threads: usize) -> io::Result<()> {
        let mut state = self.state();
        let (image, _) = state.image(file)?;
        for thread in 0..threads {
            image.known.entry(thread + 1).or_insert(image.errors);
        }
        Ok(())
    }

    fn sync_apart(&self, file: u32, thread: usize) -> io::Result<()> {
        // Who opens it only now does not learn what happened before.
        {
            let mut state = self.state();
            let (image, _) = state.image(file)?;
            image.known.entry(thread + 1).or_insert(image.errors);
        }
        self.sync_by(file, thread + 1)
    }

    fn make(&self, file: u32, bytes: u64, _gently: bool) -> io::Result<()> {
        let mut state = self.state();
        let is_cut = state.burn()?;
        let length = match is_cut {
            true => state.rng.random_range(0..=bytes as usize) / SECTOR * SECTOR,
            false => bytes as usize,
        };
        if state.is_full || state.failing > 0.0 && state.rng.random_bool(0.1) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let image = Image {
            cached: vec![0; length],
            safe: vec![0; length],
            ..Image::default()
        };
        state.files.insert(file, image);
        match is_cut {
            true => Err(io::Error::other("no power")),
            false => Ok(()),
        }
    }

    fn remove(&self, file: u32) -> io::Result<()> {
        let mut state = self.state();
        state.burn()?;
        state.files.remove(&file);
        Ok(())
    }

    fn salt(&self) -> u64 {
        self.state().rng.random()
    }
}
