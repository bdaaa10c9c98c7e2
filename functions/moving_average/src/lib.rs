//! The mean of the last numbers; `init-payload` says of how many (10 where there is none).

use std::collections::VecDeque;

use edgeless_function::{Function, Source, cast, export};

struct MovingAverage {
    size: usize,
    last: VecDeque<f64>,
}

fn number(payload: &[u8]) -> Option<f64> {
    std::str::from_utf8(payload).ok()?.trim().parse().ok()
}

impl Function for MovingAverage {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        let size = number(payload)
            .map_or(10, |number| number as usize)
            .clamp(1, 10_000);
        Self {
            size,
            last: VecDeque::new(),
        }
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        let Some(number) = number(payload) else {
            return;
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
