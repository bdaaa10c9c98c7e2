//! `http-egress`: a message is an HTTP request to the outside; its response is the answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use edgeless_dataflow::{Answer, Factory};
use edgeless_types::{
    message::Refusal,
    resource::{Configurations, http_egress::Settings},
};
use http::{HeaderMap, StatusCode, header::RETRY_AFTER};
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
        .connect_timeout(Duration::from_secs(10))
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
                match egress.handle(&delivery.payload).await {
                    // Whoever answers so wants to be asked again, and a message that is delivered at
                    // least once is.
                    (_, Some(later)) if delivery.tracked.is_some() => {
                        replies.refuse(delivery, later).await;
                    }
                    (answer, _) => replies.finish([(delivery, answer)]).await,
                }
                drop(permit);
            });
        }
    }

    /// The answer; and where the response says that another time may be better, when.
    async fn handle(&self, payload: &[u8]) -> (Answer, Option<Refusal>) {
        match self.send(payload).await {
            Ok((response, later)) => {
                self.counters
                    .egress_requests
                    .fetch_add(1, Ordering::Relaxed);
                (Answer::Reply(response), later)
            }
            Err(message) => {
                self.counters.egress_errors.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(message, "an HTTP request failed");
                (Answer::Error(message), None)
            }
        }
    }

    async fn send(&self, payload: &[u8]) -> Result<(Bytes, Option<Refusal>), String> {
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
        let later = later(status, headers);
        let response = http_json::write_response(status, headers, &body, self.settings.format);
        Ok((response, later))
    }
}

/// What a response says about trying again: those with a status that passes may be asked again, after
/// the seconds of `Retry-After` where it has some.
fn later(status: StatusCode, headers: &HeaderMap) -> Option<Refusal> {
    let passes = matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504);
    let seconds = headers.get(RETRY_AFTER).and_then(|it| it.to_str().ok());
    passes.then(|| Refusal {
        retry_after: seconds
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs),
        ..Refusal::passing(format!("the response has the status {status}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_say_when_to_come_again() {
        let later = |status: u16, after: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(after) = after {
                headers.insert(RETRY_AFTER, after.parse().unwrap());
            }
            later(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(later(200, Some("3")), None);
        assert_eq!(later(404, None), None);
        let busy = later(503, Some("3")).unwrap();
        assert_eq!(
            (busy.permanent, busy.retry_after),
            (false, Some(Duration::from_secs(3)))
        );
        let date = later(429, Some("Wed, 21 Oct 2026 07:28:00 GMT")).unwrap();
        assert_eq!(date.retry_after, None);
    }
}
