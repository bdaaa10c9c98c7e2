//! Multiplies a vector (numbers separated by commas) with the one in `init-payload`, element by
//! element, and sends the sum of the products on.

use edgeless_function::{Answer, Function, Source, cast, export};

struct VectorMultiply(Vec<f64>);

fn vector(payload: &[u8]) -> Vec<f64> {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    text.split(',')
        .filter_map(|number| number.trim().parse().ok())
        .collect()
}

impl VectorMultiply {
    fn product(&self, payload: &[u8]) -> String {
        let products = self.0.iter().zip(vector(payload)).map(|(a, b)| a * b);
        products.sum::<f64>().to_string()
    }
}

impl Function for VectorMultiply {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self(vector(payload))
    }

    fn cast(&mut self, _: Source, payload: &[u8]) {
        cast("out", self.product(payload).as_bytes());
    }

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        Answer::Reply(self.product(payload).into_bytes())
    }
}

export!(VectorMultiply);
