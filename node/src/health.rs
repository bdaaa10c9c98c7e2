//! How the node is, read anew for each refresh; only what is reported is read.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use edgeless_types::NodeHealth;
use sysinfo::{
    Disk, Disks, MemoryRefreshKind, Networks, Pid, ProcessRefreshKind, ProcessesToUpdate, System,
};

/// Disks change slowly, and asking for them costs most.
const DISK_INTERVAL: Duration = Duration::from_secs(10);
/// Counters of networks are a dozen files for each interface.
const NETWORK_INTERVAL: Duration = Duration::from_secs(5);

/// Reads the health of the node. Blocks for a fraction of a millisecond.
pub struct HealthReader {
    system: System,
    networks: Networks,
    disks: Disks,
    disks_read: Option<Instant>,
    networks_read: Option<Instant>,
    own_pid: Option<Pid>,
}

impl HealthReader {
    /// Opens what is read later.
    ///
    /// # Errors
    /// The system cannot be read at all.
    pub fn new() -> Result<Self, sysinfo::Error> {
        Ok(Self {
            system: System::new()?,
            networks: Networks::new_with_refreshed_list()?,
            disks: Disks::new()?,
            disks_read: None,
            networks_read: None,
            own_pid: sysinfo::get_current_pid().ok(),
        })
    }

    /// Reads all values; `now` decides whether networks and disks are due.
    pub fn read(&mut self, now: Instant) -> NodeHealth {
        self.refresh(now);
        let process = self.own_pid.and_then(|pid| self.system.process(pid));
        let load = System::load_average().ok();
        let hundredths = |pick: fn(&sysinfo::LoadAvg) -> f64| {
            load.as_ref().map_or(0, |it| whole(pick(it) * 100.0))
        };
        let over_networks = |pick: fn(&sysinfo::NetworkData) -> u64| {
            let values = self.networks.values().map(pick);
            values.fold(0, u64::saturating_add)
        };
        let over_disks =
            |pick: fn(&Disk) -> u64| distinct(&self.disks).map(pick).fold(0, u64::saturating_add);
        NodeHealth {
            mem_free: mib(self.system.free_memory()),
            mem_used: mib(self.system.used_memory()),
            mem_available: mib(self.system.available_memory()),
            proc_cpu_usage: process.map_or(0, |it| whole(f64::from(it.cpu_usage()))),
            proc_memory: process.map_or(0, |it| mib(it.memory())),
            proc_vmemory: process.map_or(0, |it| mib(it.virtual_memory())),
            load_avg_1: hundredths(|it| it.one),
            load_avg_5: hundredths(|it| it.five),
            load_avg_15: hundredths(|it| it.fifteen),
            tot_rx_bytes: over_networks(sysinfo::NetworkData::total_received),
            tot_rx_pkts: over_networks(sysinfo::NetworkData::total_packets_received),
            tot_rx_errs: over_networks(sysinfo::NetworkData::total_errors_on_received),
            tot_tx_bytes: over_networks(sysinfo::NetworkData::total_transmitted),
            tot_tx_pkts: over_networks(sysinfo::NetworkData::total_packets_transmitted),
            tot_tx_errs: over_networks(sysinfo::NetworkData::total_errors_on_transmitted),
            disk_free_space: mib(over_disks(Disk::available_space)),
            disk_tot_reads: over_disks(|disk| disk.usage().total_read_bytes),
            disk_tot_writes: over_disks(|disk| disk.usage().total_written_bytes),
            gpu_load_perc: 0,
            gpu_temp_cels: 0,
            gpu_mem_load: 0,
        }
    }

    fn refresh(&mut self, now: Instant) {
        self.system
            .refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        if let Some(pid) = self.own_pid {
            self.system.refresh_processes_specifics(
                ProcessesToUpdate::Some(&[pid]),
                false,
                ProcessRefreshKind::nothing()
                    .with_cpu()
                    .with_memory()
                    .without_tasks(),
            );
        }
        if is_due(&mut self.networks_read, NETWORK_INTERVAL, now) {
            self.networks.refresh(true);
        }
        if is_due(&mut self.disks_read, DISK_INTERVAL, now) {
            self.disks.refresh(true);
        }
    }
}

/// Whether something that was last read then is to be read now; if so, it is noted as read.
fn is_due(read: &mut Option<Instant>, interval: Duration, now: Instant) -> bool {
    let due = read.is_none_or(|read| now.duration_since(read) >= interval);
    if due {
        *read = Some(now);
    }
    due
}

/// Disks by their device, so that one mounted twice counts once.
pub(crate) fn distinct(disks: &Disks) -> impl Iterator<Item = &Disk> {
    let mut seen = HashSet::new();
    disks.iter().filter(move |disk| seen.insert(disk.name()))
}

/// Whole MiB of bytes.
pub(crate) const fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer saturates, which is what a gauge needs"
)]
fn whole(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_machine_are_seen() {
        let mut reader = HealthReader::new().unwrap();
        let health = reader.read(Instant::now());
        assert!(health.proc_memory > 0 && health.proc_vmemory >= health.proc_memory);
        assert!(health.mem_available > 0 && health.mem_used > 0);
    }
}
