//! Does nothing.

use edgeless_function::{Function, Source, export};

struct Noop;

impl Function for Noop {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}
}

export!(Noop);
