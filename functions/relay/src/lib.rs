//! Sends on what it gets: the link of the chains that are measured.

use edgeless_function::{Function, Source, cast, export};

struct Relay;

impl Function for Relay {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        cast("out", payload);
    }
}

export!(Relay);
