//! Calls `pong` once a second and sends its answer on.

use edgeless_function::{Answer, Function, Source, call, cast, delayed_cast, export};

struct Ping(u64);

impl Function for Ping {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        delayed_cast(1_000, "self", b"");
        Self(0)
    }

    fn cast(&mut self, _: Source, _: &[u8]) {
        self.0 += 1;
        let text = match call("pong", format!("ping {}", self.0).as_bytes()) {
            Answer::Reply(reply) => reply,
            Answer::NoReply => b"no reply".to_vec(),
            Answer::Error => b"error".to_vec(),
        };
        cast("out", &text);
        delayed_cast(1_000, "self", b"");
    }
}

export!(Ping);
