//! Misbehaves on request, for tests: `trap`, `loop`, `memory`, `recurse`; anything else it echoes.

use edgeless_function::{Answer, Function, Source, export};

struct Trouble;

fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        depth
    } else {
        std::hint::black_box(recurse(depth + 1)) + 1
    }
}

fn make_trouble(payload: &[u8]) {
    match payload {
        b"trap" => panic!("asked to"),
        b"loop" => loop {
            std::hint::black_box(());
        },
        b"memory" => {
            let mut hoard = Vec::new();
            loop {
                hoard.push(vec![1_u8; 1 << 20]);
                std::hint::black_box(&hoard);
            }
        }
        b"recurse" => {
            std::hint::black_box(recurse(0));
        }
        _ => {}
    }
}

impl Function for Trouble {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        make_trouble(payload);
    }

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        make_trouble(payload);
        Answer::Reply(payload.to_vec())
    }
}

export!(Trouble);
