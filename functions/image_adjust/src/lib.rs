//! A task of orders: changes brightness and contrast of a PNG picture.
//!
//! Its service has `"payload": "bytes"`. `init-payload` is `{"brightness": 20, "contrast": 1.2}`, see `edgeless_image`.

use edgeless_function::{Answer, Function, Level, Source, export, log, refuse};
use edgeless_image::{Adjustment, Picture};

struct Adjust(Adjustment);

impl Adjust {
    fn adjusted(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        let mut picture = Picture::read(file)?;
        picture.adjust(self.0);
        picture.write()
    }
}

impl Function for Adjust {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        let adjustment = Adjustment::read(payload);
        Self(adjustment.unwrap_or_else(|why| refuse(&why)))
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        match self.adjusted(payload) {
            Ok(file) => Answer::Reply(file),
            Err(why) => {
                log(Level::Warn, "not adjusted", &why);
                Answer::Error
            }
        }
    }
}

export!(Adjust);
