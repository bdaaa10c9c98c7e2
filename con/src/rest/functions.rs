//! `/api/v1/functions` and `/api/v1/code`: the function registry.

use axum::{
    Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use edgeless_types::CodeDigest;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    CODE_BYTES,
    error::{self, Path, Problem, body},
};
use crate::{check::RUNTIMES, controller::Controller, problem::Refusal, store::FunctionRecord};

/// A class of functions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionStatus {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Its runtime.
    pub function_type: String,
    /// Its output channels.
    pub outputs: Vec<String>,
    /// SHA-256 of its code.
    pub digest: String,
}

impl From<FunctionRecord> for FunctionStatus {
    fn from(record: FunctionRecord) -> Self {
        Self {
            id: record.id,
            version: record.version,
            function_type: record.function_type,
            outputs: record.outputs.into_iter().collect(),
            digest: record.code.to_string(),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishQuery {
    /// The runtime.
    #[serde(default = "rust_wasm")]
    function_type: String,
    /// Output channels, separated by commas.
    #[serde(default)]
    outputs: String,
    /// Replace other code of the same id and version.
    #[serde(default)]
    replace: bool,
}

fn rust_wasm() -> String {
    RUNTIMES[0].to_owned()
}

/// Publishes a class of functions; the body is its code.
#[utoipa::path(put, path = "/api/v1/functions/{id}/{version}",
    params(("id" = String, Path), ("version" = String, Path), PublishQuery),
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = FunctionStatus),
        (status = 200, description = "It was there already, or is replaced", body = FunctionStatus),
        (status = 409, description = "Other code has this id and version", body = Problem),
        (status = 422, description = "The code is no function", body = Problem)))]
pub(super) async fn publish(
    State(con): State<Controller>,
    Path((id, version)): Path<(String, String)>,
    query: Result<Query<PublishQuery>, QueryRejection>,
    code: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<FunctionStatus>), Problem> {
    let (query, code) = (error::query(query)?, body(code, CODE_BYTES)?);
    if !RUNTIMES.contains(&query.function_type.as_str()) {
        let known = RUNTIMES.join(", ");
        let detail = format!(
            "`{}` is no runtime; there are: {known}",
            query.function_type
        );
        return Err(Refusal::fault("", detail).into());
    }
    let outputs = query
        .outputs
        .split(',')
        .map(str::trim)
        .filter(|output| !output.is_empty());
    let record = FunctionRecord {
        id,
        version,
        function_type: query.function_type,
        outputs: outputs.map(str::to_owned).collect(),
        code: CodeDigest::of(&code),
    };
    let new = con.publish(record.clone(), code, query.replace).await?;
    let status = if new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(record.into())))
}

/// All classes of functions.
#[utoipa::path(get, path = "/api/v1/functions",
    responses((status = 200, body = Vec<FunctionStatus>)))]
pub(super) async fn list(State(con): State<Controller>) -> Json<Vec<FunctionStatus>> {
    Json(
        con.functions()
            .into_iter()
            .map(FunctionStatus::from)
            .collect(),
    )
}

/// One class of functions.
#[utoipa::path(get, path = "/api/v1/functions/{id}/{version}",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = FunctionStatus), (status = 404, body = Problem)))]
pub(super) async fn inspect(
    State(con): State<Controller>,
    Path((id, version)): Path<(String, String)>,
) -> Result<Json<FunctionStatus>, Problem> {
    Ok(Json(con.function(&id, &version)?.into()))
}

/// The code of a class.
#[utoipa::path(get, path = "/api/v1/functions/{id}/{version}/code",
    params(("id" = String, Path), ("version" = String, Path)),
    responses((status = 200, content_type = "application/wasm", body = Vec<u8>),
        (status = 404, body = Problem)))]
pub(super) async fn code(
    State(con): State<Controller>,
    Path((id, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let code = con.code_of(&id, &version).await?;
    Ok(([(header::CONTENT_TYPE, "application/wasm")], code).into_response())
}

/// The digest under which uploaded code is kept.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Uploaded {
    /// SHA-256, for `"code": {"digest": …}` in a workflow.
    pub digest: String,
}

/// Uploads code without publishing it.
#[utoipa::path(post, path = "/api/v1/code",
    request_body(content = Vec<u8>, content_type = "application/wasm"),
    responses((status = 201, body = Uploaded),
        (status = 422, description = "The code is no function", body = Problem)))]
pub(super) async fn upload(
    State(con): State<Controller>,
    code: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<Uploaded>), Problem> {
    let digest = con.upload(None, body(code, CODE_BYTES)?).await?.to_string();
    Ok((StatusCode::CREATED, Json(Uploaded { digest })))
}
