//! The listener: takes requests apart, asks the routes, shapes responses.
//!
//! | what | status |
//! |---|---|
//! | nobody takes the host and path | 404 |
//! | somebody does, with other methods | 405 with `Allow` |
//! | no host, or a path that is none | 400 |
//! | the body is too long | 413 |
//! | too many requests or messages wait, or the output leads nowhere (yet) | 503 with `Retry-After` |
//! | the callee has no answer | 204 |
//! | the callee fails | 502 |
//! | no answer in time | 504 |
//! | taken, mode `cast` | 202 |

use std::{
    borrow::Cow,
    convert::Infallible,
    io,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::PortError;
use edgeless_types::resource::http_ingress::{Method, Mode, NEW_REQUEST};
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Instance, SharedRoutes, routes::Found};
use crate::resource::{Counters, http_json};

/// Connections beyond this wait to be accepted.
pub const MAX_CONNECTIONS: usize = 8192;
/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

type Reply = Response<Full<Bytes>>;

/// Serves the instances of one node.
#[derive(Clone)]
pub struct Listener {
    /// Who takes what.
    pub routes: SharedRoutes,
    /// What is counted.
    pub counters: Arc<Counters>,
}

impl Listener {
    /// Accepts connections until shutdown; requests under way are answered first.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let places = Arc::new(tokio::sync::Semaphore::new(MAX_CONNECTIONS));
        loop {
            let place = Arc::clone(&places).acquire_owned();
            let accepted = async { (place.await, listener.accept().await) };
            let Some((place, accepted)) = shutdown.run_until_cancelled(accepted).await else {
                break;
            };
            match accepted {
                Ok((stream, _)) => {
                    let (listener, shutdown) = (self.clone(), shutdown.clone());
                    connections.spawn(async move {
                        listener.connection(stream, shutdown).await;
                        drop(place);
                    });
                }
                Err(error) => self.not_accepted(&error).await,
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// Too many open files, most likely: it passes when connections close.
    async fn not_accepted(&self, error: &io::Error) {
        tracing::warn!(%error, "could not accept a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn connection(self, stream: TcpStream, shutdown: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        // Borrowed, not cloned, per request.
        let listener = &self;
        let service =
            service_fn(async |request| Ok::<_, Infallible>(listener.respond(request).await));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended with an error");
        }
    }

    async fn respond(&self, request: Request<Incoming>) -> Reply {
        let (parts, body) = request.into_parts();
        let reply = self.answer(&parts, body).await;
        self.counters.http_response(reply.status());
        reply
    }

    async fn answer(&self, parts: &Parts, body: Incoming) -> Reply {
        if parts.headers.get_all(header::HOST).iter().nth(1).is_some() {
            return problem(
                StatusCode::BAD_REQUEST,
                "the request has several Host headers",
            );
        }
        let Some(authority) = authority(parts) else {
            return problem(StatusCode::BAD_REQUEST, "the request names no host");
        };
        let found = {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            let host = bare_host(authority);
            routes.find(&host, parts.uri.path(), parts.method.as_str())
        };
        let instance = match found {
            Found::Route(instance) => instance,
            Found::Nothing => {
                return problem(
                    StatusCode::NOT_FOUND,
                    "no workflow takes this host and path",
                );
            }
            Found::OtherMethods(methods) => return wrong_method(&methods),
        };
        if instance.closed.load(Ordering::Relaxed) {
            return unavailable("the workflow takes no more requests now");
        }
        let Some(_place) = InFlight::take(&instance) else {
            return unavailable("too many requests wait for their answers");
        };
        let settings = &instance.settings;
        let patience = settings.timeout.min(BODY_TIMEOUT);
        let body = match read(body, settings.max_body_bytes, patience).await {
            Ok(body) => body,
            Err(reply) => return reply,
        };
        let event = http_json::write_request(parts, authority, &body, settings.format);
        match settings.mode {
            Mode::Call => call(&instance, event).await,
            Mode::Cast => cast(&instance, event).await,
        }
    }
}

/// A request that waits, among those of its instance.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn take(instance: &'a Instance) -> Option<Self> {
        let place = Self(&instance.in_flight);
        let before = instance.in_flight.fetch_add(1, Ordering::Relaxed);
        (before < instance.settings.max_in_flight).then_some(place)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The host with its port, as the client wrote it.
fn authority(parts: &Parts) -> Option<&str> {
    if let Some(authority) = parts.uri.authority() {
        return Some(authority.as_str());
    }
    let host = parts.headers.get(header::HOST)?.to_str().ok()?;
    (!host.is_empty()).then_some(host)
}

/// The host alone, lower case.
fn bare_host(authority: &str) -> Cow<'_, str> {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(host.to_ascii_lowercase()),
        false => Cow::Borrowed(host),
    }
}

async fn read(body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, Reply> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let too_long = || {
        let text = format!("the body is longer than {limit} bytes");
        problem(StatusCode::PAYLOAD_TOO_LARGE, &text)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long());
    }
    let reading = Limited::new(body, limit).collect();
    match tokio::time::timeout(patience, reading).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(error)) => Err(problem(
            StatusCode::BAD_REQUEST,
            &format!("the body could not be read: {error}"),
        )),
        Err(_) => Err(problem(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )),
    }
}

/// How much later than its time-out a call may be ended.
const BEHIND: Duration = Duration::from_secs(1);

async fn call(instance: &Instance, event: Bytes) -> Reply {
    let timeout = instance.settings.timeout;
    let calling = instance.port.call(NEW_REQUEST, event, timeout);
    // The engine ends the call itself and says why; this only guards against a shard that is behind.
    match tokio::time::timeout(timeout + BEHIND, calling).await {
        Ok(Ok(Some(payload))) => reply(payload),
        Ok(Ok(None)) => empty(StatusCode::NO_CONTENT),
        Ok(Err(error)) => refused(&error),
        Err(_) => refused(&PortError::Deadline),
    }
}

async fn cast(instance: &Instance, event: Bytes) -> Reply {
    let timeout = instance.settings.timeout;
    match tokio::time::timeout(timeout, instance.port.cast(NEW_REQUEST, event)).await {
        Ok(Ok(())) => empty(StatusCode::ACCEPTED),
        Ok(Err(error)) => refused(&error),
        Err(_) => unavailable("the workflow takes no more requests now"),
    }
}

/// The response a function wrote, or its answer as it is.
fn reply(payload: Bytes) -> Reply {
    if let Some(response) = http_json::read_response(&payload) {
        let mut reply = Response::new(Full::new(response.body));
        *reply.status_mut() = response.status;
        *reply.headers_mut() = response.headers;
        return reply;
    }
    let content_type = match std::str::from_utf8(&payload) {
        Ok(_) => "text/plain; charset=utf-8",
        Err(_) => "application/octet-stream",
    };
    with_type(StatusCode::OK, content_type, payload)
}

fn refused(error: &PortError) -> Reply {
    match error {
        PortError::Unmapped(_) => unavailable("the output `new_request` leads nowhere"),
        PortError::Waiting(_) => unavailable("the function that answers does not run now"),
        PortError::Stopped => unavailable("the ingress has been stopped"),
        PortError::Deadline => problem(StatusCode::GATEWAY_TIMEOUT, "no answer in time"),
        PortError::Failed(text) => problem(StatusCode::BAD_GATEWAY, text),
    }
}

fn wrong_method(methods: &[Method]) -> Reply {
    let names: Vec<_> = methods.iter().map(|method| method.name()).collect();
    let names = names.join(", ");
    let text = format!("this host and path take {names}");
    let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, &text);
    let allow = HeaderValue::from_str(&names).expect("names of methods are plain");
    reply.headers_mut().insert(header::ALLOW, allow);
    reply
}

fn unavailable(text: &str) -> Reply {
    let mut reply = problem(StatusCode::SERVICE_UNAVAILABLE, text);
    let seconds = HeaderValue::from_static("1");
    reply.headers_mut().insert(header::RETRY_AFTER, seconds);
    reply
}

fn problem(status: StatusCode, text: &str) -> Reply {
    with_type(
        status,
        "text/plain; charset=utf-8",
        format!("{text}\n").into(),
    )
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Reply {
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    reply
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    reply
}

fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = status;
    reply
}

#[cfg(test)]
mod tests {
    use edgeless_dataflow::{Answer, Engine};
    use edgeless_types::message::{Budget, MessageId, Upward, UpwardKind};
    use reqwest::{Client, RequestBuilder};
    use tokio::task::JoinHandle;

    use super::*;
    use crate::resource::{
        http_ingress::prepare,
        testing::{Answering, configurations, engine, pid, spawn},
    };

    struct Case {
        engine: Engine,
        routes: SharedRoutes,
        url: String,
        shutdown: CancellationToken,
        serving: JoinHandle<()>,
        counters: Arc<Counters>,
    }

    impl Case {
        /// A listener; a function (9) that does what the path of its request says.
        async fn new() -> Self {
            let (routes, counters) = (SharedRoutes::default(), Arc::<Counters>::default());
            let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", socket.local_addr().unwrap());
            let shutdown = CancellationToken::new();
            let listener = Listener {
                routes: Arc::clone(&routes),
                counters: Arc::clone(&counters),
            };
            let serving = tokio::spawn(listener.serve(socket, shutdown.clone()));
            let engine = engine();
            let obey = |request: Bytes| {
                let request: serde_json::Value = serde_json::from_slice(&request).unwrap();
                match request["path"].as_str().unwrap() {
                    "/text" => Some(Answer::Reply(Bytes::from_static(b"as it is"))),
                    "/made" => Some(Answer::Reply(Bytes::from_static(
                        br#"{"status":418,"headers":{"x-a":"b"},"body":"aGk="}"#,
                    ))),
                    "/echo" => Some(Answer::Reply(request["body"].to_string().into())),
                    "/none" => Some(Answer::NoReply),
                    "/fail" => Some(Answer::Error("function failed".to_owned())),
                    _ => None,
                }
            };
            spawn(&engine, 9, &[], Answering::factory(obey))
                .await
                .unwrap();
            Self {
                engine,
                routes,
                url,
                shutdown,
                serving,
                counters,
            }
        }

        async fn ingress(
            &self,
            id: u128,
            targets: &[u128],
            settings: &[(&str, &str)],
        ) -> Result<(), String> {
            let factory = prepare(Arc::clone(&self.routes), &configurations(settings))?;
            spawn(&self.engine, id, &[(NEW_REQUEST, targets)], factory).await
        }

        fn post(&self, path: &str) -> RequestBuilder {
            Client::new().post(format!("{}{path}", self.url))
        }

        async fn status(&self, path: &str) -> u16 {
            self.post(path).send().await.unwrap().status().as_u16()
        }

        async fn end(self) {
            self.shutdown.cancel();
            self.serving.await.unwrap();
            let engine = self.engine;
            tokio::task::spawn_blocking(move || engine.end())
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn answers_become_responses() {
        let case = Case::new().await;
        case.ingress(1, &[9], &[("host", "*"), ("timeout", "50ms")])
            .await
            .unwrap();
        let text = case.post("/text").send().await.unwrap();
        assert_eq!(text.headers()["content-type"], "text/plain; charset=utf-8");
        assert_eq!(text.text().await.unwrap(), "as it is");
        let made = case.post("/made").send().await.unwrap();
        assert_eq!(
            (made.status().as_u16(), &made.headers()["x-a"]),
            (418, &"b".parse().unwrap())
        );
        assert_eq!(made.text().await.unwrap(), "hi");
        let echo = case.post("/echo").body("hi").send().await.unwrap();
        assert_eq!(echo.text().await.unwrap(), "\"aGk=\"");
        for (path, status) in [("/none", 204), ("/fail", 502), ("/silence", 504)] {
            assert_eq!(case.status(path).await, status, "{path}");
        }
        let counted = &case.counters.http_responses;
        let counted: Vec<_> = counted
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counted, [0, 3, 0, 1, 2]);
        case.end().await;
    }

    #[tokio::test]
    async fn requests_nobody_takes_are_told_why() {
        let case = Case::new().await;
        let api = [("host", "a.org"), ("path", "/api"), ("methods", "PUT,GET")];
        case.ingress(1, &[9], &api).await.unwrap();
        case.ingress(2, &[], &[("host", "*"), ("path", "/hold")])
            .await
            .unwrap();
        assert_eq!(case.status("/api").await, 404);
        let wrong = case
            .post("/api/x")
            .header("host", "A.org:80")
            .send()
            .await
            .unwrap();
        assert_eq!(wrong.status().as_u16(), 405);
        assert_eq!(wrong.headers()["allow"], "GET, PUT");
        let twice = case.post("/hold").header("host", "a").header("host", "b");
        assert_eq!(twice.send().await.unwrap().status().as_u16(), 400);
        let held = case.post("/hold").send().await.unwrap();
        assert_eq!(
            (held.status().as_u16(), &held.headers()["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        case.end().await;
    }

    /// What the node 2 says of the function.
    fn upward(sequence: u64, budget: Budget) -> Upward {
        Upward {
            id: MessageId {
                origin: 2,
                sequence,
            },
            of: pid(9),
            hops: 1,
            kind: UpwardKind::Budget(budget),
        }
    }

    #[tokio::test]
    async fn budgets_and_the_end_of_the_node_turn_requests_away() {
        let case = Case::new().await;
        case.ingress(1, &[9], &[("host", "*")]).await.unwrap();
        let is_closed = || {
            let routes = case.routes.read().unwrap();
            match routes.find("a", "/", "POST") {
                Found::Route(instance) => instance.closed.load(Ordering::Relaxed),
                other => panic!("{other:?}"),
            }
        };
        let becomes = async |closed| {
            let change = async {
                while is_closed() != closed {
                    tokio::task::yield_now().await;
                }
            };
            let change = tokio::time::timeout(Duration::from_secs(20), change);
            change.await.expect("the signal comes");
        };
        let nothing = upward(1, Budget::NOTHING);
        case.engine.deliver_upwards(vec![nothing]).await;
        becomes(true).await;
        let refused = case.post("/text").send().await.unwrap();
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (503, &"1".parse().unwrap())
        );
        let anything = upward(2, Budget::default());
        case.engine.deliver_upwards(vec![anything]).await;
        becomes(false).await;
        assert_eq!(case.status("/text").await, 200);
        case.engine.announce_shutdown().await;
        becomes(true).await;
        assert_eq!(case.status("/text").await, 503);
        case.end().await;
    }

    #[tokio::test]
    async fn limits_are_kept() {
        let case = Case::new().await;
        let small = [
            ("host", "*"),
            ("max_body_bytes", "4"),
            ("max_in_flight", "1"),
        ];
        case.ingress(1, &[9], &small).await.unwrap();
        assert_eq!(
            case.post("/echo")
                .body("12345")
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
            413
        );
        let chunks = futures_util::stream::iter(["12", "345"].map(Ok::<_, io::Error>));
        let body = reqwest::Body::wrap_stream(chunks);
        assert_eq!(
            case.post("/echo")
                .body(body)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
            413
        );
        assert_eq!(
            case.post("/echo")
                .body("1234")
                .send()
                .await
                .unwrap()
                .status()
                .as_u16(),
            200
        );

        let waiting = tokio::spawn(case.post("/silence").send());
        let busy = || {
            let routes = case.routes.read().unwrap();
            let Found::Route(instance) = routes.find("x", "/", "GET") else {
                unreachable!("the ingress takes all");
            };
            instance.in_flight.load(Ordering::Relaxed) > 0
        };
        while !busy() {
            tokio::task::yield_now().await;
        }
        assert_eq!(case.status("/text").await, 503);
        waiting.abort();
        while busy() {
            tokio::task::yield_now().await;
        }
        assert_eq!(case.status("/text").await, 200);
        case.end().await;
    }

    #[tokio::test]
    async fn casts_are_accepted_at_once() {
        let case = Case::new().await;
        case.ingress(1, &[9], &[("host", "*"), ("mode", "cast")])
            .await
            .unwrap();
        assert_eq!(case.status("/silence").await, 202);
        case.end().await;
    }

    #[tokio::test]
    async fn the_same_place_is_taken_once_and_free_after_a_stop() {
        let case = Case::new().await;
        let settings = [("host", "*"), ("path", "/a")];
        case.ingress(1, &[9], &settings).await.unwrap();
        let conflict = case.ingress(2, &[9], &settings).await.unwrap_err();
        assert!(conflict.contains(&pid(1).to_string()), "{conflict}");
        case.engine.stop(pid(1), Duration::ZERO).await;
        assert_eq!(case.status("/a").await, 404);
        case.ingress(2, &[9], &settings).await.unwrap();
        case.end().await;
    }

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        for (authority, host) in [
            ("A.org:80", "a.org"),
            ("a.org", "a.org"),
            ("[::1]:80", "::1"),
            ("", ""),
        ] {
            assert_eq!(bare_host(authority), host);
        }
    }
}
