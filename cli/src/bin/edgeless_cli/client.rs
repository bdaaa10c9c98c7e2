//! Talks HTTP with ε-CON; what it refuses becomes a [`Failure`] with the problem document. Answers stay as they are
//! written: values of users are in them.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::CONTENT_TYPE};
use serde::{Serialize, de::DeserializeOwned};
use url::Url;

use crate::{failure::Failure, json::Json, view::Problem};

/// How long ε-CON may take; a start waits for its domain, code may be long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The client of one ε-CON.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
}

impl Client {
    /// A client; it connects when it is used.
    ///
    /// # Errors
    /// The system has no TLS to offer.
    pub(crate) fn new(url: Url) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .timeout(DEADLINE)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .build();
        match http {
            Ok(http) => Ok(Self { http, url }),
            Err(source) => Err(Failure::Unreachable {
                url: url.to_string(),
                source,
            }),
        }
    }

    /// Where ε-CON is.
    pub(crate) fn url(&self) -> String {
        self.url.to_string()
    }

    /// A request to `/api/v1/` and the segments of a path, which may hold anything.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        self.http.request(method, url)
    }

    /// What is there at a path.
    ///
    /// # Errors
    /// ε-CON cannot be reached or refuses.
    pub(crate) async fn get(&self, segments: &[&str]) -> Result<Json, Failure> {
        self.send(self.request(Method::GET, segments)).await
    }

    /// Sends a request and reads its answer; `null` where there is none.
    ///
    /// # Errors
    /// ε-CON cannot be reached or refuses.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Json, Failure> {
        let response = self.open(request).await?;
        let status = response.status();
        let body = self.body(response).await?;
        if body.is_empty() {
            return Ok(Json::default());
        }
        Json::parse(&body).map_err(|error| self.odd(status, error.to_string()))
    }

    /// Sends a request that is taken; its answer is still to be read.
    ///
    /// # Errors
    /// ε-CON cannot be reached or refuses.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let sent = request.send().await;
        let response = sent.map_err(|source| self.unreachable(source))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(b"application/problem+json"));
        let body = self.body(response).await?;
        if is_problem {
            let problem: Problem = serde_json::from_slice(&body)
                .map_err(|error| self.odd(status, error.to_string()))?;
            return Err(Failure::Refused(Box::new(problem)));
        }
        let text = String::from_utf8_lossy(&body);
        Err(self.odd(status, text.chars().take(200).collect()))
    }

    /// All bytes of an answer.
    ///
    /// # Errors
    /// The connection breaks.
    pub(crate) async fn body(&self, response: Response) -> Result<Bytes, Failure> {
        let body = response.bytes().await;
        body.map_err(|source| self.unreachable(source))
    }

    /// That the answer is not of the kind that ε-CON gives.
    pub(crate) fn odd(&self, status: StatusCode, problem: String) -> Failure {
        Failure::Answer {
            url: self.url.to_string(),
            status: status.as_u16(),
            problem,
        }
    }

    /// That there is no answer, or not all of it.
    pub(crate) fn unreachable(&self, source: reqwest::Error) -> Failure {
        Failure::Unreachable {
            url: self.url.to_string(),
            source,
        }
    }

    /// Reads what is shown of an answer.
    ///
    /// # Errors
    /// The answer has another shape.
    pub(crate) fn view<T: DeserializeOwned>(&self, answer: &impl Serialize) -> Result<T, Failure> {
        let text = serde_json::to_string(answer);
        let view = text.and_then(|text| serde_json::from_str(&text));
        view.map_err(|error| self.odd(StatusCode::OK, error.to_string()))
    }
}
