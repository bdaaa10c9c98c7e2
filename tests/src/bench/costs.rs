//! What processes use of the processors while something is measured.

use anyhow::Context;

use crate::process::{ThreadTimes, thread_times, used};

/// What processes had used when it was begun to count.
pub(super) struct Costs(Vec<(&'static str, u32, ThreadTimes)>);

impl Costs {
    /// Begins to count: processes by a name and their id; those of one name are counted together.
    pub(super) fn begin(processes: &[(&'static str, Option<u32>)]) -> anyhow::Result<Self> {
        let look = |&(name, pid): &(&'static str, Option<u32>)| {
            let pid = pid.context("all run")?;
            let times = thread_times(pid).context("a process has ended")?;
            Ok((name, pid, times))
        };
        let all: anyhow::Result<_> = processes.iter().map(look).collect();
        Ok(Self(all?))
    }

    /// The seconds of a processor that each has used since, in the order of the names.
    pub(super) fn since(&self) -> anyhow::Result<Spent> {
        let mut spent: Vec<(&'static str, f64)> = Vec::new();
        for (name, pid, before) in &self.0 {
            let now = thread_times(*pid).context("a process has ended")?;
            let seconds = used(before, &now);
            match spent.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += seconds,
                None => spent.push((name, seconds)),
            }
        }
        Ok(Spent(spent))
    }

    /// What each has used since, in microseconds per item.
    pub(super) fn per(&self, items: u64) -> anyhow::Result<String> {
        Ok(self.since()?.per(items))
    }
}

/// Seconds of a processor by name.
pub(super) struct Spent(Vec<(&'static str, f64)>);

impl Spent {
    /// The same in microseconds per item, as text.
    pub(super) fn per(&self, items: u64) -> String {
        let part = |(name, seconds): &(&str, f64)| {
            let micros = seconds * 1e6 / items.max(1) as f64;
            format!(" {name} {micros:.2}")
        };
        self.0.iter().map(part).collect()
    }
}
