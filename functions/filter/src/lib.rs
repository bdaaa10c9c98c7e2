//! Passes numbers of at least the threshold in `init-payload` (0 where there is none).

use edgeless_function::{Function, Source, cast, export};

struct Filter(f64);

fn number(payload: &[u8]) -> Option<f64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

impl Function for Filter {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self(number(payload).unwrap_or(0.0))
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        if number(payload).is_some_and(|number| number >= self.0) {
            cast("out", payload);
        }
    }
}

export!(Filter);
