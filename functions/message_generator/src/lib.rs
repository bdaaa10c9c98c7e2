//! Sends a growing number, with the period in milliseconds in `init-payload` (1,000 where there is
//! none).

use edgeless_function::{Function, Source, cast, delayed_cast, export, setting};

struct MessageGenerator {
    period_ms: u64,
    next: u64,
}

impl Function for MessageGenerator {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        let period_ms = setting(payload, 1_000).max(1);
        delayed_cast(period_ms, "self", b"");
        Self { period_ms, next: 0 }
    }

    fn cast(&mut self, _: Source, _: &[u8]) {
        cast("out", self.next.to_string().as_bytes());
        self.next += 1;
        delayed_cast(self.period_ms, "self", b"");
    }
}

export!(MessageGenerator);
