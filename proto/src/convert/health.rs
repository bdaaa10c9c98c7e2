//! Health of nodes.

use edgeless_types::NodeHealth;

use crate::v1;

impl From<NodeHealth> for v1::NodeHealth {
    fn from(health: NodeHealth) -> Self {
        Self {
            mem_free: health.mem_free,
            mem_used: health.mem_used,
            mem_available: health.mem_available,
            proc_cpu_usage: health.proc_cpu_usage,
            proc_memory: health.proc_memory,
            proc_vmemory: health.proc_vmemory,
            load_avg_1: health.load_avg_1,
            load_avg_5: health.load_avg_5,
            load_avg_15: health.load_avg_15,
            tot_rx_bytes: health.tot_rx_bytes,
            tot_rx_pkts: health.tot_rx_pkts,
            tot_rx_errs: health.tot_rx_errs,
            tot_tx_bytes: health.tot_tx_bytes,
            tot_tx_pkts: health.tot_tx_pkts,
            tot_tx_errs: health.tot_tx_errs,
            disk_free_space: health.disk_free_space,
            disk_tot_reads: health.disk_tot_reads,
            disk_tot_writes: health.disk_tot_writes,
            gpu_load_perc: health.gpu_load_perc,
            gpu_temp_cels: health.gpu_temp_cels,
            gpu_mem_load: health.gpu_mem_load,
        }
    }
}

impl From<v1::NodeHealth> for NodeHealth {
    fn from(health: v1::NodeHealth) -> Self {
        Self {
            mem_free: health.mem_free,
            mem_used: health.mem_used,
            mem_available: health.mem_available,
            proc_cpu_usage: health.proc_cpu_usage,
            proc_memory: health.proc_memory,
            proc_vmemory: health.proc_vmemory,
            load_avg_1: health.load_avg_1,
            load_avg_5: health.load_avg_5,
            load_avg_15: health.load_avg_15,
            tot_rx_bytes: health.tot_rx_bytes,
            tot_rx_pkts: health.tot_rx_pkts,
            tot_rx_errs: health.tot_rx_errs,
            tot_tx_bytes: health.tot_tx_bytes,
            tot_tx_pkts: health.tot_tx_pkts,
            tot_tx_errs: health.tot_tx_errs,
            disk_free_space: health.disk_free_space,
            disk_tot_reads: health.disk_tot_reads,
            disk_tot_writes: health.disk_tot_writes,
            gpu_load_perc: health.gpu_load_perc,
            gpu_temp_cels: health.gpu_temp_cels,
            gpu_mem_load: health.gpu_mem_load,
        }
    }
}
