//! Passes numbers (text) of at least the threshold in `init-payload` (0 where there is none); what is
//! no number is logged.

use edgeless_function::{Function, Level, Source, cast, export, log, setting};

struct Filter(f64);

fn number(payload: &[u8]) -> Option<f64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

impl Function for Filter {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self(setting(payload, 0.0))
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        match number(payload) {
            Some(number) if number >= self.0 => cast("out", payload),
            Some(_) => {}
            None => log(Level::Warn, "filter", "not a number"),
        }
    }
}

export!(Filter);
