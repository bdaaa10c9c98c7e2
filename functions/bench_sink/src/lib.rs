//! Counts events; a call is answered with the count.

use edgeless_function::{Answer, Function, Source, export};

struct BenchSink(u64);

impl Function for BenchSink {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self(0)
    }

    fn cast(&mut self, _: Source, _: &[u8]) {
        self.0 += 1;
    }

    fn call(&mut self, _: Source, _: &[u8]) -> Answer {
        Answer::Reply(self.0.to_string().into_bytes())
    }
}

export!(BenchSink);
