//! `http-egress`: a message is an HTTP request to the outside; its response is the answer.

use std::sync::{Arc, atomic::Ordering};

use bytes::{Bytes, BytesMut};
use edgeless_dataflow::{Answer, Factory};
use edgeless_types::resource::{Configurations, http_egress::Settings};
use reqwest::{Client, Url, redirect::Policy};
use tokio::sync::Semaphore;

use super::{
    Counters, http_json,
    mailbox::{self, Mailbox, Owner, Replies},
};
use crate::words::in_words;

/// The client all instances share, with its pool of connections. It follows no redirects: where
/// a request may go is decided per instance.
///
/// # Errors
/// The TLS of the system cannot be used.
pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder()
        .redirect(Policy::none())
        .tcp_nodelay(true)
        .connect_timeout(std::time::Duration::from_secs(10))
        .pool_max_idle_per_host(64)
        .build()
}

/// Prepares an instance.
///
/// # Errors
/// A setting is wrong; in words.
pub(super) fn prepare(
    client: Client,
    configurations: &Configurations,
    owner: Owner,
    counters: Arc<Counters>,
) -> Result<Factory, String> {
    let settings = Settings::read(configurations).map_err(|problem| problem.to_string())?;
    let egress = Arc::new(Egress {
        client,
        settings,
        counters,
    });
    Ok(mailbox::factory(owner.clone(), |mailbox, replies| {
        egress.run(mailbox, replies, owner)
    }))
}

struct Egress {
    client: Client,
    settings: Settings,
    counters: Arc<Counters>,
}

impl Egress {
    async fn run(self: Arc<Self>, mut mailbox: Mailbox, replies: Replies, owner: Owner) {
        let permits = Arc::new(Semaphore::new(self.settings.max_in_flight));
        let mut next = Vec::with_capacity(1);
        loop {
            // First a free place, then a message: what waits, waits where its sender notices.
            let permit = Arc::clone(&permits).acquire_owned().await;
            let permit = permit.expect("the semaphore is never closed");
            if mailbox.take(&mut next, 1).await == 0 {
                return;
            }
            let Some(delivery) = next.pop() else {
                continue;
            };
            let (egress, replies) = (Arc::clone(&self), replies.clone());
            owner.spawn(async move {
                let answer = egress.handle(&delivery.payload).await;
                replies.finish([(delivery, answer)]).await;
                drop(permit);
            });
        }
    }

    async fn handle(&self, payload: &[u8]) -> Answer {
        match self.send(payload).await {
            Ok(response) => {
                self.counters
                    .egress_requests
                    .fetch_add(1, Ordering::Relaxed);
                Answer::Reply(response)
            }
            Err(message) => {
                self.counters.egress_errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(message, "an HTTP request failed");
                Answer::Error(message)
            }
        }
    }

    async fn send(&self, payload: &[u8]) -> Result<Bytes, String> {
        let request = http_json::read_request(payload)?;
        let url =
            Url::parse(&request.url).map_err(|error| format!("`{}`: {error}", request.url))?;
        let host = url.host_str().unwrap_or_default();
        let allowed = &self.settings.allowed_hosts;
        if !allowed
            .iter()
            .any(|it| it.allows(host.trim_matches(['[', ']'])))
        {
            return Err(format!("host `{host}` is not among the allowed_hosts"));
        }
        let sending = self
            .client
            .request(request.method, url)
            .headers(request.headers)
            .body(request.body)
            .timeout(self.settings.timeout)
            .send();
        let mut response = sending.await.map_err(in_words)?;
        let limit = self.settings.max_body_bytes;
        let too_long = || format!("the response body is longer than {limit} bytes");
        if response
            .content_length()
            .is_some_and(|length| length > limit as u64)
        {
            return Err(too_long());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(in_words)? {
            if body.len() + chunk.len() > limit {
                return Err(too_long());
            }
            body.extend_from_slice(&chunk);
        }
        let (status, headers) = (response.status(), response.headers());
        Ok(http_json::write_response(
            status,
            headers,
            &body,
            self.settings.format,
        ))
    }
}
