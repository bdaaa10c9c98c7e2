//! Answers a call with what it got, and `pong`.

use edgeless_function::{Answer, Function, Source, export};

struct Pong;

impl Function for Pong {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        let mut reply = payload.to_vec();
        reply.extend_from_slice(b" pong");
        Answer::Reply(reply)
    }
}

export!(Pong);
