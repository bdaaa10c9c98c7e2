//! Problem documents (RFC 9457): statuses are chosen here and nowhere else.

use axum::{
    Json,
    extract::{FromRequestParts, Query, Request, rejection::QueryRejection},
    http::{
        Method, StatusCode, Uri,
        header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
        request::Parts,
    },
    response::{IntoResponse, Response},
};
use edgeless_orders::words;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Fault, Refusal};

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here.
    pub detail: String,
    /// JSON pointer to the first thing that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Everything that is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Fault>,
    /// Seconds after which it is worth another try, which the header `Retry-After` says.
    #[serde(skip)]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem without a place in a document.
    pub fn new(status: StatusCode, kind: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:edgeless:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            pointer: None,
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// The same, worth another try later.
    pub fn retry_after(mut self, after: std::time::Duration) -> Self {
        self.retry_after = Some(after.as_secs() + u64::from(after.subsec_nanos() > 0));
        self
    }

    /// The body is wrong as a whole.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "The request is wrong",
            detail,
        )
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            Refusal::Invalid { faults } => {
                let first = faults.first().cloned();
                let detail = first.as_ref().map_or(text, |fault| fault.detail.clone());
                let mut problem = Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "invalid",
                    "The document is wrong",
                    detail,
                );
                problem.pointer = first.map(|fault| fault.pointer);
                problem.errors = faults;
                problem
            }
            Refusal::Unknown { .. } => Self::new(
                StatusCode::NOT_FOUND,
                "unknown",
                "There is no such thing",
                text,
            ),
            Refusal::Conflict(_) => Self::new(
                StatusCode::CONFLICT,
                "conflict",
                "It contradicts what is there",
                text,
            ),
            Refusal::TakenBack(_) => Self::new(
                StatusCode::CONFLICT,
                "taken-back",
                "The old version runs",
                text,
            ),
            Refusal::Infeasible(_) => Self::new(
                StatusCode::CONFLICT,
                "infeasible",
                "Nobody can run it now",
                text,
            ),
            Refusal::Unreachable(_) => {
                Self::new(StatusCode::BAD_GATEWAY, "unreachable", "No answer", text)
            }
            Refusal::Store(_) => {
                let status = StatusCode::INSUFFICIENT_STORAGE;
                Self::new(status, "store", "It cannot be kept", text)
            }
            Refusal::Ending => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Self::new(status, "ending", "It was not carried through", text)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after.map(http::HeaderValue::from);
        let mut response = (status, Json(self)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        let value = http::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, value);
        response
    }
}

/// An id from a path.
#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
pub(super) fn parse_id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| {
        Problem::bad_request(format!(
            "`{text}` in the path is no {what} id: it must be a UUID"
        ))
    })
}

/// A body that was read whole, or why not.
#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
pub(super) fn body(
    read: Result<axum::body::Bytes, axum::extract::rejection::BytesRejection>,
    limit: usize,
) -> Result<axum::body::Bytes, Problem> {
    read.map_err(|rejection| {
        let status = rejection.status();
        let detail = match status {
            StatusCode::PAYLOAD_TOO_LARGE => format!("the body is longer than {limit} bytes"),
            _ => rejection.body_text(),
        };
        Problem::new(status, "body", "The body cannot be taken", detail)
    })
}

/// Parts of the path of a request; what cannot be read is a problem.
pub(super) struct Path<T>(pub(super) T);

impl<S, T> FromRequestParts<S> for Path<T>
where
    S: Send + Sync,
    T: serde::de::DeserializeOwned + Send,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

/// The query string of a request, or what is wrong with it.
#[expect(
    clippy::result_large_err,
    reason = "a problem is made once per request"
)]
pub(super) fn query<T>(read: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    match read {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => Err(Problem::bad_request(in_query(&rejection.body_text()))),
    }
}

/// What is wrong with a query string, such as `wait: invalid value: string "soon", expected a duration`, in plain words.
fn in_query(text: &str) -> String {
    let text = text.strip_prefix("Failed to deserialize query string: ");
    let Some(text) = text else {
        return "the query string cannot be read; it is such as `?a=b&c=d`".to_owned();
    };
    let of_key = text.split_once(": ").filter(|(key, _)| is_key(key));
    match of_key {
        Some((key, rest)) => format!("`?{key}`: {}", words::plain(rest)),
        None => format!("in the query string: {}", words::plain(text)),
    }
}

fn is_key(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Refuses bodies that are compressed: nobody would unpack them here.
#[expect(
    clippy::result_large_err,
    reason = "one of both is made for each request"
)]
pub(super) fn no_encoding(request: Request) -> Result<Request, Response> {
    let encoding = request.headers().get(CONTENT_ENCODING);
    let plain = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
    if encoding.is_none_or(plain) {
        return Ok(request);
    }
    let text = encoding.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let detail = format!(
        "a body with `Content-Encoding: {}` is not taken; send it without compression",
        text.unwrap_or_default()
    );
    let title = "The body is compressed";
    let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    Err(Problem::new(status, "encoding", title, detail).into_response())
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("`{}` has no {method}; see /api/v1/openapi.json", uri.path());
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "There is no such method here",
        detail,
    )
}

pub(super) async fn no_such_route(uri: Uri) -> Problem {
    let detail = format!("there is no `{}`; see /api/v1/openapi.json", uri.path());
    Problem::new(
        StatusCode::NOT_FOUND,
        "route",
        "There is no such route",
        detail,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_query_string_names_its_key_in_plain_words() {
        let with = |text: &str| in_query(&format!("Failed to deserialize query string: {text}"));
        assert_eq!(
            with("wait: invalid value: string \"soon\", expected a duration"),
            "`?wait`: it must be a duration such as \"5s\", not \"soon\""
        );
        assert_eq!(
            with("colour: unknown field `colour`, expected `wait`"),
            "`?colour`: there is no key `colour` here; there are `wait`"
        );
        assert_eq!(
            with("unknown field `colour`, expected `wait`"),
            "in the query string: there is no key `colour` here; there are `wait`"
        );
    }
}
