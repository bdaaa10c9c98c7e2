//! Doubles a number (text) and sends it on; what is no number is logged.

use edgeless_function::{Answer, Function, Level, Source, cast, export, log};

struct Double;

fn number(payload: &[u8]) -> Option<f64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

fn double(payload: &[u8]) -> Option<String> {
    let doubled = number(payload).map(|number| (number * 2.0).to_string());
    if doubled.is_none() {
        log(Level::Warn, "double", "not a number");
    }
    doubled
}

impl Function for Double {
    fn init(_: &[u8], _: Option<&[u8]>) -> Self {
        Self
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        if let Some(doubled) = double(payload) {
            cast("out", doubled.as_bytes());
        }
    }

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        double(payload).map_or(Answer::Error, |doubled| Answer::Reply(doubled.into_bytes()))
    }
}

export!(Double);
