//! A TCP proxy that can be cut, for partitions: nothing passes then, nothing is closed, and what is under
//! way passes when it is whole again. It can be slow as well.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
};

use crate::process::free_port;

/// How a link is.
#[derive(Clone, Copy, Debug)]
struct Link {
    whole: bool,
    /// How long what is read at once, 64 KiB at most, takes to pass.
    delay: Duration,
}

/// A proxy to one address; ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub url: String,
    link: watch::Sender<Link>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy that leads to this URL, whether anything is there already or not.
    ///
    /// # Errors
    /// The URL has no address, or no port is free.
    pub async fn start(to: &str) -> anyhow::Result<Self> {
        let to: SocketAddr = to
            .trim_start_matches("http://")
            .parse()
            .context(to.to_owned())?;
        let port = free_port()?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let (link, state) = watch::channel(Link {
            whole: true,
            delay: Duration::ZERO,
        });
        Ok(Self {
            url: format!("http://127.0.0.1:{port}"),
            link,
            task: tokio::spawn(serve(listener, to, state)),
        })
    }

    /// Lets nothing pass.
    pub fn cut(&self) {
        self.link.send_modify(|link| link.whole = false);
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        self.link.send_modify(|link| link.whole = true);
    }

    /// From now on what is read at once, 64 KiB at most, takes so long to pass.
    pub fn slow(&self, delay: Duration) {
        self.link.send_modify(|link| link.delay = delay);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, to: SocketAddr, state: watch::Receiver<Link>) {
    while let Ok((near, _)) = listener.accept().await {
        let state = state.clone();
        // Ends with its connection, or when the proxy is dropped and the channel with it.
        tokio::spawn(async move {
            if let Err(error) = pass(near, to, state).await {
                eprintln!("proxy to {to}: {error:#}");
            }
        });
    }
}

async fn pass(
    near: TcpStream,
    to: SocketAddr,
    mut state: watch::Receiver<Link>,
) -> anyhow::Result<()> {
    state.wait_for(|link| link.whole).await?;
    let connect = TcpStream::connect(to);
    let far = tokio::time::timeout(Duration::from_secs(5), connect).await??;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    // When one direction ends so does the other.
    tokio::select! {
        ended = copy(near_read, far_write, state.clone()) => ended,
        ended = copy(far_read, near_write, state) => ended,
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<Link>,
) -> anyhow::Result<()> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        // A connection that is closed or reset ends here.
        let Ok(number) = from.read(&mut bytes).await else {
            return Ok(());
        };
        let delay = state.wait_for(|link| link.whole).await?.delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if number == 0 || to.write_all(&bytes[..number]).await.is_err() {
            return Ok(());
        }
    }
}
