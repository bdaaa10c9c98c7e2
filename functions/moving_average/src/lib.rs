//! The mean of the last numbers (text); `init-payload` says of how many, 1 to 10,000 (10 where there
//! is none). What is no number is logged.

use std::collections::VecDeque;

use edgeless_function::{Function, Level, Source, cast, export, log, setting};

struct MovingAverage {
    size: usize,
    last: VecDeque<f64>,
}

fn number(payload: &[u8]) -> Option<f64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

impl Function for MovingAverage {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self {
            size: setting(payload, 10_usize).clamp(1, 10_000),
            last: VecDeque::new(),
        }
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        let Some(number) = number(payload) else {
            return log(Level::Warn, "moving_average", "not a number");
        };
        if self.last.len() == self.size {
            self.last.pop_front();
        }
        self.last.push_back(number);
        let mean = self.last.iter().sum::<f64>() / self.last.len() as f64;
        cast("out", mean.to_string().as_bytes());
    }
}

export!(MovingAverage);
