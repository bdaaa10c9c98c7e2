//! Ids: the 16 bytes of a UUID on the wire, newtypes inside.

use bytes::Bytes;
use edgeless_types::{InstanceId, LogicalId, NodeId, PhysicalId, WorkflowId};
use uuid::Uuid;

use super::{ConvertError, required};
use crate::v1;

/// An id that is a UUID.
pub trait FromUuid: Sized {
    /// Wraps the UUID.
    fn from_uuid(uuid: Uuid) -> Self;
    /// The UUID.
    fn to_uuid(&self) -> Uuid;
}

macro_rules! from_uuid {
    ($($id:ty),*) => {$(
        impl FromUuid for $id {
            fn from_uuid(uuid: Uuid) -> Self {
                Self::new(uuid)
            }

            fn to_uuid(&self) -> Uuid {
                self.uuid()
            }
        }
    )*};
}

from_uuid!(NodeId, LogicalId, PhysicalId, WorkflowId);

/// Reads an id of any kind.
///
/// # Errors
/// Not 16 bytes.
pub fn id_from_wire<T: FromUuid>(bytes: &[u8], field: &str) -> Result<T, ConvertError> {
    match Uuid::from_slice(bytes) {
        Ok(uuid) => Ok(T::from_uuid(uuid)),
        Err(_) => Err(ConvertError::new(
            field,
            format!("must be the 16 bytes of a UUID, not {} bytes", bytes.len()),
        )),
    }
}

/// Writes an id of any kind.
pub fn id_bytes(id: &impl FromUuid) -> Bytes {
    Bytes::copy_from_slice(id.to_uuid().as_bytes())
}

impl From<InstanceId> for v1::InstanceId {
    fn from(id: InstanceId) -> Self {
        Self {
            node_id: id_bytes(&id.node_id),
            physical_id: id_bytes(&id.physical_id),
        }
    }
}

impl TryFrom<v1::InstanceId> for InstanceId {
    type Error = ConvertError;

    fn try_from(id: v1::InstanceId) -> Result<Self, Self::Error> {
        Ok(Self {
            node_id: id_from_wire(&id.node_id, "node_id")?,
            physical_id: id_from_wire(&id.physical_id, "physical_id")?,
        })
    }
}

impl v1::Running {
    /// The instances of a vertex, and why not all of its copies run.
    ///
    /// # Errors
    /// An id is not a UUID.
    pub fn into_parts(self) -> Result<(Vec<InstanceId>, Option<String>), ConvertError> {
        let Self { instances, waiting } = self;
        let instances = instances.into_iter().map(InstanceId::try_from);
        Ok((instances.collect::<Result<_, _>>()?, waiting))
    }
}

impl v1::StepOutcome {
    /// What the step came to; an outcome without a kind counts as a failure.
    ///
    /// # Errors
    /// The kind is absent.
    pub fn into_kind(self) -> Result<v1::step_outcome::Kind, ConvertError> {
        required(self.kind, "kind")
    }
}
