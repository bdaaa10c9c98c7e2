//! Multiplies a vector (numbers separated by commas) with the one in `init-payload`, element by
//! element, and sends the sum of the products on. What is no vector of the same length is logged.

use std::{num::ParseFloatError, str::FromStr};

use edgeless_function::{Answer, Function, Level, Source, cast, export, log, setting};

#[derive(Default)]
struct Vector(Vec<f64>);

impl FromStr for Vector {
    type Err = ParseFloatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split(',').map(|number| number.trim().parse());
        numbers.collect::<Result<_, _>>().map(Self)
    }
}

struct VectorMultiply(Vector);

impl VectorMultiply {
    fn product(&self, payload: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(payload).ok();
        let vector = text.and_then(|text| text.parse::<Vector>().ok());
        let Some(vector) = vector.filter(|vector| vector.0.len() == self.0.0.len()) else {
            let problem = format!("not a vector of {} numbers", self.0.0.len());
            log(Level::Warn, "vector_multiply", &problem);
            return None;
        };
        let products = self.0.0.iter().zip(vector.0).map(|(a, b)| a * b);
        Some(products.sum::<f64>().to_string())
    }
}

impl Function for VectorMultiply {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self(setting(payload, Vector::default()))
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        if let Some(product) = self.product(payload) {
            cast("out", product.as_bytes());
        }
    }

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        self.product(payload)
            .map_or(Answer::Error, |product| Answer::Reply(product.into_bytes()))
    }
}

export!(VectorMultiply);
