//! `FunctionInstance` and `ResourceConfiguration`: the same for the two kinds of vertices.

use edgeless_proto::{
    convert::{ConvertError, id_from_wire, output_mapping_from_wire, required, spec_from_wire},
    v1::{
        self, function_instance_server::FunctionInstance,
        resource_configuration_server::ResourceConfiguration, start_outcome::Kind,
    },
};
use edgeless_types::{Epoch, LogicalId, workflow::VertexSpec};
use tonic::{Request, Response, Status};

use super::not_kept;
use crate::{
    domain::{StartOutcome, VertexRequest},
    handle::Handle,
};

pub(super) struct Functions(pub(super) Handle);
pub(super) struct Resources(pub(super) Handle);

#[tonic::async_trait]
impl FunctionInstance for Functions {
    async fn start(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<v1::StartReply>, Status> {
        start(&self.0, request.into_inner(), "function")
            .await
            .map(Response::new)
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopReply>, Status> {
        stop(&self.0, request.into_inner()).await
    }

    async fn patch(
        &self,
        request: Request<v1::PatchRequest>,
    ) -> Result<Response<v1::PatchReply>, Status> {
        patch(&self.0, request.into_inner()).await
    }
}

#[tonic::async_trait]
impl ResourceConfiguration for Resources {
    async fn start(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<v1::StartReply>, Status> {
        start(&self.0, request.into_inner(), "resource")
            .await
            .map(Response::new)
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopReply>, Status> {
        stop(&self.0, request.into_inner()).await
    }

    async fn patch(
        &self,
        request: Request<v1::PatchRequest>,
    ) -> Result<Response<v1::PatchReply>, Status> {
        patch(&self.0, request.into_inner()).await
    }
}

/// Reads the vertices of a request.
pub(super) fn vertices_from_wire(
    vertices: Vec<v1::Vertex>,
) -> Result<Vec<VertexRequest>, ConvertError> {
    let read = |(index, vertex): (usize, v1::Vertex)| {
        vertex_from_wire(vertex).map_err(|error| error.below(&format!("vertices[{index}]")))
    };
    vertices.into_iter().enumerate().map(read).collect()
}

/// Reads which decision a request comes of.
pub(super) fn epoch_from_wire(epoch: Option<v1::Epoch>) -> Result<Epoch, ConvertError> {
    let v1::Epoch { life, sequence } = required(epoch, "epoch")?;
    Ok(Epoch { life, sequence })
}

fn vertex_from_wire(vertex: v1::Vertex) -> Result<VertexRequest, ConvertError> {
    Ok(VertexRequest {
        logical_id: id_from_wire(&vertex.logical_id, "logical_id")?,
        workflow_id: id_from_wire(&vertex.workflow_id, "workflow_id")?,
        spec: spec_from_wire(vertex.spec)?,
        outputs: output_mapping_from_wire(vertex.output_mapping)?,
    })
}

async fn start(
    orc: &Handle,
    request: v1::StartRequest,
    kind: &str,
) -> Result<v1::StartReply, Status> {
    let epoch = epoch_from_wire(request.epoch)?;
    let vertices = vertices_from_wire(request.vertices)?;
    for (index, vertex) in vertices.iter().enumerate() {
        let is = match vertex.spec {
            VertexSpec::Function(_) => "function",
            VertexSpec::Resource(_) => "resource",
        };
        if is != kind {
            let field = format!("vertices[{index}].spec.kind");
            return Err(ConvertError::new(field, format!("is a {is}, not a {kind}")).into());
        }
    }
    start_vertices(orc, vertices, epoch, All::No).await
}

/// Whether the vertices are all that is desired.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum All {
    Yes,
    No,
}

/// Starts vertices whose code is here; those whose code is missing are not desired yet.
pub(super) async fn start_vertices(
    orc: &Handle,
    vertices: Vec<VertexRequest>,
    epoch: Epoch,
    all: All,
) -> Result<v1::StartReply, Status> {
    let mut missing = Vec::with_capacity(vertices.len());
    let mut ready = Vec::with_capacity(vertices.len());
    for vertex in vertices {
        missing.push(missing_code(orc, &vertex.spec));
        if missing.last().is_some_and(Option::is_none) {
            ready.push(vertex);
        }
    }
    let complete = ready.len() == missing.len();
    let started = match all {
        All::Yes if complete => orc.reconcile(ready, epoch).await.map_err(not_kept)?,
        // What is desired must not be stopped because its code is still on its way.
        All::Yes => Vec::new(),
        All::No => orc.start(ready, epoch).await.map_err(not_kept)?,
    };
    let mut started = started.into_iter();
    let outcome = |missing: Option<v1::MissingCode>| {
        let kind = match missing {
            Some(missing) => Kind::MissingCode(missing),
            None => started.next().map_or_else(
                || Kind::Waiting("other code is missing first".to_owned()),
                kind_to_wire,
            ),
        };
        v1::StartOutcome { kind: Some(kind) }
    };
    Ok(v1::StartReply {
        outcomes: missing.into_iter().map(outcome).collect(),
    })
}

fn missing_code(orc: &Handle, spec: &VertexSpec) -> Option<v1::MissingCode> {
    let VertexSpec::Function(function) = spec else {
        return None;
    };
    let digest = function.code.as_bytes().to_vec().into();
    (!orc.code().has(function.code)).then_some(v1::MissingCode { digest })
}

fn kind_to_wire(outcome: StartOutcome) -> Kind {
    match outcome {
        StartOutcome::Running(instances, waiting) => Kind::Running(v1::Running {
            instances: instances.into_iter().map(v1::InstanceId::from).collect(),
            waiting,
        }),
        StartOutcome::Waiting(reason) => Kind::Waiting(reason),
        StartOutcome::Refused(reason) => Kind::Refused(reason),
    }
}

async fn stop(orc: &Handle, request: v1::StopRequest) -> Result<Response<v1::StopReply>, Status> {
    let epoch = epoch_from_wire(request.epoch)?;
    let read = |(index, id): (usize, bytes::Bytes)| {
        id_from_wire::<LogicalId>(&id, &format!("logical_ids[{index}]"))
    };
    let logical_ids = request.logical_ids.into_iter().enumerate().map(read);
    let logical_ids = logical_ids.collect::<Result<_, _>>()?;
    orc.stop(logical_ids, epoch).await.map_err(not_kept)?;
    Ok(Response::new(v1::StopReply {}))
}

async fn patch(
    orc: &Handle,
    request: v1::PatchRequest,
) -> Result<Response<v1::PatchReply>, Status> {
    let epoch = epoch_from_wire(request.epoch)?;
    let read = |patch: v1::Patch| {
        let logical_id = id_from_wire(&patch.logical_id, "patches.logical_id")?;
        Ok((logical_id, output_mapping_from_wire(patch.output_mapping)?))
    };
    let patches = request
        .patches
        .into_iter()
        .map(read)
        .collect::<Result<_, ConvertError>>()?;
    orc.patch(patches, epoch).await.map_err(not_kept)?;
    Ok(Response::new(v1::PatchReply {}))
}
