//! A server whose answers take as long as handling is to take, so that handling needs no processor.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use edgeless_dataset::{replay::handling, synth::Trace};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::Instant,
};

/// The longest request.
const REQUEST: usize = 16 << 10;
/// The path of the request that a copy makes when it starts.
pub(super) const START: &str = "/start";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Answers until it is dropped.
pub(super) struct Waits {
    pub(super) address: SocketAddr,
    _tasks: JoinSet<()>,
}

struct Times {
    trace: Trace,
    seed: u64,
    start: Duration,
}

impl Waits {
    /// Answers a request of `/1/17` after the handling time of order 17 at its second function, and [`START`] after
    /// `start`.
    pub(super) async fn start(trace: Trace, seed: u64, start: Duration) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let times = Arc::new(Times { trace, seed, start });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let times = Arc::clone(&times);
                connections.spawn(async move {
                    // Whoever hangs up is not answered.
                    if let Err(error) = times.answer(stream).await {
                        eprintln!("a connection ended: {error}");
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }
}

impl Times {
    async fn answer(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let mut request = Vec::new();
        loop {
            request.clear();
            while !request.ends_with(b"\r\n\r\n") {
                anyhow::ensure!(request.len() < REQUEST, "a request is too long");
                if stream.read_buf(&mut request).await? == 0 {
                    return Ok(());
                }
            }
            let until = Instant::now() + self.wait(&request)?;
            tokio::time::sleep_until(until).await;
            stream.write_all(ANSWER).await?;
        }
    }

    fn wait(&self, request: &[u8]) -> anyhow::Result<Duration> {
        let line = String::from_utf8_lossy(request);
        let path = line.split(' ').nth(1).unwrap_or_default();
        if path == START {
            return Ok(self.start);
        }
        let numbers = path.trim_start_matches('/').split_once('/');
        let (step, order) = numbers.with_context(|| format!("`{path}` is no step and order"))?;
        let (step, order): (usize, usize) = (step.parse()?, order.parse()?);
        let arrival = self.trace.arrivals.get(order);
        let chain = arrival.map(|it| &self.trace.contracts[it.contract].chain);
        let is_known = chain.is_some_and(|it| step < it.len());
        anyhow::ensure!(is_known, "`{path}` is no step of an order");
        Ok(Duration::from_secs_f64(handling(
            &self.trace,
            self.seed,
            order,
            step,
        )))
    }
}
