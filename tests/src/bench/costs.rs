//! What processes use of the processors while something is measured.

use std::time::Instant;

use anyhow::Context;

use crate::process::{ThreadTimes, thread_times, used};

/// What processes had used when it was begun to count.
pub(super) struct Costs {
    ours: Vec<(&'static str, u32, ThreadTimes)>,
    /// Everything on the machine, ours too.
    all: f64,
    begun: Instant,
}

impl Costs {
    /// Begins to count: processes by a name and their id; those of one name are counted together.
    pub(super) fn begin(processes: &[(&'static str, Option<u32>)]) -> anyhow::Result<Self> {
        let look = |&(name, pid): &(&'static str, Option<u32>)| {
            let pid = pid.context("all run")?;
            let times = thread_times(pid).context("a process has ended")?;
            Ok((name, pid, times))
        };
        let ours: anyhow::Result<_> = processes.iter().map(look).collect();
        Ok(Self {
            ours: ours?,
            all: all()?,
            begun: Instant::now(),
        })
    }

    /// The seconds of a processor that each has used since, in the order of the names.
    pub(super) fn since(&self) -> anyhow::Result<Spent> {
        let mut spent: Vec<(&'static str, f64)> = Vec::new();
        for (name, pid, before) in &self.ours {
            let now = thread_times(*pid).context("a process has ended")?;
            let seconds = used(before, &now);
            match spent.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += seconds,
                None => spent.push((name, seconds)),
            }
        }
        let ours: f64 = spent.iter().map(|(_, seconds)| seconds).sum();
        let others = (all()? - self.all - ours).max(0.0);
        Ok(Spent {
            ours: spent,
            others: others / self.begun.elapsed().as_secs_f64(),
        })
    }

    /// What each has used since, in microseconds per item.
    pub(super) fn per(&self, items: u64) -> anyhow::Result<String> {
        Ok(self.since()?.per(items))
    }
}

/// What was used of the processors.
pub(super) struct Spent {
    /// Seconds by name.
    ours: Vec<(&'static str, f64)>,
    /// Cores that everything else on the machine was given meanwhile: it disturbs what is measured.
    pub(super) others: f64,
}

impl Spent {
    /// Microseconds of each per item, as text.
    pub(super) fn per(&self, items: u64) -> String {
        let part = |(name, seconds): &(&str, f64)| {
            let micros = seconds * 1e6 / items.max(1) as f64;
            format!(" {name} {micros:.2}")
        };
        self.ours.iter().map(part).collect()
    }
}

/// Seconds for which the processors of the machine have worked since its start, or were taken from it; in ticks of a
/// hundredth.
fn all() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text
        .lines()
        .next()
        .context("`/proc/stat` has a first line")?;
    let ticks = line.split_whitespace().skip(1).map(str::parse::<u64>);
    let ticks: Vec<u64> = ticks.collect::<Result<_, _>>()?;
    // user, nice, system, idle, waiting for a disk, interrupts of both kinds, stolen.
    let busy = |index: &usize| ![3, 4].contains(index);
    let sum: u64 = (0..8)
        .filter(busy)
        .filter_map(|index| ticks.get(index))
        .sum();
    Ok(sum as f64 / 100.0)
}
