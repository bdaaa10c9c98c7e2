//! A task of orders: adds a number.
//! `init-payload` is that number, or `{"by": 2, "name": "A"}` with the name of the service as well; 2 where there
//! is none. Understands numbers and both messages of orders, see `edgeless_order_step`.

use edgeless_function::{Answer, Function, Source, export, refuse};
use edgeless_order_step::{Operation, Step};

struct Add(Step);

impl Function for Add {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        let step = Step::read(Operation::Add, payload);
        Self(step.unwrap_or_else(|why| refuse(&why)))
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        let answer = self.0.answer(payload);
        answer.map_or(Answer::Error, |answer| Answer::Reply(answer.into_bytes()))
    }
}

export!(Add);
