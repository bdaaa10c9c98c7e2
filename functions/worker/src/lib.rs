//! Works on what it gets and sends it on, or answers with it: `init-payload` says for how many thousand rounds of arithmetic (1 where there
//! is none). A thousand rounds take about a microsecond.

use edgeless_function::{Answer, Function, Source, cast, export, setting};

struct Worker {
    thousands: u64,
}

impl Function for Worker {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self {
            thousands: setting(payload, 1),
        }
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        self.work(payload);
        cast("out", payload);
    }

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        self.work(payload);
        Answer::Reply(payload.to_vec())
    }
}

impl Worker {
    fn work(&self, payload: &[u8]) {
        let mut number = payload.len() as u64;
        for round in 0..self.thousands * 1_000 {
            number = std::hint::black_box(number.wrapping_mul(31).wrapping_add(round));
        }
    }
}

export!(Worker);
