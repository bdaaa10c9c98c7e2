//! Counts its events, keeps the count over restarts and migrations, and sends it on.

use edgeless_function::{Answer, Function, Source, cast, export, sync};

struct Counter(u64);

impl Counter {
    fn next(&mut self) -> String {
        self.0 += 1;
        sync(&self.0.to_le_bytes());
        self.0.to_string()
    }
}

impl Function for Counter {
    fn init(_: &[u8], state: Option<&[u8]>) -> Self {
        Self(
            state
                .and_then(|state| state.try_into().ok())
                .map_or(0, u64::from_le_bytes),
        )
    }

    fn cast(&mut self, _: Source, _: &[u8]) {
        let count = self.next();
        cast("out", count.as_bytes());
    }

    fn call(&mut self, _: Source, _: &[u8]) -> Answer {
        Answer::Reply(self.next().into_bytes())
    }
}

export!(Counter);
