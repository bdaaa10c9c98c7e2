//! One shard: a loop that owns its operators.

mod command;
mod control;
mod deadline;
mod end;
mod inspect;
mod park;
mod receive;
mod room;
mod send;
mod signal;
mod slot;
mod source;
mod turn;
mod waiter;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::{
    Generation, NodeId, PhysicalId, Samples, Timestamp,
    message::{Message, Signal, Upward},
};
use rand::{SeedableRng, rngs::SmallRng};
use rustc_hash::FxHashMap;
use slab::Slab;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    config::Clock,
    control::Propagation,
    counters::Drop,
    gate::Gate,
    operator::{Action, Answer, Destination, Outbox},
    output::{ChannelName, Outputs},
    port::{Called, Handled, PortError},
    sample::Recorder,
    shared::{LoadMeter, Shared},
    spawn::{Spawn, SpawnError},
    timers::Timers,
    track::{Effect, Tracker},
};
pub(crate) use inspect::Look;
use room::Accounts;
pub use send::FAR_PAYLOAD;
use slot::Slot;
pub(crate) use slot::Woken;
use waiter::Waiter;

/// What reaches a shard from outside.
pub(crate) enum Inject {
    Spawn(Spawn, oneshot::Sender<Result<(), SpawnError>>),
    Stop {
        physical_id: PhysicalId,
        drain: Duration,
        done: oneshot::Sender<Option<Bytes>>,
    },
    Patch {
        physical_id: PhysicalId,
        generation: Generation,
        outputs: Outputs,
        done: oneshot::Sender<()>,
    },
    /// What became of messages that went out from here.
    Signals(Vec<Signal>),
    /// What instances tell those who send to them, for these instances of this shard.
    Upwards(Vec<(PhysicalId, Upward)>),
    /// The way to a node broke: what went there may be lost.
    Lost(NodeId),
    /// Somebody who waited for what becomes of a message has gone away.
    HungUp,
    /// An instance is to be configured anew; None: it does not run here, or takes no configuration.
    Configure(PhysicalId, Bytes, oneshot::Sender<Option<Propagation>>),
    /// The node is about to end.
    Shutdown,
    /// Answers, and messages for instances that do not run here.
    Uncounted(Vec<Message>),
    PortCast {
        from: PhysicalId,
        channel: ChannelName,
        payload: Bytes,
        /// Whether the port waits until the message is acknowledged, not only until it is sent.
        handled: bool,
        done: oneshot::Sender<Result<(), PortError>>,
    },
    PortCall {
        from: PhysicalId,
        channel: ChannelName,
        payload: Bytes,
        timeout: Duration,
        done: oneshot::Sender<Called>,
    },
    Act {
        from: PhysicalId,
        action: Action,
    },
    Handled {
        from: PhysicalId,
        messages: Vec<Handled>,
    },
    DrainSamples(oneshot::Sender<Samples>),
    Look(Look),
    End,
}

/// What is due later.
enum Due {
    Cast(PhysicalId, Destination, Bytes),
    StopEnd(PhysicalId),
    Timer(PhysicalId, u64),
    /// A source may send again, perhaps.
    Allowed(PhysicalId),
    /// What a source is to send may wait for too long.
    TooLate(PhysicalId),
}

/// Operators that get a turn before the shard looks at its inputs again.
const TURNS: usize = 32;
/// How often answers and signals may lead to others before the shard looks at its inputs again.
const ROUNDS: usize = 64;
/// Batches taken from outside at a time.
const BATCHES: usize = 64;
/// Instances whose keys are remembered apart; a power of two.
const FOUND: usize = 64;
/// How soon what waits for another node, or for a shard that is behind, is tried again when
/// nothing else happens.
const RETRY: Duration = Duration::from_millis(1);

pub(crate) struct Shard {
    index: usize,
    shared: Arc<Shared>,
    slots: Slab<Slot>,
    by_id: FxHashMap<PhysicalId, usize>,
    /// Keys found lately, by some bits of the id: most messages go to few instances.
    found: Vec<(PhysicalId, usize)>,
    ready: VecDeque<usize>,
    blocked: Vec<usize>,
    gates: FxHashMap<PhysicalId, Arc<Gate>>,
    early: Vec<Message>,
    accounts: Accounts,
    /// Those whose ports wait as too much waits already.
    pressed: Vec<usize>,
    tracker: Tracker<Waiter>,
    effects: Vec<Effect<Waiter>>,
    /// The other of the two lists of effects, empty; kept for its memory.
    effects_taken: Vec<Effect<Waiter>>,
    outgoing_signals: Vec<Vec<Signal>>,
    outgoing_upwards: Vec<Vec<(PhysicalId, Upward)>>,
    /// What operators of this shard tell those who send to them.
    said: VecDeque<Upward>,
    answers: VecDeque<(PhysicalId, u64, Answer)>,
    timers: Timers<Due>,
    woken: Arc<Woken>,
    outgoing: Vec<Vec<Message>>,
    recorder: Recorder,
    rng: SmallRng,
    sequence: u64,
    meter: LoadMeter,
    /// Messages handled and not yet added to the counters.
    handled: u64,
    /// Whether an inbox has got room since what is blocked was tried.
    made_room: bool,
    /// A message for an operator of this shard that has nothing else to do: it is handled next,
    /// without a queue between.
    hand: Option<(usize, Message)>,
    /// How many more times a message may be handed on before others get their turn.
    hops_left: usize,
    now: Timestamp,
    clock: Clock,
    /// Lent to the operator whose turn it is.
    outbox: Option<Box<Outbox>>,
}

impl Shard {
    pub(crate) fn new(index: usize, shared: Arc<Shared>, seed: u64) -> Self {
        Self {
            index,
            slots: Slab::new(),
            by_id: FxHashMap::default(),
            found: vec![(PhysicalId::new(Uuid::nil()), usize::MAX); FOUND],
            ready: VecDeque::new(),
            blocked: Vec::new(),
            gates: FxHashMap::default(),
            early: Vec::new(),
            accounts: Accounts::default(),
            pressed: Vec::new(),
            tracker: Tracker::with_attempts(shared.config.attempts),
            effects: Vec::new(),
            effects_taken: Vec::new(),
            outgoing_signals: vec![Vec::new(); shared.shards.len()],
            outgoing_upwards: vec![Vec::new(); shared.shards.len()],
            said: VecDeque::new(),
            answers: VecDeque::new(),
            timers: Timers::default(),
            woken: Arc::clone(&shared.bells[index]),
            outgoing: vec![Vec::new(); shared.shards.len()],
            recorder: Recorder::new(shared.config.samples),
            rng: SmallRng::seed_from_u64(seed),
            sequence: 0,
            meter: LoadMeter::default(),
            handled: 0,
            made_room: false,
            hand: None,
            hops_left: 0,
            now: (shared.config.clock)(),
            clock: Arc::clone(&shared.config.clock),
            outbox: None,
            shared,
        }
    }

    /// Runs until it is told to end.
    ///
    /// Both channels are always taken from: what comes through `data` was admitted before by the
    /// gates of its targets, so it never waits here for one of them.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Inject>,
        mut data: mpsc::Receiver<Vec<Message>>,
    ) {
        let mut injected = Vec::with_capacity(BATCHES);
        let mut woken = Vec::new();
        loop {
            self.now = (self.clock)();
            while injected.len() < BATCHES
                && let Ok(inject) = inbox.try_recv()
            {
                injected.push(inject);
            }
            for inject in injected.drain(..) {
                if matches!(inject, Inject::End) {
                    return;
                }
                self.on_inject(inject);
            }
            for _ in 0..BATCHES {
                let Ok(batch) = data.try_recv() else { break };
                self.accept_all(batch);
            }
            self.woken.take(&mut woken);
            for key in woken.drain(..) {
                self.poll(key);
            }
            self.on_time();
            self.settle();
            self.made_room = false;
            self.retry_blocked();
            self.retry_pressed();
            for _ in 0..TURNS {
                let Some(key) = self.ready.pop_front() else {
                    break;
                };
                self.turn(key);
                self.settle();
            }
            self.settle();
            self.flush_outgoing();
            self.flush_signals();
            self.count_handled();
            self.publish_waiting();
            let blocked_may_go_on = self.made_room && !self.blocked.is_empty();
            let nothing_comes = inbox.is_empty() && data.is_empty();
            let idle = self.ready.is_empty() && self.is_settled() && nothing_comes;
            self.meter.tell(self.now, &self.shared.loads[self.index]);
            if idle && !blocked_may_go_on {
                let before = self.now;
                if let Some(batch) = self.sleep(&mut inbox, &mut data, &mut injected).await {
                    self.accept_all(batch);
                }
                let now = (self.clock)();
                self.meter.slept(now.since(before));
            } else {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn sleep(
        &self,
        inbox: &mut mpsc::Receiver<Inject>,
        data: &mut mpsc::Receiver<Vec<Message>>,
        injected: &mut Vec<Inject>,
    ) -> Option<Vec<Message>> {
        let next = self
            .timers
            .next()
            .into_iter()
            .chain(self.tracker.next_due())
            .min();
        let mut wait = next.map_or(Duration::from_secs(3_600), |at| at.since(self.now));
        if let Some(retry) = self.retry_after() {
            wait = wait.min(retry);
        }
        tokio::select! {
            biased;
            inject = inbox.recv() => {
                injected.push(inject.unwrap_or(Inject::End));
                None
            }
            Some(batch) = data.recv() => Some(batch),
            () = self.woken.bell.notified() => None,
            () = tokio::time::sleep(wait) => None,
        }
    }

    /// Hands over answers and does what follows from signals, until neither leads to the other, or for so
    /// long that it is the turn of others.
    fn settle(&mut self) {
        for _ in 0..ROUNDS {
            self.take_answers();
            self.carry_out_effects();
            self.spread_said();
            if self.is_settled() {
                return;
            }
        }
    }

    fn is_settled(&self) -> bool {
        self.answers.is_empty() && self.effects.is_empty() && self.said.is_empty()
    }

    fn count_handled(&mut self) {
        if self.handled > 0 {
            self.shared
                .counters
                .handled
                .fetch_add(self.handled, Relaxed);
            self.handled = 0;
        }
    }

    fn on_time(&mut self) {
        for due in self.timers.take(self.now).into_values() {
            match due {
                Due::Cast(physical_id, to, payload) => {
                    if let Some(&key) = self.by_id.get(&physical_id) {
                        self.slots[key].is_due();
                        // It does not come of the message its sender is at now.
                        let current = self.slots[key].current.take();
                        self.cast(key, to, payload, None);
                        self.slots[key].current = current;
                    } else {
                        // Its sender ended before it was due.
                        self.shared.counters.dropped(Drop::Stopped, 1);
                    }
                }
                Due::StopEnd(physical_id) => {
                    if let Some(&key) = self.by_id.get(&physical_id) {
                        self.end_if_idle(key);
                    }
                }
                Due::Timer(physical_id, number) => self.timer(physical_id, number),
                Due::Allowed(physical_id) => self.allowed(physical_id),
                Due::TooLate(physical_id) => self.end_late(physical_id),
            }
        }
    }

    fn poll(&mut self, key: usize) {
        if self.slots.contains(key) && self.slots[key].busy {
            self.step(key, |operator, task, out| operator.poll(task, out));
        }
    }

    /// Where an instance of this shard is kept.
    fn key_of(&mut self, physical_id: PhysicalId) -> Option<usize> {
        let bits = physical_id.uuid().as_u128() as usize % FOUND;
        let (known, key) = self.found[bits];
        if known == physical_id
            && let Some(slot) = self.slots.get(key)
            && slot.me.physical_id == physical_id
        {
            return Some(key);
        }
        let key = *self.by_id.get(&physical_id)?;
        self.found[bits] = (physical_id, key);
        Some(key)
    }

    fn make_ready(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if !slot.queued && !slot.busy {
            slot.queued = true;
            self.ready.push_back(key);
        }
    }
}
