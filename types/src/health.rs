//! How a node is: what it reports with each refresh.

use serde::{Deserialize, Serialize};

/// Dynamic system information of a node (`NodeHealthStatus` of the mirror).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeHealth {
    /// Free memory in MiB.
    pub mem_free: u64,
    /// Used memory in MiB.
    pub mem_used: u64,
    /// Memory available to new processes in MiB.
    pub mem_available: u64,
    /// Processor use of the agent in percent of one core.
    pub proc_cpu_usage: u32,
    /// Resident memory of the agent in MiB.
    pub proc_memory: u64,
    /// Virtual memory of the agent in MiB.
    pub proc_vmemory: u64,
    /// Load average over one minute, times 100.
    pub load_avg_1: u32,
    /// Load average over five minutes, times 100.
    pub load_avg_5: u32,
    /// Load average over fifteen minutes, times 100.
    pub load_avg_15: u32,
    /// Bytes received on all interfaces since boot.
    pub tot_rx_bytes: u64,
    /// Packets received since boot.
    pub tot_rx_pkts: u64,
    /// Errors on receiving since boot.
    pub tot_rx_errs: u64,
    /// Bytes sent since boot.
    pub tot_tx_bytes: u64,
    /// Packets sent since boot.
    pub tot_tx_pkts: u64,
    /// Errors on sending since boot.
    pub tot_tx_errs: u64,
    /// Free disk space in MiB.
    pub disk_free_space: u64,
    /// Bytes read from disk since boot.
    pub disk_tot_reads: u64,
    /// Bytes written to disk since boot.
    pub disk_tot_writes: u64,
    /// Load of the graphics processor in percent; 0 where there is none.
    pub gpu_load_perc: u32,
    /// Temperature of the graphics processor in degrees Celsius; 0 where there is none.
    pub gpu_temp_cels: i32,
    /// Used memory of the graphics processor in MiB; 0 where there is none.
    pub gpu_mem_load: u64,
}
