//! Does nothing, as a component.

wit_bindgen::generate!({ path: "../../node/wit", world: "function" });

struct Noop;

impl Guest for Noop {
    fn init(_: Option<Vec<u8>>, _: Option<Vec<u8>>) {}

    fn handle_cast(_: InstanceId, _: Vec<u8>) {}

    fn handle_call(_: InstanceId, _: Vec<u8>) -> Result<Option<Vec<u8>>, String> {
        Ok(None)
    }

    fn stop() {}
}

export!(Noop);
