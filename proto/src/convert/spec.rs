//! Specifications of vertices.

use edgeless_types::{
    CodeDigest,
    workflow::{FunctionSpec, ResourceSpec, VertexSpec},
};

use super::{ConvertError, required};
use crate::v1;

/// Reads a code digest.
///
/// # Errors
/// Not 32 bytes.
pub fn digest_from_wire(bytes: &[u8], field: &str) -> Result<CodeDigest, ConvertError> {
    CodeDigest::try_from(bytes).map_err(|error| ConvertError::new(field, error.to_string()))
}

/// Reads a specification that must be there.
///
/// # Errors
/// It is absent, or one of its fields is wrong.
pub fn spec_from_wire(spec: Option<v1::VertexSpec>) -> Result<VertexSpec, ConvertError> {
    let spec = required(spec, "spec")?;
    match required(spec.kind, "spec.kind")? {
        v1::vertex_spec::Kind::Function(function) => {
            FunctionSpec::try_from(function).map(VertexSpec::Function)
        }
        v1::vertex_spec::Kind::Resource(resource) => {
            Ok(VertexSpec::Resource(ResourceSpec::from(resource)))
        }
    }
    .map_err(|error| error.below("spec"))
}

impl From<VertexSpec> for v1::VertexSpec {
    fn from(spec: VertexSpec) -> Self {
        let kind = match spec {
            VertexSpec::Function(function) => v1::vertex_spec::Kind::Function(function.into()),
            VertexSpec::Resource(resource) => v1::vertex_spec::Kind::Resource(resource.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<v1::FunctionSpec> for FunctionSpec {
    type Error = ConvertError;

    fn try_from(spec: v1::FunctionSpec) -> Result<Self, Self::Error> {
        Ok(Self {
            code: digest_from_wire(&spec.code_digest, "code_digest")?,
            name: spec.name,
            class_id: spec.class_id,
            function_type: spec.function_type,
            version: spec.version,
            outputs: spec.outputs.into_iter().collect(),
            annotations: spec.annotations.into_iter().collect(),
        })
    }
}

impl From<FunctionSpec> for v1::FunctionSpec {
    fn from(spec: FunctionSpec) -> Self {
        Self {
            code_digest: spec.code.as_bytes().to_vec().into(),
            name: spec.name,
            class_id: spec.class_id,
            function_type: spec.function_type,
            version: spec.version,
            outputs: spec.outputs.into_iter().collect(),
            annotations: spec.annotations.into_iter().collect(),
        }
    }
}

impl From<v1::ResourceSpec> for ResourceSpec {
    fn from(spec: v1::ResourceSpec) -> Self {
        Self {
            name: spec.name,
            class_type: spec.class_type,
            configurations: spec.configurations.into_iter().collect(),
        }
    }
}

impl From<ResourceSpec> for v1::ResourceSpec {
    fn from(spec: ResourceSpec) -> Self {
        Self {
            name: spec.name,
            class_type: spec.class_type,
            configurations: spec.configurations.into_iter().collect(),
        }
    }
}
