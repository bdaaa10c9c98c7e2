//! `/api/v1/services` and `/api/v1/clients`.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
};
use edgeless_orders::{contract::Contract, service::ServiceSpec, words};
use serde::de::DeserializeOwned;

use super::{
    DOCUMENT_BYTES,
    error::{Path, Problem, body},
    workflows::format,
};
use crate::{
    check::Format,
    orders::{ClientView, Clients, Deployer, ServiceView},
    problem::Refusal,
};

/// All services, with what waits for them.
#[utoipa::path(get, path = "/api/v1/services", responses((status = 200, body = Vec<ServiceView>)))]
pub(super) async fn list(State(services): State<Deployer>) -> Json<Vec<ServiceView>> {
    Json(services.list().await)
}

/// One service.
#[utoipa::path(get, path = "/api/v1/services/{name}",
    responses((status = 200, body = ServiceView), (status = 404, body = Problem)))]
pub(super) async fn inspect(
    State(services): State<Deployer>,
    Path(name): Path<String>,
) -> Result<Json<ServiceView>, Problem> {
    Ok(Json(services.inspect(&name).await?))
}

/// Defines a service or changes it. A function runs as a workflow of its own.
#[utoipa::path(put, path = "/api/v1/services/{name}",
    request_body(content = ServiceSpec, description = "What it is, JSON or YAML"),
    responses(
        (status = 200, description = "It is changed", body = ServiceView),
        (status = 201, description = "It is new", body = ServiceView),
        (status = 409, description = "Its new version does not run", body = Problem),
        (status = 422, description = "It is wrong; `errors` has all pointers", body = Problem),
    ))]
pub(super) async fn put(
    State(services): State<Deployer>,
    Path(name): Path<String>,
    headers: HeaderMap,
    document: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ServiceView>), Problem> {
    let spec: ServiceSpec = read(&body(document, DOCUMENT_BYTES)?, &headers)?;
    let (view, is_new) = services.put(&name, spec).await?;
    Ok((status(is_new), Json(view)))
}

/// Ends a service that no active order needs.
#[utoipa::path(delete, path = "/api/v1/services/{name}",
    responses((status = 204), (status = 404, body = Problem),
        (status = 409, description = "Active orders need it", body = Problem)))]
pub(super) async fn delete(
    State(services): State<Deployer>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    services.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Holds a service up: its tasks wait.
#[utoipa::path(post, path = "/api/v1/services/{name}/pause",
    responses((status = 200, body = ServiceView), (status = 404, body = Problem)))]
pub(super) async fn pause(
    State(services): State<Deployer>,
    Path(name): Path<String>,
) -> Result<Json<ServiceView>, Problem> {
    Ok(Json(services.pause(&name, true).await?))
}

/// Lets a service go on.
#[utoipa::path(post, path = "/api/v1/services/{name}/resume",
    responses((status = 200, body = ServiceView), (status = 404, body = Problem)))]
pub(super) async fn resume(
    State(services): State<Deployer>,
    Path(name): Path<String>,
) -> Result<Json<ServiceView>, Problem> {
    Ok(Json(services.pause(&name, false).await?))
}

/// All clients of orders.
#[utoipa::path(get, path = "/api/v1/clients", responses((status = 200, body = Vec<ClientView>)))]
pub(super) async fn list_clients(State(clients): State<Clients>) -> Json<Vec<ClientView>> {
    Json(clients.list().await)
}

/// One client.
#[utoipa::path(get, path = "/api/v1/clients/{name}",
    responses((status = 200, body = ClientView), (status = 404, body = Problem)))]
pub(super) async fn inspect_client(
    State(clients): State<Clients>,
    Path(name): Path<String>,
) -> Result<Json<ClientView>, Problem> {
    Ok(Json(clients.inspect(&name).await?))
}

/// Defines a client or changes its contract, for orders that come from now on.
#[utoipa::path(put, path = "/api/v1/clients/{name}",
    request_body(content = Contract, description = "Its contract, JSON or YAML"),
    responses(
        (status = 200, description = "It is changed", body = ClientView),
        (status = 201, description = "It is new", body = ClientView),
        (status = 409, description = "A file defines it", body = Problem),
        (status = 422, description = "It is wrong; `errors` has all pointers", body = Problem),
    ))]
pub(super) async fn put_client(
    State(clients): State<Clients>,
    Path(name): Path<String>,
    headers: HeaderMap,
    document: Result<Bytes, BytesRejection>,
) -> Result<(StatusCode, Json<ClientView>), Problem> {
    let contract: Contract = read(&body(document, DOCUMENT_BYTES)?, &headers)?;
    let (view, is_new) = clients.put(&name, contract).await?;
    Ok((status(is_new), Json(view)))
}

/// Forgets a client; its active orders go on.
#[utoipa::path(delete, path = "/api/v1/clients/{name}",
    responses((status = 204), (status = 404, body = Problem),
        (status = 409, description = "A file defines it", body = Problem)))]
pub(super) async fn delete_client(
    State(clients): State<Clients>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    clients.delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn status(is_new: bool) -> StatusCode {
    match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    }
}

/// Where objects stand in services and contracts.
const OBJECTS: [&str; 5] = [
    "",
    "/class_specification",
    "/retries",
    "/limits",
    "/outputs/*",
];

/// A document, JSON or YAML, as something; what is wrong with it has its place.
#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
fn read<T: DeserializeOwned>(document: &[u8], headers: &HeaderMap) -> Result<T, Problem> {
    let value: serde_json::Value = match format(headers)? {
        Format::Json => serde_json::from_slice(document)
            .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?,
        Format::Yaml => {
            let text = std::str::from_utf8(document);
            let text = text.map_err(|_| Problem::bad_request("the body is not UTF-8"))?;
            serde_saphyr::from_str(text)
                .map_err(|error| Problem::bad_request(format!("the body is not YAML: {error}")))?
        }
    };
    let wrong = |fault| {
        Problem::from(Refusal::Invalid {
            faults: vec![fault],
        })
    };
    if let Some(fault) = words::not_an_object(&value, &OBJECTS) {
        return Err(wrong(fault));
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().clone();
        wrong(words::fault(&path, &error.into_inner().to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_list_has_its_place_as_a_pointer() {
        let document =
            br#"{"tasks": ["A"], "outputs": [{"to": "file", "name": "x"}, {"to": "pigeon"}]}"#;
        let problem = read::<Contract>(document, &HeaderMap::new()).unwrap_err();
        assert_eq!(problem.pointer.as_deref(), Some("/outputs/1/to"));
    }

    #[test]
    fn a_list_is_no_object() {
        for (document, pointer) in [
            (&br#"[["A"]]"#[..], ""),
            (br#"{"limits": [5]}"#, "/limits"),
            (br#"{"outputs": [["file", "x"]]}"#, "/outputs/0"),
        ] {
            let problem = read::<Contract>(document, &HeaderMap::new()).unwrap_err();
            assert_eq!(problem.pointer.as_deref(), Some(pointer));
            assert_eq!(problem.detail, "it must be an object, not a list");
        }
        let service = br#"{"url": "http://x", "retries": [5]}"#;
        let problem = read::<ServiceSpec>(service, &HeaderMap::new()).unwrap_err();
        assert_eq!(problem.pointer.as_deref(), Some("/retries"));
    }
}
