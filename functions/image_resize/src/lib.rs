//! A task of orders: gives a PNG picture another width; its height follows.
//!
//! Its service has `"payload": "bytes"`. `init-payload` is the width in pixels; 320 where there is none.

use edgeless_function::{Answer, Function, Level, Source, export, log, setting};
use edgeless_image::Picture;

struct Resize(usize);

impl Function for Resize {
    fn init(payload: &[u8], _: Option<&[u8]>) -> Self {
        Self(setting(payload, 320))
    }

    fn cast(&mut self, _: Source, _: &[u8]) {}

    fn call(&mut self, _: Source, payload: &[u8]) -> Answer {
        let resized = Picture::read(payload).and_then(|picture| picture.resized(self.0)?.write());
        match resized {
            Ok(file) => Answer::Reply(file),
            Err(why) => {
                log(Level::Warn, "not resized", &why);
                Answer::Error
            }
        }
    }
}

export!(Resize);
