//! Until when messages are of use: what comes of a message has its deadline, but for the time-out of a call,
//! which goes with calls only.
//!
//! A *use-by* is set by a sender for all that comes of what it sends (`deadline_ms`), and goes with all of it. The
//! *time-out* of a call says how long its caller waits: it goes with the calls that are made for its answer, as
//! somebody waits for them, and with nothing else. A cast that is sent in the handling of a call has nobody who
//! waits for it; it is not lost because the caller would have given up, or has its answer.
//!
//! The deadline of a cast is its use-by. That of a call is the sooner of both, and where it has a use-by that
//! stands in the header [`USE_BY`], for what comes of the call. What an operator has delayed is on its own.

use bytes::Bytes;
use edgeless_types::{
    Timestamp,
    message::{Callers, Envelope, Message, MessageKind},
};

use super::slot::{Current, Slot};

/// The header with the use-by of a call: nanoseconds since the UNIX epoch, eight bytes, most significant first.
const USE_BY: &str = "use-by";

/// The moment after which nothing that comes of a message is of use.
#[inline]
pub(super) fn use_by(message: &Message) -> Option<Timestamp> {
    match message.kind {
        MessageKind::Cast => message.envelope.deadline,
        MessageKind::Call => header(&message.envelope),
        MessageKind::Reply | MessageKind::NoReply | MessageKind::Error => None,
    }
}

fn header(envelope: &Envelope) -> Option<Timestamp> {
    let mut headers = envelope.headers().iter();
    let (_, value) = headers.find(|(name, _)| name.as_ref() == USE_BY)?;
    let nanos = <[u8; 8]>::try_from(&value[..]).ok()?;
    Some(Timestamp::from_nanos(u64::from_be_bytes(nanos)))
}

/// A call whose deadline is its use-by so far is waited for until then, if that is sooner.
pub(super) fn wait_until(envelope: &mut Envelope, until: Timestamp) {
    if let Some(use_by) = envelope.deadline {
        let nanos = Bytes::copy_from_slice(&use_by.as_nanos().to_be_bytes());
        let extra = envelope.extra.get_or_insert_default();
        extra.headers.push((USE_BY.into(), nanos));
    }
    envelope.sooner(Some(until));
}

/// A message becomes a cast: nobody waits for it, whatever it was.
#[inline]
pub(super) fn become_cast(message: &mut Message) {
    if message.kind != MessageKind::Cast {
        message.envelope.deadline = use_by(message);
        message.kind = MessageKind::Cast;
        if let Some(mut extra) = message.envelope.extra.take() {
            extra.callers = Callers::default();
            extra.headers.retain(|(name, _)| name.as_ref() != USE_BY);
            message.envelope.extra = (!extra.headers.is_empty()).then_some(extra);
        }
    }
}

impl Slot {
    /// The moment after which what it sends now is of no use, nor what comes of that.
    #[inline]
    pub(super) fn use_by(&self, now: Timestamp) -> Option<Timestamp> {
        let own = self.delivery.deadline.map(|time| now + time);
        let current = self.current.as_ref().and_then(|it| it.use_by);
        match (own, current) {
            (Some(own), Some(current)) => Some(own.min(current)),
            (own, current) => own.or(current),
        }
    }
}

impl Current {
    /// Its call is answered: nobody waits for that any more.
    pub(super) fn answered(&mut self) {
        (self.call, self.callers) = (None, None);
        self.deadline = self.use_by;
    }
}
