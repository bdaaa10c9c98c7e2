//! Sends 64-byte events: as many a second as `init-payload` says; 0 means as fast as the chain takes
//! them.

use edgeless_function::{Function, Source, cast, delayed_cast, export, setting};

struct BenchSource {
    per_second: u64,
}

/// Events in one burst at full speed; between bursts the host sees to the others.
const BURST: u64 = 256;

impl Function for BenchSource {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        delayed_cast(100, "self", b"");
        Self {
            per_second: setting(payload, 0),
        }
    }

    fn cast(&mut self, _: Source, _: &[u8]) {
        let event = [7_u8; 64];
        if self.per_second == 0 {
            for _ in 0..BURST {
                cast("out", &event);
            }
            cast("self", b"");
        } else {
            cast("out", &event);
            delayed_cast((1_000 / self.per_second).max(1), "self", b"");
        }
    }
}

export!(BenchSource);
