//! A task of orders: writes a word into a corner of a PNG picture.
//!
//! Its service has `"payload": "bytes"`. `init-payload` is the word, letters and digits; `EDGELESS` where there is none.

use edgeless_function::{Answer, Function, Level, Source, export, log, setting};
use edgeless_image::Picture;

struct Watermark(String);

impl Watermark {
    fn marked(&self, file: &[u8]) -> Result<Vec<u8>, String> {
        let mut picture = Picture::read(file)?;
        picture.mark(&self.0);
        picture.write()
    }
}

impl Function for Watermark {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self(setting(payload, "EDGELESS".to_owned()))
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        match self.marked(payload) {
            Ok(file) => Answer::Reply(file),
            Err(why) => {
                log(Level::Warn, "not marked", &why);
                Answer::Error
            }
        }
    }
}

export!(Watermark);
