//! Sends orders from one thread, over connections that stay open, with as little work for each as possible: it shares the
//! processors with what it measures.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Barrier, Semaphore},
    task::{JoinSet, LocalSet},
    time::{Instant, sleep_until, timeout_at},
};

use super::wire::{self, Request, Wanted};

/// How long the last answers may take.
const LINGER: Duration = Duration::from_secs(60);
/// Connections that are opened at once: more than a listener takes are dropped, and tried again seconds later.
const OPENING: usize = 64;
/// The longest time that is told apart, in microseconds.
const LONGEST: u64 = 120_000_000;

/// When the next order is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// When one is answered.
    Closed,
    /// Whether others are answered or not, so many a second, evenly. The timer of the load goes in steps of a
    /// millisecond; how late an order is sent counts as a part of the time it takes.
    Open {
        /// Orders a second.
        per_second: f64,
    },
}

/// What is sent.
#[derive(Clone, Debug)]
pub(super) struct Load {
    /// Where.
    pub(super) address: SocketAddr,
    /// The order.
    pub(super) request: Request,
    /// Its answer.
    pub(super) wanted: Wanted,
    /// Connections, each with one order at a time.
    pub(super) connections: usize,
    /// When.
    pub(super) pace: Pace,
    /// No more than so many.
    pub(super) most: u64,
}

/// From when to when orders count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) begin: Instant,
    pub(super) end: Instant,
}

/// What came of it.
pub(super) struct Found {
    /// Orders that were answered in the window.
    pub(super) answered: u64,
    /// Microseconds of those that were to be sent in the window.
    pub(super) took: Histogram<u64>,
}

impl Found {
    /// The time within which a share of the orders was answered, in milliseconds.
    pub(super) fn ms(&self, share: f64) -> f64 {
        self.took.value_at_quantile(share) as f64 / 1e3
    }
}

/// What all connections share; they are on one thread.
struct Shared {
    load: Load,
    window: Window,
    opening: Semaphore,
    /// All connections are there.
    open: Barrier,
    /// When orders are sent evenly: the first of them, and when.
    first: Cell<Option<(u64, Instant)>>,
    next: Cell<u64>,
    found: RefCell<Found>,
}

impl Load {
    /// Sends orders until the window ends, and waits for the last answers; keeps the calling thread.
    ///
    /// # Errors
    /// An answer is not right, or does not come.
    pub(super) fn run(self, window: Window) -> anyhow::Result<Found> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let local = LocalSet::new();
        let sent = runtime.block_on(local.run_until(self.send(window)));
        Rc::into_inner(sent?)
            .map(|shared| shared.found.into_inner())
            .context("all connections have ended")
    }

    async fn send(self, window: Window) -> anyhow::Result<Rc<Shared>> {
        let connections = self.connections;
        let shared = Rc::new(Shared {
            load: self,
            window,
            opening: Semaphore::new(OPENING),
            open: Barrier::new(connections),
            first: Cell::new(None),
            next: Cell::new(0),
            found: RefCell::new(Found {
                answered: 0,
                took: Histogram::new_with_bounds(1, LONGEST, 3)?,
            }),
        });
        let mut running = JoinSet::new();
        for _ in 0..connections {
            let shared = Rc::clone(&shared);
            running.spawn_local(async move { shared.connection().await });
        }
        // Connections stay open until the last answer: closing them is work for whoever is measured.
        let mut done = Vec::with_capacity(connections);
        let all = async {
            while let Some(ended) = running.join_next().await {
                done.push(ended??);
            }
            anyhow::Ok(())
        };
        let limit = window.end + LINGER;
        timeout_at(limit, all)
            .await
            .with_context(|| format!("some of {} orders were not answered", shared.next.get()))??;
        Ok(shared)
    }
}

impl Shared {
    /// Sends orders until the window ends; gives the connection back.
    async fn connection(&self) -> anyhow::Result<Line> {
        let opening = self.opening.acquire().await?;
        let stream = TcpStream::connect(self.load.address).await?;
        stream.set_nodelay(true)?;
        let mut line = Line {
            stream,
            request: self.load.request.clone(),
            buffer: vec![0; 2_048],
        };
        // It is there for sure when something was answered.
        let mut opening = Some(opening);
        loop {
            let number = self.next.get();
            let intended = match (&opening, self.load.pace) {
                (None, Pace::Open { per_second }) => self.turn(number, per_second),
                (Some(_), Pace::Open { .. }) | (_, Pace::Closed) => Instant::now(),
            };
            if intended >= self.window.end || number >= self.load.most {
                return Ok(line);
            }
            self.next.set(number + 1);
            if intended > Instant::now() {
                sleep_until(intended).await;
            }
            line.exchange(wire::input(number), self.load.wanted).await?;
            if opening.take().is_some() && self.load.pace != Pace::Closed {
                self.open.wait().await;
            } else {
                self.note(intended, Instant::now());
            }
        }
    }

    /// When an order is to be sent, counted from the first after all connections were there.
    fn turn(&self, number: u64, per_second: f64) -> Instant {
        let (first, begun) = self.first.get().unwrap_or((number, Instant::now()));
        self.first.set(Some((first, begun)));
        begun + Duration::from_secs_f64((number - first) as f64 / per_second)
    }

    fn note(&self, intended: Instant, answered: Instant) {
        let window = self.window.begin..self.window.end;
        let mut found = self.found.borrow_mut();
        found.answered += u64::from(window.contains(&answered));
        if window.contains(&intended) {
            let took = answered.duration_since(intended).as_micros();
            let took = u64::try_from(took).unwrap_or(LONGEST);
            found.took.saturating_record(took.clamp(1, LONGEST));
        }
    }
}

/// A connection.
struct Line {
    stream: TcpStream,
    request: Request,
    buffer: Vec<u8>,
}

impl Line {
    /// Sends an order and reads its answer.
    async fn exchange(&mut self, input: u32, wanted: Wanted) -> anyhow::Result<()> {
        self.stream.write_all(self.request.with(input)).await?;
        let mut filled = 0;
        loop {
            if filled == self.buffer.len() {
                self.buffer.resize(2 * filled, 0);
            }
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            anyhow::ensure!(read > 0, "a connection was closed");
            filled += read;
            if wire::check(&self.buffer[..filled], wanted, input)? {
                return Ok(());
            }
        }
    }
}
