//! Bytes from a peer: decoded and read as the data plane does it. What can be read survives the way back to
//! the wire, and what cannot is counted; nothing panics.
#![no_main]

use edgeless_node::dataplane::{
    LinkCounters,
    server::{self, Contents},
};
use edgeless_proto::v1;
use edgeless_types::NodeId;
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message as _;
use uuid::Uuid;

/// What a frame brings, and how many of its parts could not be read.
fn read(frame: v1::Frame) -> (Contents, usize) {
    let counters = LinkCounters::default();
    let here = NodeId::new(Uuid::from_u128(1));
    let contents = server::read(frame, here, &counters);
    let malformed = counters.malformed.into_inner();
    (contents, malformed as usize)
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(frame) = v1::Frame::decode(bytes) else {
        return Corpus::Keep; // What almost is a frame leads to frames.
    };
    let parts = frame.signals.len() + frame.upwards.len() + frame.events.len();
    let (read_once, malformed) = read(frame);
    let Contents {
        signals,
        upwards,
        messages,
    } = read_once.clone();
    assert_eq!(
        signals.len() + upwards.len() + messages.len() + malformed,
        parts
    );
    let again = v1::Frame {
        hello: None,
        events: messages.into_iter().map(v1::Event::from).collect(),
        signals: signals.into_iter().map(v1::Signal::from).collect(),
        upwards: upwards.into_iter().map(v1::Upward::from).collect(),
    };
    let encoded = again.encode_to_vec();
    let again = v1::Frame::decode(encoded.as_slice()).expect("it was encoded as a frame");
    assert_eq!(read(again), (read_once, 0));
    Corpus::Keep
});
