//! Bytes from a peer: decoded and read as the data plane does it. What can be read survives the way back to
//! the wire, and what cannot is counted; nothing panics.
#![no_main]

use edgeless_node::dataplane::{LinkCounters, server};
use edgeless_proto::v1;
use edgeless_types::{NodeId, message::Message, message::Signal};
use libfuzzer_sys::{Corpus, fuzz_target};
use prost::Message as _;
use uuid::Uuid;

/// Signals and messages of a frame, and how many of its parts could not be read.
fn read(frame: v1::Frame) -> (Vec<Signal>, Vec<Message>, usize) {
    let counters = LinkCounters::default();
    let here = NodeId::new(Uuid::from_u128(1));
    let (signals, messages) = server::read(frame, here, &counters);
    let malformed = counters.malformed.into_inner();
    (signals, messages, malformed as usize)
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(frame) = v1::Frame::decode(bytes) else {
        return Corpus::Keep; // What almost is a frame leads to frames.
    };
    let parts = frame.signals.len() + frame.events.len();
    let (signals, messages, malformed) = read(frame);
    assert_eq!(signals.len() + messages.len() + malformed, parts);
    let again = v1::Frame {
        hello: None,
        events: messages.iter().cloned().map(v1::Event::from).collect(),
        signals: signals.iter().cloned().map(v1::Signal::from).collect(),
    };
    let encoded = again.encode_to_vec();
    let again = v1::Frame::decode(encoded.as_slice()).expect("it was encoded as a frame");
    assert_eq!(read(again), (signals, messages, 0));
    Corpus::Keep
});
