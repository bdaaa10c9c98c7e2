//! Capabilities of nodes and resource providers.

use std::collections::HashSet;

use edgeless_types::{NodeCapabilities, NodeId, ProviderId, ResourceProvider};

use super::ConvertError;
use crate::v1;

/// More labels than this are nonsense, not a description.
const MAX_LABELS: usize = 1_000;

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
/// A clock that is not a finite number of at least 0; no cores; an empty label or runtime; more
/// than 1,000 labels.
pub fn capabilities_from_wire(
    capabilities: v1::NodeCapabilities,
) -> Result<NodeCapabilities, ConvertError> {
    let clock = capabilities.clock_freq_cpu;
    if !clock.is_finite() || clock < 0.0 {
        return Err(ConvertError::new(
            "clock_freq_cpu",
            format!("must be a finite number of MHz of at least 0, not {clock}"),
        ));
    }
    if capabilities.num_cores == 0 {
        return Err(ConvertError::new("num_cores", "must be at least 1"));
    }
    if capabilities.labels.len() > MAX_LABELS {
        let number = capabilities.labels.len();
        return Err(ConvertError::new(
            "labels",
            format!("has {number} labels; at most {MAX_LABELS} are taken"),
        ));
    }
    for (field, texts) in [
        ("labels", &capabilities.labels),
        ("runtimes", &capabilities.runtimes),
    ] {
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err(ConvertError::new(field, "has an empty item"));
        }
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

/// Reads the providers of a node.
///
/// # Errors
/// An empty provider id or class, or an id given twice.
pub fn providers_from_wire(
    providers: Vec<v1::ResourceProvider>,
    node_id: NodeId,
) -> Result<Vec<ResourceProvider>, ConvertError> {
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
        check(
            v1::NodeCapabilities {
                labels: vec![String::new()],
                ..sound
            },
            "labels",
        );
    }
}
