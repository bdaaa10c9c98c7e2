//! Operators: whatever runs in the engine, function or resource.
//!
//! An operator lives on one shard and handles one message at a time. It never blocks: work that has
//! to wait answers [`Progress::Busy`] and goes on in [`Operator::poll`], woken by its waker.

use std::{task, time::Duration};

use bytes::Bytes;
use edgeless_types::{
    InstanceId, Timestamp,
    message::{Budget, Message, MessageId, MessageKind, Refusal, Ticket},
};

use crate::{
    control::{Control, Interests, Propagation},
    output::{ChannelName, Outputs},
};

/// How far the handling of a message came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Handled; the next message may come.
    Done,
    /// Handed to a task that says itself when it is handled, see
    /// [`Port::handled`](crate::Port::handled); the next message may come.
    Taken,
    /// Not yet: only answers and polls come until it is done.
    Busy,
    /// The operator cannot go on; the instance ends and this is reported.
    Failed(String),
}

/// Something that handles messages.
pub trait Operator {
    /// Gets ready before the first message.
    fn start(&mut self, task: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        let _ = (task, out);
        Progress::Done
    }

    /// Handles a message.
    fn on_message(
        &mut self,
        message: Message,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress;

    /// Takes the answer to a call that it sent with this token.
    fn on_answer(
        &mut self,
        token: u64,
        answer: Answer,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        let _ = (token, answer, task, out);
        Progress::Done
    }

    /// Goes on after it was woken.
    fn poll(&mut self, task: &mut task::Context<'_>, out: &mut Outbox) -> Progress {
        let _ = (task, out);
        Progress::Done
    }

    /// Learns where its channels lead: when it is made, and whenever that has changed.
    fn leads_to(&mut self, outputs: &Outputs) {
        let _ = outputs;
    }

    /// The signals it wants; asked once, when it is made.
    fn interests(&self) -> Interests {
        Interests::NONE
    }

    /// Takes a signal that it subscribes to, also while it is busy; says whether it travels on.
    fn on_signal(&mut self, signal: Control, out: &mut Outbox) -> Propagation {
        let _ = (signal, out);
        Propagation::Pass
    }

    /// Ends; nothing comes after this, but it may send. Returns the state it saved last.
    fn stop(&mut self, out: &mut Outbox) -> Option<Bytes> {
        let _ = out;
        None
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With an answer.
    Reply(Bytes),
    /// Handled, without an answer.
    NoReply,
    /// Not handled; why.
    Error(String),
}

impl Answer {
    /// The kind and payload of the message that carries this.
    pub fn into_parts(self) -> (MessageKind, Bytes) {
        match self {
            Self::Reply(payload) => (MessageKind::Reply, payload),
            Self::NoReply => (MessageKind::NoReply, Bytes::new()),
            Self::Error(text) => (MessageKind::Error, Bytes::from(text)),
        }
    }

    /// Reads the kind and payload of a message; a message that is no answer is an error.
    pub fn from_parts(kind: MessageKind, payload: Bytes) -> Self {
        match kind {
            MessageKind::Reply => Self::Reply(payload),
            MessageKind::NoReply => Self::NoReply,
            MessageKind::Error => Self::Error(String::from_utf8_lossy(&payload).into_owned()),
            MessageKind::Cast | MessageKind::Call => Self::Error("not an answer".to_owned()),
        }
    }
}

/// A call that is to be answered: its id and who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRef {
    /// The id of the call, and of its answer.
    pub id: MessageId,
    /// Who waits.
    pub caller: InstanceId,
    /// Where the caller keeps what it waits for.
    pub ticket: Option<Ticket>,
}

impl CallRef {
    /// The call that this message is, if it is one.
    pub fn of_call(message: &Message) -> Option<Self> {
        (message.kind == MessageKind::Call).then(|| Self::of(message))
    }

    /// The call that this message is.
    pub fn of(message: &Message) -> Self {
        Self {
            id: message.id,
            caller: message.source,
            ticket: message.ticket,
        }
    }
}

/// Where a message goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// An output channel.
    Channel(ChannelName),
    /// One instance.
    Instance(InstanceId),
}

/// What an operator wants to happen.
#[derive(Debug)]
pub enum Action {
    /// Send, expecting nothing.
    Cast(Destination, Bytes),
    /// Send, expecting an answer with this token.
    Call(Destination, Bytes, u64),
    /// Answer a call.
    Answer(CallRef, Answer),
    /// Send later.
    Delayed(Duration, Destination, Bytes),
    /// Write a custom log entry: target and value.
    Log(String, String),
    /// Save this state for the next incarnation.
    Save(Bytes),
    /// The event that is being handled ended with this error: it is counted, and stands in the log
    /// entries under `fault` instead of the execution times.
    Fault(String),
    /// Send what comes of several messages that this operator has taken ([`Progress::Taken`]): they are
    /// handled by this, and acknowledged when it is.
    Batch(Destination, Bytes, Box<[MessageId]>),
    /// A message that this operator is handling or has taken counts as handled now, whatever becomes of
    /// what came of it.
    Acknowledge(MessageId),
    /// A message that this operator is handling or has taken is not handled: it is sent again, later, or
    /// given up.
    Refuse(MessageId, Refusal),
    /// Tell this operator [`Control::Timer`] with this number, later.
    Timer(Duration, u64),
    /// Tell those who send to this operator how much it takes from now on.
    Budget(Budget),
}

/// What an operator wants to happen, in order, since it was last asked.
#[derive(Debug, Default)]
pub struct Outbox {
    /// When the handling began.
    pub now: Timestamp,
    pub(crate) actions: Vec<Action>,
    pub(crate) passed: Option<Message>,
}

/// The channel on which a message is passed on.
pub(crate) const OUT: &str = "out";

impl Outbox {
    /// Adds an action.
    #[inline]
    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Takes all actions of `from`, keeping its storage.
    pub fn append(&mut self, from: &mut Vec<Action>) {
        self.actions.append(from);
    }

    /// Sends on an output channel.
    #[inline]
    pub fn cast(&mut self, channel: &str, payload: Bytes) {
        let channel = ChannelName::from_slice(channel.as_bytes());
        self.push(Action::Cast(Destination::Channel(channel), payload));
    }

    /// Passes the message that is being handled on, on the channel `out`: the same payload and headers
    /// under the same id (a new one where it is delivered at least once), after all else that was
    /// asked for. This is the fastest way out of an operator that changes nothing or headers only.
    #[inline]
    pub fn pass(&mut self, message: Message) {
        self.passed = Some(message);
    }

    /// Answers a call.
    pub fn answer(&mut self, call: CallRef, answer: Answer) {
        self.push(Action::Answer(call, answer));
    }
}
