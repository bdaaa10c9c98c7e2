//! A client of the REST interface and of HTTP ingresses.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::process::root;

/// A client of ε-CON.
#[derive(Clone, Debug)]
pub struct Rest {
    /// Where it is.
    pub url: String,
    http: reqwest::Client,
}

impl Rest {
    /// A client of the REST interface at an address.
    pub fn new(url: String) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30));
        Self {
            url,
            http: http.build().unwrap_or_default(),
        }
    }

    /// Sends a request; status and JSON.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let url = format!("{}{path}", self.url);
        let response = self.http.request(method, url).body(body).send().await?;
        let status = response.status();
        let body = response.bytes().await?;
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok((
            status,
            serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        ))
    }

    /// `GET` of a path that must succeed.
    ///
    /// # Errors
    /// It does not.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let (status, body) = self.send(Method::GET, path, "").await?;
        if !status.is_success() {
            bail!("GET {path}: {status} {body}");
        }
        Ok(body)
    }

    /// Publishes one of the example functions.
    ///
    /// # Errors
    /// It is refused.
    pub async fn push(&self, name: &str) -> anyhow::Result<()> {
        let folder = root().join("functions").join(name);
        let code = std::fs::read(folder.join(format!("{name}.wasm")))?;
        let manifest = std::fs::read_to_string(folder.join("function.toml"))?;
        let outputs = manifest
            .lines()
            .find_map(|line| line.strip_prefix("outputs = ["))
            .map(|list| list.replace(['"', ']', ' '], ""))
            .unwrap_or_default();
        let function_type = manifest
            .lines()
            .find_map(|line| line.strip_prefix("function_type = "))
            .map(|text| text.replace('"', ""))
            .unwrap_or_default();
        let query = format!("function_type={function_type}&outputs={outputs}");
        let path = format!("/api/v1/functions/{name}/0.1?{query}");
        let (status, body) = self.send(Method::PUT, &path, code).await?;
        if !status.is_success() {
            bail!("push {name}: {status} {body}");
        }
        Ok(())
    }

    /// Starts a workflow that must run at once; its id.
    ///
    /// # Errors
    /// It does not.
    pub async fn start(&self, document: &Value) -> anyhow::Result<String> {
        let (status, body) = self
            .send(Method::POST, "/api/v1/workflows", document.to_string())
            .await?;
        if status != StatusCode::CREATED {
            bail!("start: {status} {body}");
        }
        let id = body["workflow_id"]
            .as_str()
            .context("the answer has no workflow_id")?;
        Ok(id.to_owned())
    }

    /// Where the vertices of a workflow run: (name, node id, physical id), sorted by name.
    ///
    /// # Errors
    /// The workflow is not known.
    pub async fn placed(&self, id: &str) -> anyhow::Result<Vec<(String, String, String)>> {
        let status = self.get(&format!("/api/v1/workflows/{id}")).await?;
        let mut placed = Vec::new();
        for kind in ["functions", "resources"] {
            for vertex in status[kind].as_array().into_iter().flatten() {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                for instance in vertex["instances"].as_array().into_iter().flatten() {
                    placed.push((
                        text(&vertex["name"]),
                        text(&instance["node_id"]),
                        text(&instance["physical_id"]),
                    ));
                }
            }
        }
        placed.sort();
        Ok(placed)
    }
}

/// A function of a workflow document, from the registry.
pub fn function(name: &str, class: &str, outputs: &Value, annotations: &Value) -> Value {
    json!({
        "name": name,
        "class_specification": {"id": class, "version": "0.1", "function_type": "RUST_WASM"},
        "output_mapping": outputs,
        "annotations": annotations,
    })
}

/// A resource of a workflow document.
pub fn resource(name: &str, class: &str, outputs: &Value, configurations: &Value) -> Value {
    json!({
        "name": name,
        "class_type": class,
        "output_mapping": outputs,
        "configurations": configurations,
    })
}
