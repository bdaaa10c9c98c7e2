//! What a node can do: its static capabilities and the resources it provides.

use serde::{Deserialize, Serialize};

use crate::{NodeId, ProviderId};

/// Static capabilities of a node, as it announces them when it registers.
///
/// Every field may be overridden in `node.toml`. Field names are those of the mirror.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeCapabilities {
    /// Processors (sockets).
    pub num_cpus: u32,
    /// Model name of the processor.
    pub model_name_cpu: String,
    /// Clock of the processor in MHz; not negative, finite.
    pub clock_freq_cpu: f32,
    /// Cores over all processors.
    pub num_cores: u32,
    /// Memory in MiB.
    pub mem_size: u32,
    /// Labels by which workflows choose nodes, such as `hostname=edge-1`.
    pub labels: Vec<String>,
    /// Whether functions run inside a trusted execution environment.
    pub is_tee_running: bool,
    /// Whether a trusted platform module is present.
    pub has_tpm: bool,
    /// Runtimes for functions, such as `RUST_WASM`.
    pub runtimes: Vec<String>,
    /// Disk in MiB.
    pub disk_tot_space: u32,
    /// Graphics processors.
    pub num_gpus: u32,
    /// Model name of the graphics processor.
    pub model_name_gpu: String,
    /// Memory of the graphics processors in MiB.
    pub mem_size_gpu: u32,
}

/// Something on a node that can run resources of one class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceProvider {
    /// Unique in the domain, such as `edge-1-http-ingress`.
    pub provider_id: ProviderId,
    /// The class of resource it provides, such as `http-ingress`.
    pub class_type: String,
    /// The node it is on.
    pub node_id: NodeId,
    /// The output channels a resource of this class has.
    pub outputs: Vec<String>,
}
