//! Calls `out` again and again, with a pause in milliseconds that `init-payload` says (1 where there is
//! none).

use edgeless_function::{Function, Source, call, delayed_cast, export, setting};

struct BenchCaller {
    pause_ms: u64,
}

impl Function for BenchCaller {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        delayed_cast(100, "self", b"");
        Self {
            pause_ms: setting(payload, 1),
        }
    }

    fn cast(&mut self, _: Source, _: &[u8]) {
        call("out", &[7; 64]);
        delayed_cast(self.pause_ms, "self", b"");
    }
}

export!(BenchCaller);
