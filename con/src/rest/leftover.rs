//! What a request still has to say when it is answered: it is read and thrown away. A client that is still sending
//! would find its connection closed instead of the answer, and the next request on it would fail.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
};
use futures_util::{Stream, StreamExt};
use http::header::CONTENT_LENGTH;

/// Bodies up to this are read whole by whoever answers, or stand in the buffer of the connection.
const SMALL: u64 = 16 << 10;
/// So much is read at most, within so much time.
const MOST: usize = 64 << 20;
const TIME: Duration = Duration::from_secs(10);

/// A request of which is read what is left when it is answered.
pub(super) fn read(request: Request) -> Request {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_small = match length {
        Some(length) => length <= SMALL,
        None => axum::body::HttpBody::is_end_stream(request.body()),
    };
    match is_small {
        true => request,
        false => request.map(|body| Body::from_stream(Leftover(Some(body.into_data_stream())))),
    }
}

/// A body that is read to its end, whoever drops it.
struct Leftover(Option<BodyDataStream>);

impl Stream for Leftover {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let next = body.poll_next_unpin(context);
        if !matches!(next, Poll::Pending | Poll::Ready(Some(Ok(_)))) {
            self.0 = None;
        }
        next
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        // Without a runtime everything ends anyway.
        if let Some(mut body) = self.0.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(tokio::time::timeout(TIME, async move {
                let mut bytes = 0;
                while let Some(Ok(chunk)) = body.next().await
                    && bytes < MOST
                {
                    bytes += chunk.len();
                }
            }));
        }
    }
}
