//! Tasks at endpoints that answer oddly.

use std::time::Duration;

use edgeless_orders::json::Json;
use edgeless_types::{OrderId, Timestamp};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

/// What comes of a task whose endpoint answers with this text; `{here}` in it is its own URL.
async fn outcome(answer: &str) -> Outcome {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let answer = answer.replace("{here}", &url);
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            // It may have been sent in parts, and what it says does not matter.
            let count = stream.read(&mut request).await.unwrap();
            assert!(count > 0);
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    let handout = Handout {
        ticket: Ticket(1),
        id: OrderId::at(Timestamp::from_nanos(1), &mut SmallRng::seed_from_u64(1)),
        task: "A".into(),
        undo: false,
        attempt: 1,
        payload: Json::parse("5").unwrap(),
        form: Payload::Json,
        timeout: Duration::from_secs(60),
    };
    let (_, outcome) = call(client(), url.into(), handout).await;
    serving.abort();
    outcome
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: {here}other\r\ncontent-length: 0\r\n\r\n";
    let outcome = outcome(answer).await;
    assert_eq!(outcome, Outcome::Refused("302 Found".to_owned()));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_an_attempt_in_vain_and_not_the_last_one() {
    let body = "1".repeat(RESPONSE_BYTES + 1);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let outcome = outcome(&answer).await;
    let Outcome::Failed(reason) = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(
        reason.contains("the response is longer than 1048576"),
        "{reason}"
    );
}
