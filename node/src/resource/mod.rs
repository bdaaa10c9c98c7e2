//! The resources a node provides: one file per class, one arm in [`Resources::prepare`].

mod file_log;
mod http_egress;
pub mod http_ingress;
mod http_json;
mod mailbox;
mod order_source;
mod redis;
#[cfg(test)]
mod testing;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use edgeless_dataflow::Factory;
use edgeless_types::{
    NodeId, PhysicalId, ProviderId, ResourceProvider,
    resource::{self, ResourceClass},
    workflow::ResourceSpec,
};
use http::StatusCode;

use self::{http_ingress::SharedRoutes, mailbox::Owner};
use crate::config;

/// What resources have counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Responses of `http-ingress` by the first digit of their status, from 1 on.
    pub http_responses: [AtomicU64; 5],
    /// Requests of `http-egress` that got a response.
    pub egress_requests: AtomicU64,
    /// Requests of `http-egress` that got none.
    pub egress_errors: AtomicU64,
    /// Lines that `file-log` wrote.
    pub lines_written: AtomicU64,
    /// Lines that `file-log` could not write.
    pub lines_lost: AtomicU64,
    /// Messages that a Redis server did not take.
    pub redis_errors: AtomicU64,
    /// Tasks of orders that `order-source` took.
    pub order_tasks: AtomicU64,
    /// Those of them that the function did not handle.
    pub order_tasks_failed: AtomicU64,
}

impl Counters {
    fn http_response(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100 - 1).min(4);
        self.http_responses[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// The providers of one node; instances are made from their specifications.
pub struct Resources {
    ingress: Option<SharedRoutes>,
    egress: Option<reqwest::Client>,
    file_log: Option<PathBuf>,
    redis: bool,
    order_source: bool,
    owner: Owner,
    counters: Arc<Counters>,
}

/// A provider could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// The directory of `file-log` cannot be created.
    #[error("key `resources.file_log_path`: could not create `{}`", path.display())]
    FileLogPath {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The client of `http-egress` cannot be made.
    #[error("key `resources.http_egress`: no HTTP client")]
    HttpClient(#[source] reqwest::Error),
}

impl Resources {
    /// Sets up the providers that the configuration names.
    ///
    /// # Errors
    /// A provider could not be set up.
    pub fn new(config: &config::Resources) -> Result<Self, ResourcesError> {
        if let Some(path) = &config.file_log_path {
            std::fs::create_dir_all(path).map_err(|source| ResourcesError::FileLogPath {
                path: path.clone(),
                source,
            })?;
        }
        let egress = config
            .http_egress
            .then(http_egress::client)
            .transpose()
            .map_err(ResourcesError::HttpClient)?;
        Ok(Self {
            ingress: config
                .http_ingress_url
                .as_ref()
                .map(|_| SharedRoutes::default()),
            egress,
            file_log: config.file_log_path.clone(),
            redis: config.redis,
            order_source: config.order_source,
            owner: Owner::default(),
            counters: Arc::default(),
        })
    }

    /// The routes of `http-ingress`, for its listener.
    pub fn ingress_routes(&self) -> Option<SharedRoutes> {
        self.ingress.clone()
    }

    /// What was counted.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Makes the operator of an instance. Must be called within a runtime, which owns its tasks.
    ///
    /// # Errors
    /// This node does not provide the class, or a setting is wrong; in words.
    pub async fn prepare(&self, spec: &ResourceSpec) -> Result<Factory, String> {
        let settings = &spec.configurations;
        let (owner, counters) = (self.owner.clone(), Arc::clone(&self.counters));
        let absent = || format!("this node does not provide `{}`", spec.class_type);
        let class = spec.class_type.as_str();
        if class == resource::http_ingress::CLASS.class_type {
            let routes = self.ingress.clone().ok_or_else(absent)?;
            http_ingress::prepare(routes, settings)
        } else if class == resource::http_egress::CLASS.class_type {
            let client = self.egress.clone().ok_or_else(absent)?;
            http_egress::prepare(client, settings, owner, counters)
        } else if class == resource::file_log::CLASS.class_type {
            let directory = self.file_log.clone().ok_or_else(absent)?;
            file_log::prepare(directory, settings, owner, counters).await
        } else if class == resource::redis::CLASS.class_type && self.redis {
            redis::prepare(settings, owner, counters)
        } else if class == resource::order_source::CLASS.class_type && self.order_source {
            order_source::prepare(settings, owner, counters)
        } else {
            Err(absent())
        }
    }

    /// Lets an instance take nothing more from outside, and waits until it has finished what it has taken;
    /// calls it took are answered then.
    pub async fn idle(&self, id: PhysicalId) {
        self.owner.idle(id).await;
    }

    /// Waits until the tasks of stopped instances have done what they had taken.
    pub async fn finished(&self) {
        self.owner.finished().await;
    }
}

/// The classes a node with this configuration provides, with the names of their providers.
pub fn providers(
    config: &config::Resources,
    node_id: NodeId,
    host_name: &str,
) -> Vec<ResourceProvider> {
    let short: String = node_id.to_string().chars().take(8).collect();
    let provider = |class: &ResourceClass, name: &Option<String>| {
        let made = || format!("{host_name}-{short}-{}", class.class_type);
        ResourceProvider {
            provider_id: ProviderId::new(name.clone().unwrap_or_else(made)),
            class_type: class.class_type.to_owned(),
            node_id,
            outputs: class
                .outputs
                .iter()
                .map(|&output| output.to_owned())
                .collect(),
        }
    };
    [
        config.http_ingress_url.is_some().then(|| {
            provider(
                &resource::http_ingress::CLASS,
                &config.http_ingress_provider,
            )
        }),
        config
            .http_egress
            .then(|| provider(&resource::http_egress::CLASS, &config.http_egress_provider)),
        config
            .file_log_path
            .is_some()
            .then(|| provider(&resource::file_log::CLASS, &config.file_log_provider)),
        config
            .redis
            .then(|| provider(&resource::redis::CLASS, &config.redis_provider)),
        config.order_source.then(|| {
            provider(
                &resource::order_source::CLASS,
                &config.order_source_provider,
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use edgeless_dataflow::{Engine, Port, PortError};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::oneshot,
    };

    use super::*;
    use testing::{Answering, NODE, configurations, engine, pid, spawn};

    /// A resource (1) and a port whose output `out` leads to it.
    async fn with_port(
        config: config::Resources,
        class_type: &str,
        settings: &[(&str, &str)],
    ) -> (Resources, Engine, Port) {
        let resources = Resources::new(&config).unwrap();
        let spec = ResourceSpec {
            name: "r".to_owned(),
            class_type: class_type.to_owned(),
            configurations: configurations(settings),
        };
        let engine = engine();
        let factory = resources.prepare(&spec).await.unwrap();
        spawn(&engine, 1, &[], factory).await.unwrap();
        let (give, port) = oneshot::channel();
        let take_port: Factory = Box::new(move |context| {
            assert!(give.send(context.port).is_ok());
            Ok(Box::new(Answering(|_| None)))
        });
        spawn(&engine, 2, &[("out", &[1])], take_port)
            .await
            .unwrap();
        (resources, engine, port.await.unwrap())
    }

    async fn call(port: &Port, payload: impl Into<Bytes>) -> Result<Option<Bytes>, PortError> {
        port.call("out", payload.into(), Duration::from_secs(10))
            .await
    }

    #[tokio::test]
    async fn a_file_log_writes_each_message_once_and_answers_when_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let config = config::Resources {
            file_log_path: Some(directory.path().to_owned()),
            ..config::Resources::default()
        };
        let (resources, engine, port) =
            with_port(config, "file-log", &[("filename", "sub/a.log")]).await;
        for number in 0..1000 {
            port.cast("out", number.to_string().into()).await.unwrap();
        }
        assert_eq!(call(&port, "last").await, Ok(Some(Bytes::new())));
        let text = std::fs::read_to_string(directory.path().join("sub/a.log")).unwrap();
        let expected = (0..1000).map(|number| number.to_string());
        let lines: Vec<_> = expected.chain(["last".to_owned()]).collect();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines);
        engine.stop(pid(1), Duration::from_secs(10)).await;
        resources.finished().await;
        assert_eq!(
            resources.counters().lines_written.load(Ordering::Relaxed),
            1001
        );
    }

    #[tokio::test]
    async fn a_resource_is_idle_when_the_calls_it_took_are_answered() {
        let (give, address) = oneshot::channel();
        let (answer, may_answer) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            give.send(listener.local_addr().unwrap().to_string())
                .unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            may_answer.await.unwrap();
            let response = b"HTTP/1.1 204 No Content\r\n\r\n";
            stream.write_all(response).await.unwrap();
            stream
        });
        let (resources, _engine, port) =
            with_port(config::Resources::default(), "http-egress", &[]).await;
        resources.idle(pid(1)).await;
        let host = address.await.unwrap();
        let request = format!(r#"{{"method":"GET","host":"{host}"}}"#);
        let calling = tokio::spawn(async move { call(&port, request).await });
        while !resources.owner.is_busy(pid(1)) {
            tokio::task::yield_now().await;
        }
        answer.send(()).unwrap();
        resources.idle(pid(1)).await;
        assert!(calling.await.unwrap().unwrap().is_some());
        drop(serving.await.unwrap());
    }

    /// Answers one request after another with `response`, and gives back what came.
    async fn serve_once(response: &'static str) -> (String, tokio::task::JoinHandle<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = String::new();
            while !read.contains("\r\n\r\n") && !read.ends_with("\r\n$0\r\n") {
                let mut buffer = [0; 1024];
                let number = stream.read(&mut buffer).await.unwrap();
                read.push_str(std::str::from_utf8(&buffer[..number]).unwrap());
            }
            stream.write_all(response.as_bytes()).await.unwrap();
            read
        });
        (address, serving)
    }

    #[tokio::test]
    async fn http_egress_sends_requests_and_answers_with_responses() {
        let (address, serving) =
            serve_once("HTTP/1.1 201 Created\r\nx-a: b\r\ncontent-length: 2\r\n\r\nhi").await;
        let (resources, _engine, port) = with_port(
            config::Resources::default(),
            "http-egress",
            &[("allowed_hosts", "127.0.0.1")],
        )
        .await;
        let request = serde_json::json!({
            "method": "GET", "host": address, "path": "/x", "headers": {"x-b": "c"},
        });
        let answer = call(&port, request.to_string()).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(
            (&answer["status"], &answer["body"]),
            (&201.into(), &"aGk=".into())
        );
        assert_eq!(answer["headers"]["x-a"], "b");
        let seen = serving.await.unwrap();
        assert!(
            seen.starts_with("GET /x HTTP/1.1\r\n") && seen.contains("x-b: c"),
            "{seen}"
        );

        let elsewhere = r#"{"method":"GET","host":"example.org","path":"/"}"#;
        for (payload, problem) in [(elsewhere, "allowed_hosts"), ("{}", "no HTTP request")] {
            let error = call(&port, payload).await.unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert_eq!(
            resources.counters().egress_errors.load(Ordering::Relaxed),
            2
        );
    }

    #[tokio::test]
    async fn responses_longer_than_the_limit_are_errors() {
        let (address, _serving) =
            serve_once("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
        let settings = [("max_body_bytes", "4")];
        let (_resources, _engine, port) =
            with_port(config::Resources::default(), "http-egress", &settings).await;
        let request = format!(r#"{{"method":"GET","host":"{address}"}}"#);
        let error = call(&port, request).await.unwrap_err().to_string();
        assert!(error.contains("longer than 4 bytes"), "{error}");
    }

    #[tokio::test]
    async fn what_is_no_redis_server_is_an_error_of_the_call() {
        let (address, serving) = serve_once("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        drop(serving);
        let url = format!("redis://{address}");
        let settings = [("url", url.as_str()), ("key", "k"), ("timeout", "200ms")];
        let (resources, _engine, port) =
            with_port(config::Resources::default(), "redis", &settings).await;
        let error = call(&port, "").await.unwrap_err().to_string();
        assert!(error.starts_with("redis: "), "{error}");
        assert_eq!(resources.counters().redis_errors.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn redis_casts_set_and_calls_get() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let server = tokio::process::Command::new("redis-server")
            .args(["--port", &port, "--save", "", "--dir", "/tmp"])
            .stdout(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let Ok(_server) = server else {
            eprintln!("SKIPPED: redis-server is not installed");
            return;
        };
        let url = format!("redis://127.0.0.1:{port}/1");
        let settings = [("url", url.as_str()), ("key", "k")];
        let (_resources, _engine, port) =
            with_port(config::Resources::default(), "redis", &settings).await;
        // Until the server listens, calls fail; then there is no value yet.
        while call(&port, "").await != Ok(None) {}
        for value in ["1", "2", "3"] {
            port.cast("out", value.into()).await.unwrap();
        }
        assert_eq!(call(&port, "").await, Ok(Some("3".into())));
    }

    #[tokio::test]
    async fn what_a_node_does_not_provide_or_settings_refuse_is_an_error() {
        let config = config::Resources {
            redis: false,
            ..config::Resources::default()
        };
        let resources = Resources::new(&config).unwrap();
        for (class_type, settings, problem) in [
            (
                "http-ingress",
                [("host", "*")],
                "does not provide `http-ingress`",
            ),
            ("redis", [("key", "k")], "does not provide `redis`"),
            ("teapot", [("a", "b")], "does not provide `teapot`"),
            ("http-egress", [("timeout", "soon")], "setting `timeout`"),
        ] {
            let spec = ResourceSpec {
                name: "r".to_owned(),
                class_type: class_type.to_owned(),
                configurations: configurations(&settings),
            };
            let error = resources.prepare(&spec).await.err().unwrap();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn providers_have_unique_names_or_the_given_ones() {
        let config = config::Resources {
            redis_provider: Some("mine".to_owned()),
            ..config::Resources::default()
        };
        let providers = providers(&config, NODE, "edge");
        let names: Vec<_> = providers.iter().map(|it| it.provider_id.as_str()).collect();
        assert_eq!(
            names,
            [
                "edge-00000000-http-egress",
                "mine",
                "edge-00000000-order-source"
            ]
        );
    }
}
