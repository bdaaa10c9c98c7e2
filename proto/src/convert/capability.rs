//! Capabilities of nodes and resource providers.

use std::collections::HashSet;

use edgeless_types::{NodeCapabilities, NodeId, ProviderId, ResourceProvider};

use super::ConvertError;
use crate::v1;

/// More labels, runtimes or providers than this are nonsense, not a description.
const MAX_ITEMS: usize = 1_000;
/// So is a label or runtime of more bytes.
const MAX_BYTES: usize = 1_024;
/// No node has more: a faulty one would draw everything to itself.
const MAX_CORES: u32 = 65_536;
/// In MiB: 256 TiB.
const MAX_MEMORY: u32 = 1 << 28;
/// In MHz.
const MAX_CLOCK: f32 = 1e6;

impl From<NodeCapabilities> for v1::NodeCapabilities {
    fn from(capabilities: NodeCapabilities) -> Self {
        Self {
            num_cpus: capabilities.num_cpus,
            model_name_cpu: capabilities.model_name_cpu,
            clock_freq_cpu: capabilities.clock_freq_cpu,
            num_cores: capabilities.num_cores,
            mem_size: capabilities.mem_size,
            labels: capabilities.labels,
            is_tee_running: capabilities.is_tee_running,
            has_tpm: capabilities.has_tpm,
            runtimes: capabilities.runtimes,
            disk_tot_space: capabilities.disk_tot_space,
            num_gpus: capabilities.num_gpus,
            model_name_gpu: capabilities.model_name_gpu,
            mem_size_gpu: capabilities.mem_size_gpu,
        }
    }
}

/// Reads the capabilities of a node.
///
/// # Errors
/// A clock that is not a number of 0 to 1,000,000; no cores, or more than 65,536; more memory than 256 TiB;
/// more than 1,000 labels or runtimes, or one that is empty or has more than 1,024 bytes.
pub fn capabilities_from_wire(
    capabilities: v1::NodeCapabilities,
) -> Result<NodeCapabilities, ConvertError> {
    let clock = capabilities.clock_freq_cpu;
    if !(0.0..=MAX_CLOCK).contains(&clock) {
        return Err(ConvertError::new(
            "clock_freq_cpu",
            format!("must be a number of MHz from 0 to {MAX_CLOCK}, not {clock}"),
        ));
    }
    let (cores, memory) = (capabilities.num_cores, capabilities.mem_size);
    if !(1..=MAX_CORES).contains(&cores) {
        let problem = format!("must be 1 to {MAX_CORES}, not {cores}");
        return Err(ConvertError::new("num_cores", problem));
    }
    for (field, memory) in [
        ("mem_size", memory),
        ("mem_size_gpu", capabilities.mem_size_gpu),
    ] {
        if memory > MAX_MEMORY {
            let problem = format!("must be at most {MAX_MEMORY} MiB, not {memory}");
            return Err(ConvertError::new(field, problem));
        }
    }
    for (field, texts) in [
        ("labels", &capabilities.labels),
        ("runtimes", &capabilities.runtimes),
    ] {
        check_texts(field, texts)?;
    }
    Ok(NodeCapabilities {
        num_cpus: capabilities.num_cpus,
        model_name_cpu: capabilities.model_name_cpu,
        clock_freq_cpu: capabilities.clock_freq_cpu,
        num_cores: capabilities.num_cores,
        mem_size: capabilities.mem_size,
        labels: capabilities.labels,
        is_tee_running: capabilities.is_tee_running,
        has_tpm: capabilities.has_tpm,
        runtimes: capabilities.runtimes,
        disk_tot_space: capabilities.disk_tot_space,
        num_gpus: capabilities.num_gpus,
        model_name_gpu: capabilities.model_name_gpu,
        mem_size_gpu: capabilities.mem_size_gpu,
    })
}

fn check_texts(field: &str, texts: &[String]) -> Result<(), ConvertError> {
    if texts.len() > MAX_ITEMS {
        let number = texts.len();
        let problem = format!("has {number} items; at most {MAX_ITEMS} are taken");
        return Err(ConvertError::new(field, problem));
    }
    if texts.iter().any(|text| text.trim().is_empty()) {
        return Err(ConvertError::new(field, "has an empty item"));
    }
    if let Some(long) = texts.iter().find(|text| text.len() > MAX_BYTES) {
        let number = long.len();
        let problem = format!("has an item of {number} bytes; at most {MAX_BYTES} are taken");
        return Err(ConvertError::new(field, problem));
    }
    Ok(())
}

/// Reads the providers of a node.
///
/// # Errors
/// An empty provider id or class, an id given twice, or more than 1,000 providers.
pub fn providers_from_wire(
    providers: Vec<v1::ResourceProvider>,
    node_id: NodeId,
) -> Result<Vec<ResourceProvider>, ConvertError> {
    if providers.len() > MAX_ITEMS {
        let number = providers.len();
        let problem = format!("has {number} items; at most {MAX_ITEMS} are taken");
        return Err(ConvertError::new("providers", problem));
    }
    let mut seen = HashSet::new();
    for (index, provider) in providers.iter().enumerate() {
        for (field, text) in [
            ("provider_id", &provider.provider_id),
            ("class_type", &provider.class_type),
        ] {
            if text.trim().is_empty() {
                return Err(ConvertError::new(
                    format!("providers[{index}].{field}"),
                    "is empty",
                ));
            }
        }
        if !seen.insert(provider.provider_id.as_str()) {
            return Err(ConvertError::new(
                format!("providers[{index}].provider_id"),
                format!("`{}` is given twice", provider.provider_id),
            ));
        }
    }
    let read = |provider: v1::ResourceProvider| ResourceProvider {
        provider_id: ProviderId::new(provider.provider_id),
        class_type: provider.class_type,
        node_id,
        outputs: provider.outputs,
    };
    Ok(providers.into_iter().map(read).collect())
}

/// Writes a provider; its node is known from the message around it.
pub fn provider_to_wire(provider: &ResourceProvider) -> v1::ResourceProvider {
    v1::ResourceProvider {
        provider_id: provider.provider_id.as_str().to_owned(),
        class_type: provider.class_type.clone(),
        outputs: provider.outputs.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_capabilities_are_refused_by_field() {
        let sound = v1::NodeCapabilities {
            num_cores: 1,
            ..Default::default()
        };
        assert!(capabilities_from_wire(sound.clone()).is_ok());
        let check = |wrong: v1::NodeCapabilities, field: &str| {
            assert_eq!(capabilities_from_wire(wrong).unwrap_err().field, field);
        };
        check(
            v1::NodeCapabilities {
                clock_freq_cpu: f32::NAN,
                ..sound.clone()
            },
            "clock_freq_cpu",
        );
        check(
            v1::NodeCapabilities {
                clock_freq_cpu: -1.0,
                ..sound.clone()
            },
            "clock_freq_cpu",
        );
        check(
            v1::NodeCapabilities {
                num_cores: 0,
                ..sound.clone()
            },
            "num_cores",
        );
        for labels in [
            vec![String::new()],
            vec!["a".repeat(1_025)],
            vec!["a".to_owned(); 1_001],
        ] {
            let wrong = v1::NodeCapabilities {
                labels,
                ..sound.clone()
            };
            check(wrong, "labels");
        }
        let wrong = v1::NodeCapabilities {
            num_cores: u32::MAX,
            ..sound.clone()
        };
        check(wrong, "num_cores");
        let wrong = v1::NodeCapabilities {
            mem_size: u32::MAX,
            ..sound
        };
        check(wrong, "mem_size");
    }
}
