//! Orders and their ends as bytes of HTTP/1.1: requests that are made once, responses of which only what is checked is
//! read. What is sent and received, and when, is the matter of `load`.

use std::{io::Write as _, ops::Range};

/// The smallest input: all have as many digits, so that a request is always as long.
const FIRST: u32 = 100_000;
/// How many inputs there are.
const INPUTS: u64 = 900_000;
/// The longest response.
const RESPONSE: usize = 64 << 10;

/// A response is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is not HTTP/1.1 with a length.
    #[error("`{0}` is no response with a length")]
    Unreadable(String),
    /// It is too long.
    #[error("a response is longer than {RESPONSE} bytes")]
    Long,
    /// It is another one than was asked for.
    #[error("the input {input} was answered with `{answer}`")]
    Wrong {
        /// What was asked.
        input: u32,
        /// The whole response.
        answer: String,
    },
}

/// What an order is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its result: (input + 2) · 2.
    Result,
    /// That it is accepted.
    Acceptance,
}

/// An order whose input is put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    bytes: Vec<u8>,
    input: Range<usize>,
}

impl Request {
    /// An order of two tasks `A` and `B`, to a path of a host.
    pub fn new(host: &str, path: &str) -> Self {
        let (before, after) = ("{\"input\":", ",\"tasks\":[\"A\",\"B\"]}");
        let digits = FIRST.to_string();
        let length = before.len() + digits.len() + after.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{before}"
        );
        let input = head.len()..head.len() + digits.len();
        let bytes = [head, digits, after.to_owned()].concat().into_bytes();
        Self { bytes, input }
    }

    /// The request with an input; it has six digits.
    pub fn with(&mut self, input: u32) -> &[u8] {
        let mut rest = input;
        for digit in self.bytes[self.input.clone()].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        &self.bytes
    }
}

/// The input of the order with this number.
pub fn input(number: u64) -> u32 {
    FIRST + u32::try_from(number % INPUTS).expect("the number of inputs fits")
}

/// Whether `bytes` are a whole response, and the one that is wanted.
///
/// # Errors
/// It is another one, or none at all.
pub fn check(bytes: &[u8], wanted: Wanted, input: u32) -> Result<bool, WireError> {
    let Some(Whole { status, body }) = whole(bytes)? else {
        return match bytes.len() > RESPONSE {
            true => Err(WireError::Long),
            false => Ok(false),
        };
    };
    let is_right = match wanted {
        Wanted::Acceptance => status == b"202",
        Wanted::Result => status == b"200" && has_result(body, input),
    };
    match is_right {
        true => Ok(true),
        false => Err(WireError::Wrong {
            input,
            answer: text(bytes),
        }),
    }
}

/// A whole response.
struct Whole<'a> {
    status: &'a [u8],
    body: &'a [u8],
}

/// The response, when all of it is there.
fn whole(bytes: &[u8]) -> Result<Option<Whole<'_>>, WireError> {
    let Some(head) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let unreadable = || WireError::Unreadable(text(bytes));
    let (head, body) = (&bytes[..head], &bytes[head + 4..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix(b"HTTP/1.1 ").and_then(|it| it.get(..3));
    let length = lines.find_map(|line| {
        const NAME: &[u8] = b"content-length:";
        let (name, value) = line.split_at_checked(NAME.len())?;
        let value = name.eq_ignore_ascii_case(NAME).then_some(value)?;
        std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
    });
    let (status, length): (_, usize) = status.zip(length).ok_or_else(unreadable)?;
    if body.len() > length {
        return Err(unreadable());
    }
    Ok((body.len() == length).then_some(Whole { status, body }))
}

/// Whether the member `result` is what comes of an input.
fn has_result(body: &[u8], input: u32) -> bool {
    let mut member = [0; 32];
    let mut left = &mut member[..];
    let written = write!(left, "\"result\":{}", (u64::from(input) + 2) * 2);
    let left = left.len();
    let member = &member[..member.len() - left];
    let after = find(body, member).and_then(|at| body.get(at + member.len()));
    written.is_ok() && matches!(after, Some(b',' | b'}'))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|it| it == part)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
