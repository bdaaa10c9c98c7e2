//! The stream to ε-CON: opened anew for ever, until the instance is to end.

use std::{pin::pin, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use edgeless_dataflow::Port;
use edgeless_proto::v1::{self, order_tasks_client::OrderTasksClient};
use edgeless_types::resource::order_source::Settings;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Streaming, transport::Endpoint};

use super::{State, calls::Calls};
use crate::{
    grpc::MAX_MESSAGE_BYTES,
    resource::{Counters, mailbox::Open},
    words::in_words,
};

/// How long a connection may take, and then ε-CON to answer.
const CONNECT: Duration = Duration::from_secs(2);
/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long ε-CON may take to end its half of a stream, and what is left when the instance has ended.
const LINGER: Duration = Duration::from_secs(1);
/// Messages that wait for the connection.
const MESSAGES: usize = 4;
/// While so many outcomes are not sent, no more tasks are read.
const UNSENT: usize = 4_096;

/// What one instance needs to serve.
pub(super) struct Source {
    pub(super) settings: Settings,
    pub(super) endpoint: Endpoint,
    pub(super) host: String,
    pub(super) port: Port,
    pub(super) counters: Arc<Counters>,
    pub(super) open: Arc<Open>,
    pub(super) state: watch::Receiver<State>,
}

/// Messages out, messages in.
type Connection = (mpsc::Sender<v1::FromSource>, Streaming<v1::ToSource>);

impl Source {
    /// Serves until the instance is to end and what is under way is answered; when it has ended, what is
    /// left has a moment.
    pub(super) async fn run(self, stopped: CancellationToken) {
        let over = async {
            stopped.cancelled().await;
            tokio::time::sleep(LINGER).await;
        };
        let service = self.settings.service.clone();
        tokio::select! {
            () = self.serve() => {}
            () = over => tracing::debug!(service, "a stream of tasks was cut off"),
        }
    }

    async fn serve(mut self) {
        let closing = self.open.closing().clone();
        let (mut pauses, mut failing) = (pauses(), false);
        loop {
            let Some(connected) = closing.run_until_cancelled(self.connect()).await else {
                return;
            };
            let (service, url) = (&self.settings.service, &self.settings.url);
            match connected {
                Ok(connection) => {
                    tracing::info!(service, url, "takes tasks of orders");
                    (pauses, failing) = (self::pauses(), false);
                    self.exchange(connection).await;
                }
                Err(reason) if !failing => {
                    failing = true;
                    tracing::warn!(service, url, reason, "no tasks of orders; trying on");
                }
                Err(reason) => tracing::debug!(service, url, reason, "no tasks of orders yet"),
            }
            let pause = tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1));
            if closing.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn connect(&mut self) -> Result<Connection, String> {
        let channel = self
            .endpoint
            .clone()
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5))
            .connect()
            .await
            .map_err(in_words)?;
        let (messages, stream) = mpsc::channel(MESSAGES);
        let first = self.first();
        messages
            .try_send(first)
            .map_err(|error| error.to_string())?;
        let mut client =
            OrderTasksClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let opened = tokio::time::timeout(CONNECT, client.serve(ReceiverStream::new(stream)));
        let tasks = opened
            .await
            .map_err(|_| "it does not answer".to_owned())?
            .map_err(|status| status.to_string())?;
        Ok((messages, tasks.into_inner()))
    }

    /// The message that opens a stream.
    fn first(&mut self) -> v1::FromSource {
        let state = *self.state.borrow_and_update();
        let settings = &self.settings;
        v1::FromSource {
            hello: Some(v1::SourceHello {
                service: settings.service.clone(),
                source: Some(self.port.instance().into()),
                host: self.host.clone(),
                max_in_flight: number(settings.max_in_flight),
            }),
            outcomes: Vec::new(),
            instances: Some(number(state.instances)),
            open: (!state.open).then_some(false),
        }
    }

    /// Takes tasks until the stream breaks, or the instance is to end and all of them are answered.
    async fn exchange(&mut self, (messages, mut tasks): Connection) {
        let closing = self.open.closing().clone();
        let mut closed = pin!(closing.cancelled());
        let (port, open) = (self.port.clone(), Arc::clone(&self.open));
        let mut calls = Calls::new(port, Arc::clone(&self.counters), open);
        let (mut news, mut said_closing) = (v1::FromSource::default(), false);
        while !(said_closing && is_nothing(&news) && calls.is_empty()) {
            let has_news = !is_nothing(&news) || calls.unsent() > 0;
            tokio::select! {
                biased;
                () = &mut closed, if !said_closing => {
                    (news.open, said_closing) = (Some(false), true);
                }
                Ok(()) = self.state.changed(), if !said_closing => {
                    let state = *self.state.borrow_and_update();
                    news.instances = Some(number(state.instances));
                    news.open = Some(state.open);
                }
                place = messages.reserve(), if has_news => {
                    let Ok(place) = place else { return };
                    let outcomes = calls.outcomes();
                    place.send(v1::FromSource { outcomes, ..std::mem::take(&mut news) });
                }
                () = calls.over(), if calls.is_running() => {}
                message = tasks.message(), if calls.unsent() < UNSENT => match message {
                    Ok(Some(message)) => self.take(message, &mut calls),
                    Ok(None) => return self.broken("ε-CON has ended it"),
                    Err(status) => return self.broken(&status.to_string()),
                },
            }
        }
        drop(messages);
        // Dropped at once, a stream takes along what is not on its way yet.
        let end = async { while let Ok(Some(_)) = tasks.message().await {} };
        if tokio::time::timeout(LINGER, end).await.is_err() {
            tracing::debug!("ε-CON has not ended its half of a stream");
        }
    }

    /// Takes all tasks of a message before any of them is called.
    fn take(&self, message: v1::ToSource, calls: &mut Calls) {
        let is_open = self.state.borrow().open;
        let most = self.settings.max_in_flight;
        for task in message.tasks {
            let refusal = if self.open.closing().is_cancelled() {
                Some("the source is about to end".to_owned())
            } else if !is_open {
                Some("the function takes nothing now".to_owned())
            } else if calls.number() >= most {
                Some(format!("{most} tasks are under way, as many as may be"))
            } else {
                None
            };
            calls.take(task, refusal);
        }
        for ticket in message.cancelled {
            calls.cancel(ticket);
        }
    }

    fn broken(&self, reason: &str) {
        let (service, url) = (&self.settings.service, &self.settings.url);
        tracing::info!(service, url, reason, "a stream of tasks is over");
    }
}

fn is_nothing(news: &v1::FromSource) -> bool {
    news.instances.is_none() && news.open.is_none()
}

fn number(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn pauses() -> backon::ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(PAUSES.0)
        .with_max_delay(PAUSES.1)
        .without_max_times()
        .with_jitter()
        .build()
}
