//! What the node can do: found out from the system, each value replaceable by configuration.

use edgeless_types::NodeCapabilities;
use serde::Deserialize;
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

use crate::{health::mib, ranges};

/// Values of `[user_node_capabilities]`, which replace what was found out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Processors (sockets).
    pub num_cpus: Option<u32>,
    /// Model name of the processor.
    pub model_name_cpu: Option<String>,
    /// Clock of the processor in MHz.
    #[serde(deserialize_with = "ranges::clock")]
    pub clock_freq_cpu: Option<f32>,
    /// Cores over all processors.
    #[serde(deserialize_with = "ranges::cores")]
    pub num_cores: Option<u32>,
    /// Memory in MiB.
    pub mem_size: Option<u32>,
    /// Labels besides `hostname=…`.
    #[serde(deserialize_with = "ranges::texts")]
    pub labels: Vec<String>,
    /// Whether functions run inside a trusted execution environment.
    pub is_tee_running: Option<bool>,
    /// Whether a trusted platform module is present.
    pub has_tpm: Option<bool>,
    /// Runtimes for functions.
    #[serde(deserialize_with = "ranges::some_texts")]
    pub runtimes: Option<Vec<String>>,
    /// Disk in MiB.
    pub disk_tot_space: Option<u32>,
    /// Graphics processors.
    pub num_gpus: Option<u32>,
    /// Model name of the graphics processor.
    pub model_name_gpu: Option<String>,
    /// Memory of the graphics processors in MiB.
    pub mem_size_gpu: Option<u32>,
}

impl Overrides {
    /// The capabilities with every given value in place of the one found out.
    pub fn apply(&self, found: NodeCapabilities) -> NodeCapabilities {
        let own = self.clone();
        let mut labels = found.labels;
        for label in own.labels {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        NodeCapabilities {
            num_cpus: own.num_cpus.unwrap_or(found.num_cpus),
            model_name_cpu: own.model_name_cpu.unwrap_or(found.model_name_cpu),
            clock_freq_cpu: own.clock_freq_cpu.unwrap_or(found.clock_freq_cpu),
            num_cores: own.num_cores.unwrap_or(found.num_cores),
            mem_size: own.mem_size.unwrap_or(found.mem_size),
            labels,
            is_tee_running: own.is_tee_running.unwrap_or(found.is_tee_running),
            has_tpm: own.has_tpm.unwrap_or(found.has_tpm),
            runtimes: own.runtimes.unwrap_or(found.runtimes),
            disk_tot_space: own.disk_tot_space.unwrap_or(found.disk_tot_space),
            num_gpus: own.num_gpus.unwrap_or(found.num_gpus),
            model_name_gpu: own.model_name_gpu.unwrap_or(found.model_name_gpu),
            mem_size_gpu: own.mem_size_gpu.unwrap_or(found.mem_size_gpu),
        }
    }
}

/// The name of this host; `localhost` where it has none.
pub fn host_name() -> String {
    System::host_name().unwrap_or_else(|_| "localhost".to_owned())
}

/// Finds out what this machine can do. Reads the system, some milliseconds. Graphics processors
/// and trusted environments are not looked for; the configuration can name them.
///
/// # Errors
/// The system cannot be read at all.
pub fn find_out(runtimes: Vec<String>) -> Result<NodeCapabilities, sysinfo::Error> {
    let refreshes = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing().with_frequency())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(refreshes)?;
    let disks = Disks::new_with_refreshed_list()?;
    let cores = system.cpus();
    let first = cores.first();
    let saturated = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok(NodeCapabilities {
        num_cpus: sockets(),
        model_name_cpu: first.map_or_else(String::new, |cpu| cpu.brand().trim().to_owned()),
        clock_freq_cpu: first.map_or(0.0, |cpu| {
            f32::from(u16::try_from(cpu.frequency()).unwrap_or(u16::MAX))
        }),
        num_cores: saturated(cores.len().max(1) as u64),
        mem_size: saturated(mib(system.total_memory())),
        labels: vec![format!("hostname={}", host_name())],
        is_tee_running: false,
        has_tpm: std::path::Path::new("/dev/tpmrm0").exists(),
        runtimes,
        disk_tot_space: saturated(mib(crate::health::distinct(&disks)
            .map(sysinfo::Disk::total_space)
            .sum())),
        num_gpus: 0,
        model_name_gpu: String::new(),
        mem_size_gpu: 0,
    })
}

/// The number of processor packages, 1 where the system does not tell.
fn sockets() -> u32 {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let ids: std::collections::BTreeSet<_> = text
        .lines()
        .filter(|line| line.starts_with("physical id"))
        .collect();
    u32::try_from(ids.len().max(1)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_and_a_label() {
        let found = find_out(vec!["RUST_WASM".to_owned()]).unwrap();
        assert!(found.num_cores >= 1 && found.mem_size > 0 && found.num_cpus >= 1);
        assert!(found.labels[0].starts_with("hostname="));
        assert_eq!(found.runtimes, ["RUST_WASM"]);
    }

    #[test]
    fn given_values_replace_what_was_found_and_labels_are_added() {
        let found = NodeCapabilities {
            labels: vec!["hostname=a".to_owned()],
            num_cores: 2,
            mem_size: 7,
            ..NodeCapabilities::default()
        };
        let own: Overrides =
            toml::from_str("num_cores = 9\nlabels = ['b', 'hostname=a']\nnum_gpus = 1").unwrap();
        let both = own.apply(found);
        assert_eq!((both.num_cores, both.mem_size, both.num_gpus), (9, 7, 1));
        assert_eq!(both.labels, ["hostname=a", "b"]);
    }
}
