//! The load of the suite `orders`: what it sends, and that it takes nothing for right that is not.

use edgeless_tests::bench::orders::wire::{Request, Wanted, WireError, check, input};

fn response(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn answered(status: &str, body: &str, wanted: Wanted) -> Result<bool, WireError> {
    check(&response(status, body), wanted, 100_005)
}

#[test]
fn a_request_is_the_same_but_for_its_input() {
    let mut request = Request::new("bench", "/api/v1/orders");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (first, last) = (text(request.with(100_000)), text(request.with(999_999)));
    assert!(first.starts_with("POST /api/v1/orders HTTP/1.1\r\nhost: bench\r\n"));
    let (head, body) = first.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, r#"{"input":100000,"tasks":["A","B"]}"#);
    assert!(head.contains(&format!("content-length: {}", body.len())));
    assert_eq!(first.replace("100000", "999999"), last);
}

#[test]
fn inputs_begin_anew_when_all_were_used() {
    assert_eq!(
        [0, 1, 899_999, 900_000].map(input),
        [100_000, 100_001, 999_999, 100_000]
    );
}

#[test]
fn a_response_is_whole_with_its_last_byte_only() {
    let bytes = response("200 OK", r#"{"id":"x","result":200014}"#);
    for end in 0..bytes.len() {
        assert_eq!(
            check(&bytes[..end], Wanted::Result, 100_005),
            Ok(false),
            "{end}"
        );
    }
    assert_eq!(check(&bytes, Wanted::Result, 100_005), Ok(true));
}

#[test]
fn nothing_but_the_right_result_is_right() {
    let wrong = |status, body| {
        let answer = answered(status, body, Wanted::Result);
        assert!(matches!(answer, Err(WireError::Wrong { .. })), "{body}");
    };
    wrong("200 OK", r#"{"result":200012}"#);
    wrong("200 OK", r#"{"result":2000140}"#);
    wrong("200 OK", r#"{"result":200014.5}"#);
    wrong("200 OK", r#"{"state":"failed"}"#);
    wrong("202 Accepted", r#"{"result":200014}"#);
    wrong("500 Internal Server Error", r#"{"result":200014}"#);
    assert_eq!(
        answered("200 OK", r#"{"result":200014,"x":1}"#, Wanted::Result),
        Ok(true)
    );
}

#[test]
fn an_order_is_accepted_with_202_only() {
    let accepted = |status| answered(status, r#"{"id":"x"}"#, Wanted::Acceptance);
    assert_eq!(accepted("202 Accepted"), Ok(true));
    assert!(accepted("200 OK").is_err());
    assert!(accepted("429 Too Many Requests").is_err());
}

#[test]
fn what_is_no_response_is_refused() {
    for text in [
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{}",
    ] {
        let answer = check(text.as_bytes(), Wanted::Result, 100_005);
        assert!(
            matches!(answer, Err(WireError::Unreadable(_))),
            "{text:?}: {answer:?}"
        );
    }
    let long = vec![b'x'; 100_000];
    assert_eq!(check(&long, Wanted::Result, 100_005), Err(WireError::Long));
}
