//! Serves a router over HTTP/1.1. Whoever does not go on with what it has begun to send is not waited for; answers may
//! take as long as they like.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    response::Response,
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpStream, task::JoinSet, time::Sleep};
use tokio_util::sync::CancellationToken;

use crate::net::Bound;

/// How long a client may take for the head of a request, and may leave a connection without one: longer than clients keep
/// such connections (90 s is common), as one that is closed while a request comes fails it.
const HEAD: Duration = Duration::from_secs(100);
/// How long a body may make no progress.
const STILL: Duration = Duration::from_secs(30);
/// The pause after no connection could be taken, as when there are too many open files.
const PAUSE: Duration = Duration::from_secs(1);

/// What a request passes before it comes to the router: it goes on, maybe changed, or is answered at once. A layer of
/// the router would do the same with several allocations for each request.
pub type Front = fn(Request) -> Result<Request, Response>;

/// Serves a router until shutdown; requests under way are finished first.
pub(crate) async fn serve(bound: Bound, front: Front, router: Router, shutdown: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = bound.listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let serving = connection(stream, front, router.clone(), shutdown.clone());
                connections.spawn(serving);
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::error!(%error, "no connection can be taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(bound);
    while connections.join_next().await.is_some() {}
}

/// The client has gone before it was there.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn connection(stream: TcpStream, front: Front, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let passed = front(request.map(|body| Body::new(Moving::new(body))));
        let answer = passed.map(|request| router.call(request));
        async move {
            match answer {
                Ok(answer) => answer.await,
                Err(answer) => Ok(answer),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
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

/// A body that fails when nothing comes of it for too long.
struct Moving {
    body: Incoming,
    /// While it stands still: most bodies are there at once, and need no timer.
    late: Option<Pin<Box<Sleep>>>,
}

impl Moving {
    fn new(body: Incoming) -> Self {
        Self { body, late: None }
    }
}

impl HttpBody for Moving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = frame {
            self.late = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)));
        }
        let late = self
            .late
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STILL)));
        late.as_mut().poll(context).map(|()| {
            let text = "nothing of the body has come for 30 seconds";
            let error = io::Error::new(io::ErrorKind::TimedOut, text);
            Some(Err(axum::Error::new(error)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::Instant,
    };

    use super::*;

    /// What comes back for what is sent, until the connection is closed; `then` follows when the clock has gone on.
    async fn answer(sent: &str) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = async || {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            "at last"
        };
        let router = Router::new()
            .route("/slow", get(slow))
            .route("/body", post(async |body: String| body));
        let shutdown = CancellationToken::new();
        let bound = Bound {
            listener,
            url: format!("http://{address}").parse().unwrap(),
        };
        let serving = tokio::spawn(serve(bound, Ok, router, shutdown.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        shutdown.cancel();
        serving.await.unwrap();
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_head_is_not_waited_for() {
        let begun = Instant::now();
        let answer = answer("GET /slow HTTP/1.1\r\nhost: x\r\nx-half: ").await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(begun.elapsed() >= HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_body_is_not_waited_for() {
        let head = "POST /body HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let answer = answer(&format!("{head}content-length: 10\r\n\r\nhalf")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_take_long() {
        let answer = answer("GET /slow HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
        assert!(answer.ends_with("at last"), "{answer}");
    }
}
