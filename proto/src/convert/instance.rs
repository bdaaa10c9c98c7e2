//! Running instances and output mappings.

use std::collections::HashMap;

use bytes::Bytes;
use edgeless_types::{Generation, RunningInstance, workflow::OutputMapping};

use super::{ConvertError, id_bytes, id_from_wire};
use crate::v1;

impl From<RunningInstance> for v1::RunningInstance {
    fn from(running: RunningInstance) -> Self {
        Self {
            physical_id: id_bytes(&running.physical_id),
            logical_id: id_bytes(&running.logical_id),
            workflow_id: id_bytes(&running.workflow_id),
            generation: running.generation.0,
            fingerprint: running.fingerprint,
        }
    }
}

impl TryFrom<v1::RunningInstance> for RunningInstance {
    type Error = ConvertError;

    fn try_from(running: v1::RunningInstance) -> Result<Self, Self::Error> {
        Ok(Self {
            physical_id: id_from_wire(&running.physical_id, "physical_id")?,
            logical_id: id_from_wire(&running.logical_id, "logical_id")?,
            workflow_id: id_from_wire(&running.workflow_id, "workflow_id")?,
            generation: Generation(running.generation),
            fingerprint: running.fingerprint,
        })
    }
}

/// Writes an output mapping.
pub fn output_mapping_to_wire(mapping: &OutputMapping) -> HashMap<String, Bytes> {
    mapping
        .iter()
        .map(|(channel, id)| (channel.clone(), id_bytes(id)))
        .collect()
}

/// Reads an output mapping.
///
/// # Errors
/// A channel leads to what is not a UUID.
pub fn output_mapping_from_wire(
    mapping: HashMap<String, Bytes>,
) -> Result<OutputMapping, ConvertError> {
    let read = |(channel, id): (String, Bytes)| {
        let logical_id = id_from_wire(&id, &format!("output_mapping.{channel}"))?;
        Ok((channel, logical_id))
    };
    mapping.into_iter().map(read).collect()
}
