//! HTTP requests and responses as JSON, as functions see them.
//!
//! `{"protocol","method","host","path","query","headers","body"}` and `{"status","headers","body"}`;
//! a body is base64 or null. What functions compiled for EDGELESS write is understood too, and
//! written for them on request ([`HttpFormat::Edgeless`]).

use std::{borrow::Cow, collections::HashMap, fmt};

use base64::{Engine, display::Base64Display, engine::general_purpose::STANDARD};
use bytes::Bytes;
use edgeless_types::resource::HttpFormat;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
    ser::SerializeMap,
};

/// A request to be written; borrows all it can.
#[derive(Serialize)]
struct RequestRef<'a> {
    protocol: &'static str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: HeadersRef<'a>,
    body: Option<BodyRef<'a>>,
}

/// Writes the request that came in; an empty body is null.
pub(super) fn write_request(
    parts: &http::request::Parts,
    host: &str,
    body: &[u8],
    format: HttpFormat,
) -> Bytes {
    let request = RequestRef {
        protocol: "HTTP",
        method: method_name(&parts.method, format),
        host,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: HeadersRef(&parts.headers),
        body: BodyRef::new(body, format),
    };
    write(
        &request,
        256 + parts.headers.len() * 48 + body.len() * 3 / 2,
    )
}

#[derive(Serialize)]
struct ResponseRef<'a> {
    status: u16,
    headers: HeadersRef<'a>,
    body: Option<BodyRef<'a>>,
}

/// Writes the response that came back; an empty body is null.
pub(super) fn write_response(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    format: HttpFormat,
) -> Bytes {
    let response = ResponseRef {
        status: status.as_u16(),
        headers: HeadersRef(headers),
        body: BodyRef::new(body, format),
    };
    write(&response, 128 + headers.len() * 48 + body.len() * 3 / 2)
}

fn write(value: &impl Serialize, capacity: usize) -> Bytes {
    let mut buffer = Vec::with_capacity(capacity);
    serde_json::to_writer(&mut buffer, value).expect("strings and numbers are always JSON");
    buffer.into()
}

fn method_name(method: &Method, format: HttpFormat) -> &str {
    match (format, method.as_str()) {
        (HttpFormat::Plain, name) => name,
        (HttpFormat::Edgeless, "GET") => "Get",
        (HttpFormat::Edgeless, "HEAD") => "Head",
        (HttpFormat::Edgeless, "POST") => "Post",
        (HttpFormat::Edgeless, "PUT") => "Put",
        (HttpFormat::Edgeless, "PATCH") => "Patch",
        (HttpFormat::Edgeless, "DELETE") => "Delete",
        (HttpFormat::Edgeless, other) => other,
    }
}

struct HeadersRef<'a>(&'a HeaderMap);

impl Serialize for HeadersRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.keys_len()))?;
        for name in self.0.keys() {
            let mut values = self.0.get_all(name).iter().map(header_text);
            let mut joined = values.next().unwrap_or_default();
            for value in values {
                let joined = joined.to_mut();
                joined.push_str(", ");
                joined.push_str(&value);
            }
            map.serialize_entry(name.as_str(), &joined)?;
        }
        map.end()
    }
}

fn header_text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

enum BodyRef<'a> {
    Base64(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> BodyRef<'a> {
    fn new(body: &'a [u8], format: HttpFormat) -> Option<Self> {
        (!body.is_empty()).then_some(match format {
            HttpFormat::Plain => Self::Base64(body),
            HttpFormat::Edgeless => Self::Bytes(body),
        })
    }
}

impl Serialize for BodyRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Base64(body) => serializer.collect_str(&Base64Display::new(body, &STANDARD)),
            Self::Bytes(body) => serializer.collect_seq(body.iter()),
        }
    }
}

/// A body as a function wrote it: base64, or an array of numbers.
struct Body(Bytes);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 string or an array of bytes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Body, E> {
                let bytes = STANDARD.decode(text).map_err(E::custom)?;
                Ok(Body(bytes.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Body, A::Error> {
                let mut bytes = Vec::with_capacity(items.size_hint().unwrap_or(0));
                while let Some(byte) = items.next_element()? {
                    bytes.push(byte);
                }
                Ok(Body(bytes.into()))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// A response as a function wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    /// 200 to 599.
    pub(super) status: StatusCode,
    /// Without those that belong to the connection.
    pub(super) headers: HeaderMap,
    /// Empty when it was null.
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
struct ResponseJson<'a> {
    status: u16,
    #[serde(borrow, default)]
    headers: HashMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default)]
    body: Option<Body>,
}

/// Reads a response; `None` when the payload is none.
pub(super) fn read_response(payload: &[u8]) -> Option<Response> {
    if payload.first() != Some(&b'{') {
        return None;
    }
    let read: ResponseJson<'_> = serde_json::from_slice(payload).ok()?;
    let status = StatusCode::from_u16(read.status).ok()?;
    Some(Response {
        status: Some(status).filter(|_| (200..600).contains(&read.status))?,
        headers: read_headers(read.headers).ok()?,
        body: read.body.map_or_else(Bytes::new, |body| body.0),
    })
}

/// A request as a function wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// How.
    pub(super) method: Method,
    /// Where to, with scheme.
    pub(super) url: String,
    /// Without those that belong to the connection.
    pub(super) headers: HeaderMap,
    /// Empty when it was null.
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
struct RequestJson<'a> {
    #[serde(borrow, default)]
    protocol: Cow<'a, str>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow, default)]
    path: Cow<'a, str>,
    #[serde(borrow, default)]
    query: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    headers: HashMap<Cow<'a, str>, Cow<'a, str>>,
    #[serde(default)]
    body: Option<Body>,
}

/// Reads a request.
///
/// # Errors
/// What is wrong with it, in words for the function's author.
pub(super) fn read_request(payload: &[u8]) -> Result<Request, String> {
    let read: RequestJson<'_> =
        serde_json::from_slice(payload).map_err(|error| format!("no HTTP request: {error}"))?;
    let scheme = match read.protocol.to_ascii_uppercase().as_str() {
        "" | "HTTP" | "UNKNOWN" => "http",
        "HTTPS" => "https",
        other => return Err(format!("protocol `{other}` is neither HTTP nor HTTPS")),
    };
    let method = Method::from_bytes(read.method.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("`{}` is no method", read.method))?;
    let slash = if read.path.starts_with('/') { "" } else { "/" };
    let query = read.query.filter(|query| !query.is_empty());
    let mark = if query.is_some() { "?" } else { "" };
    let url = [
        scheme,
        "://",
        &read.host,
        slash,
        &read.path,
        mark,
        query.as_deref().unwrap_or_default(),
    ];
    Ok(Request {
        method,
        url: url.concat(),
        headers: read_headers(read.headers)?,
        body: read.body.map_or_else(Bytes::new, |body| body.0),
    })
}

/// Headers of a connection are not a function's business.
const OF_CONNECTION: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn read_headers(read: HashMap<Cow<'_, str>, Cow<'_, str>>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(read.len());
    for (name, value) in read {
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("`{name}` is no name of a header"))?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| format!("the value of header `{name}` has forbidden characters"))?;
        if !OF_CONNECTION.contains(&name.as_str()) {
            headers.append(name, value);
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> http::request::Parts {
        let request = http::Request::post("/a/b?c=d")
            .header("x-one", "1")
            .header("accept", "a")
            .header("accept", "b");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn requests_are_written_in_both_formats() {
        let plain = write_request(&parts(), "h", b"hi\"", HttpFormat::Plain);
        let plain: serde_json::Value = serde_json::from_slice(&plain).unwrap();
        let expected = serde_json::json!({
            "protocol": "HTTP", "method": "POST", "host": "h", "path": "/a/b", "query": "c=d",
            "headers": {"x-one": "1", "accept": "a, b"}, "body": "aGki",
        });
        assert_eq!(plain, expected);
        let other = write_request(&parts(), "h", b"hi", HttpFormat::Edgeless);
        let other: serde_json::Value = serde_json::from_slice(&other).unwrap();
        assert_eq!(other["method"], "Post");
        assert_eq!(other["body"], serde_json::json!([104, 105]));
    }

    #[test]
    fn responses_are_read_in_both_formats() {
        for payload in [
            r#"{"status":201,"headers":{"X-A":"b","Content-Length":"7"},"body":"aGk="}"#,
            r#"{"body":[104,105],"status":201,"headers":{"X-A":"b"}}"#,
        ] {
            let response = read_response(payload.as_bytes()).unwrap();
            assert_eq!(response.status, StatusCode::CREATED);
            assert_eq!(response.headers.len(), 1);
            assert_eq!(response.headers["x-a"], "b");
            assert_eq!(response.body, "hi");
        }
        let bare = read_response(br#"{"status":204}"#).unwrap();
        assert!(bare.body.is_empty() && bare.headers.is_empty());
    }

    #[test]
    fn what_is_no_response_is_told_apart() {
        for payload in [
            "",
            "text",
            "{}",
            r#"{"status":99}"#,
            r#"{"status":100}"#,
            r#"{"status":200,"body":"not base64!"}"#,
            r#"{"status":200,"body":[256]}"#,
            r#"{"status":200,"headers":{"a b":"c"}}"#,
            r#"{"status":200,"headers":{"a":"c\n"}}"#,
        ] {
            assert_eq!(read_response(payload.as_bytes()), None, "{payload}");
        }
    }

    #[test]
    fn requests_are_read_and_wrong_ones_explained() {
        let read = read_request(
            br#"{"protocol":"HTTPS","method":"Post","host":"a:1","path":"b","query":"c=d","headers":{},"body":null}"#,
        );
        let read = read.unwrap();
        assert_eq!(
            (read.method, read.url.as_str()),
            (Method::POST, "https://a:1/b?c=d")
        );
        for (payload, problem) in [
            ("", "no HTTP request"),
            (r#"{"method":"GET"}"#, "host"),
            (r#"{"method":"G T","host":"a"}"#, "`G T`"),
            (r#"{"method":"GET","host":"a","protocol":"FTP"}"#, "`FTP`"),
            (
                r#"{"method":"GET","host":"a","headers":{"a b":""}}"#,
                "`a b`",
            ),
        ] {
            let error = read_request(payload.as_bytes()).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }
}
