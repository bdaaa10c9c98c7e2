//! Requests to ε-CON, and what to say when they fail.

use std::{fmt, path::PathBuf, time::Duration};

use edgeless_con::rest::Problem;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::de::DeserializeOwned;

/// How long ε-CON may take for an answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command itself is wrong.
    Usage(String),
    /// A file cannot be read.
    File(PathBuf, std::io::Error),
    /// ε-CON refuses.
    Refused(Box<Problem>),
    /// ε-CON does not answer.
    Unreachable(String, String),
    /// Something else went wrong.
    Other(String),
}

impl Failure {
    /// The exit code of the process.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable(..) => 3,
            Self::File(..) | Self::Refused(_) | Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Other(text) => f.write_str(text),
            Self::File(path, error) => write!(f, "could not read `{}`: {error}", path.display()),
            Self::Unreachable(url, error) => write!(
                f,
                "ε-CON at {url} does not answer ({error}); is it running? `--url` names another"
            ),
            Self::Refused(problem) => {
                if problem.errors.is_empty() {
                    return f.write_str(&problem.detail);
                }
                write!(f, "{}:", problem.title.to_lowercase())?;
                problem.errors.iter().try_for_each(|fault| {
                    let place = if fault.pointer.is_empty() {
                        "/"
                    } else {
                        &fault.pointer
                    };
                    write!(f, "\n  {place}: {}", fault.detail)
                })
            }
        }
    }
}

/// Asks ε-CON.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    /// Whether answers are printed as JSON.
    pub(crate) json: bool,
}

impl Client {
    pub(crate) fn new(url: String, json: bool) -> Self {
        Self {
            http: reqwest::Client::new(),
            url,
            json,
        }
    }

    /// A request to a path.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/api/v1{path}", self.url))
            .timeout(DEADLINE)
    }

    /// Sends a request; the answer's body.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let unreachable = |error: reqwest::Error| {
            let mut source: &dyn std::error::Error = &error;
            while let Some(deeper) = source.source() {
                source = deeper;
            }
            Failure::Unreachable(self.url.clone(), source.to_string())
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        Err(refused(status, &body))
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, Failure> {
        let body = self.send(request).await?;
        serde_json::from_slice(&body)
            .map_err(|error| Failure::Other(format!("ε-CON's answer cannot be read: {error}")))
    }

    /// `GET` of a path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(self.request(Method::GET, path)).await
    }
}

fn refused(status: StatusCode, body: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => Failure::Refused(Box::new(problem)),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            Failure::Other(format!("ε-CON answered {status}: {text}"))
        }
    }
}
