//! Answers a call with what it got.

use edgeless_function::{Answer, Function, Source, export};

struct Echo;

impl Function for Echo {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        Answer::Reply(payload.to_vec())
    }
}

export!(Echo);
