//! `/api/v1/blobs`: bytes that orders refer to.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use tokio_util::io::ReaderStream;

use super::error::{Path, Problem};
use crate::{
    orders::{
        Orders,
        blobs::{
            BLOB_BYTES, BlobName, BlobView, KeepError,
            content_type::{is_active, is_content_type},
        },
    },
    problem::Refusal,
};

/// Pieces in which a blob is given, in bytes.
const PIECE: usize = 64 << 10;

/// Keeps bytes under their SHA-256, at most 64 MiB; `Content-Type` is kept with them.
#[utoipa::path(put, path = "/api/v1/blobs",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = BlobView),
        (status = 200, description = "It was there already", body = BlobView),
        (status = 413, description = "It is too long", body = Problem),
        (status = 507, description = "It cannot be kept", body = Problem)))]
pub(super) async fn put(
    State(orders): State<Orders>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BLOB_BYTES as u64) {
        return Err(KeepError::TooLong.into());
    }
    let content_type = content_type(&headers)?;
    let mut incoming = orders.blobs().begin().await.map_err(KeepError::Disk)?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece
            .map_err(|error| Problem::bad_request(format!("the body was cut off: {error}")))?;
        incoming.write(&piece).await?;
    }
    let (view, is_new) = incoming.finish(content_type).await?;
    let status = match is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let location = format!("/api/v1/blobs/{}", view.blob);
    Ok((status, [(header::LOCATION, location)], Json(view)).into_response())
}

/// The bytes of a blob, with the content type it was put with. `HEAD` says how many there are.
#[utoipa::path(get, path = "/api/v1/blobs/{name}", params(("name" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream", body = Vec<u8>),
        (status = 400, description = "That names no blob", body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn get(
    State(orders): State<Orders>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let name: BlobName = name
        .parse()
        .map_err(|error: crate::orders::blobs::NoBlobName| {
            Problem::bad_request(error.to_string())
        })?;
    let found = orders.blobs().file(name).await;
    let found = found.map_err(|error| {
        tracing::error!(blob = %name, %error, "a blob cannot be read");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "disk",
            "It cannot be read",
            format!("the blob `{name}` cannot be read: {error}"),
        )
    })?;
    let (view, file) = found.ok_or_else(|| Refusal::Unknown {
        what: "blob",
        id: name.to_string(),
    })?;
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, PIECE)).into_response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_str(&view.content_type);
    let bytes = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, content_type.unwrap_or(bytes));
    headers.insert(header::CONTENT_LENGTH, view.bytes.into());
    // Whoever shows it must not guess: it may come from anybody.
    let no_guess = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, no_guess);
    if is_active(&view.content_type) {
        let attachment = HeaderValue::from_static("attachment");
        headers.insert(header::CONTENT_DISPOSITION, attachment);
    }
    Ok(response)
}

#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
fn content_type(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    // What curl says unless it is told otherwise says nothing.
    let says = |value: &&HeaderValue| *value != "application/x-www-form-urlencoded";
    let Some(value) = headers.get(header::CONTENT_TYPE).filter(says) else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|text| is_content_type(text));
    let text = text.ok_or_else(|| {
        Problem::bad_request(
            "the header `Content-Type` is no content type such as `image/png`; leave it out",
        )
    })?;
    Ok(Some(text.to_owned()))
}

impl From<KeepError> for Problem {
    fn from(error: KeepError) -> Self {
        let text = error.to_string();
        match error {
            KeepError::TooLong => {
                let title = "The body cannot be taken";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body", title, text)
            }
            KeepError::Disk(_) => Refusal::Store(text).into(),
        }
    }
}
