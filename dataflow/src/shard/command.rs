//! What a shard is told from outside: start, stop, patch, and what ports send.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::{Generation, InstanceId, PhysicalId, message::MessageKind};
use tokio::sync::oneshot;

use super::{
    Due, Inject, Shard, Waiter, deadline,
    slot::{Slot, Stopping, Wait},
    waiter::Caller,
};
use crate::{
    operator::Destination,
    output::{ChannelName, Outputs, Route},
    port::{Called, Handled, Port, PortError},
    sample::Place,
    spawn::{Spawn, SpawnContext, SpawnError},
};

impl Shard {
    pub(super) fn on_inject(&mut self, inject: Inject) {
        match inject {
            Inject::Spawn(spawn, done) => self.spawn(spawn, done),
            Inject::Stop {
                physical_id,
                drain,
                done,
            } => self.stop(physical_id, drain, done),
            Inject::Patch {
                physical_id,
                generation,
                outputs,
                done,
            } => {
                self.patch(physical_id, generation, outputs, done);
            }
            Inject::Uncounted(messages) => {
                for message in messages {
                    self.accept_uncounted(message);
                }
            }
            Inject::Signals(signals) => self.on_signals(signals),
            Inject::Upwards(upwards) => {
                for (to, upward) in upwards {
                    self.on_upward(to, upward);
                }
            }
            Inject::Lost(peer) => self.tracker.lost(peer, self.now, &mut self.effects),
            Inject::HungUp => self.tracker.hung_up(self.now),
            Inject::Configure(id, config, done) => self.configure(id, config, done),
            Inject::Shutdown => self.announce_shutdown(),
            Inject::PortCast {
                from,
                channel,
                payload,
                handled,
                done,
            } => {
                if let Some(&key) = self.by_id.get(&from) {
                    self.port_cast(key, channel, payload, handled, done);
                }
            }
            Inject::PortCall {
                from,
                channel,
                payload,
                timeout,
                done,
            } => {
                if let Some(&key) = self.by_id.get(&from) {
                    self.port_call(key, channel, payload, timeout, done);
                }
            }
            Inject::Act { from, action } => {
                if let Some(&key) = self.by_id.get(&from) {
                    self.act(key, action);
                }
            }
            Inject::Handled { from, messages } => {
                self.handled_elsewhere(from, messages);
            }
            Inject::DrainSamples(done) => {
                if done.send(self.recorder.drain()).is_err() {
                    tracing::debug!("nobody took the samples");
                }
            }
            Inject::Look(look) => self.look(look),
            Inject::End => {}
        }
    }

    /// A task is done with messages that its operator had handed to it.
    fn handled_elsewhere(&mut self, from: PhysicalId, messages: Vec<Handled>) {
        self.handled += messages.len() as u64;
        let Some(&key) = self.by_id.get(&from) else {
            return;
        };
        for message in messages {
            let times = [message.created, message.begin, self.now];
            self.slots[key].count(&mut self.recorder, message.source, times);
            if let Some(id) = message.tracked {
                self.finish_taken(key, id, message.error);
            }
        }
    }

    fn spawn(&mut self, spawn: Spawn, done: oneshot::Sender<Result<(), SpawnError>>) {
        let me = InstanceId {
            node_id: self.shared.config.node_id,
            physical_id: spawn.physical_id,
        };
        let Some(gate) = self.shared.gate(spawn.physical_id) else {
            return; // Nobody waits any more.
        };
        let key = self.slots.vacant_key();
        let waker = self.woken.waker(key);
        let port = Port::new(me, self.shared.shards[self.index].clone());
        let context = SpawnContext {
            me,
            waker: waker.clone(),
            port,
        };
        let operator = match (spawn.factory)(context) {
            Ok(operator) => operator,
            Err(message) => {
                self.shared.forget(me.physical_id);
                self.accept_early();
                if done.send(Err(SpawnError::Failed(message))).is_err() {
                    tracing::debug!(%me, "nobody waited for the start");
                }
                return;
            }
        };
        let interests = operator.interests();
        let group = spawn.place.group();
        let account = self.accounts.enter(group, || self.shared.gauge(group));
        self.slots.insert(Slot {
            me,
            generation: spawn.generation,
            operator: Some(operator),
            waker: Some(waker),
            gate: Arc::clone(&gate),
            inbox: VecDeque::new(),
            local: 0,
            account,
            outputs: spawn.outputs,
            next: None,
            parked: VecDeque::new(),
            parked_for: Wait::Full,
            parked_since: self.now,
            waits_for: None,
            blocked: false,
            held: Vec::new(),
            delivery: spawn.delivery,
            interests,
            heard: None,
            outstanding: 0,
            delayed: 0,
            current: None,
            busy: true,
            queued: false,
            starting: Some(done),
            stopping: None,
            saved: None,
            stats: None,
            faults: 0,
            taps: Vec::new(),
            paused: false,
            samples: Place::default(),
        });
        self.by_id.insert(me.physical_id, key);
        self.enter_outputs(key);
        self.shared.ring(gate.open());
        self.accept_early();
        self.step(key, |operator, task, out| operator.start(task, out));
    }

    /// Says to all shards whom an operator sends to, as signals find their way back by that, and to the
    /// operator itself.
    fn enter_outputs(&mut self, key: usize) {
        let slot = &mut self.slots[key];
        if let Some(operator) = &mut slot.operator {
            operator.leads_to(&slot.outputs);
        }
        let targets = slot.outputs.instances().map(|it| it.physical_id);
        self.shared
            .directory_mut()
            .leads_to(slot.me.physical_id, targets);
    }

    fn stop(
        &mut self,
        physical_id: PhysicalId,
        drain: Duration,
        done: oneshot::Sender<Option<Bytes>>,
    ) {
        let Some(&key) = self.by_id.get(&physical_id) else {
            if done.send(None).is_err() {
                tracing::debug!(%physical_id, "nobody waited for the stop");
            }
            return;
        };
        let deadline = self.now + drain;
        self.slots[key].stopping = Some(Stopping { deadline, done });
        self.timers.insert(deadline, Due::StopEnd(physical_id));
        self.end_if_idle(key);
    }

    fn patch(
        &mut self,
        physical_id: PhysicalId,
        generation: Generation,
        outputs: Outputs,
        done: oneshot::Sender<()>,
    ) {
        if let Some(&key) = self.by_id.get(&physical_id) {
            let slot = &mut self.slots[key];
            if generation >= slot.generation {
                slot.generation = generation;
                slot.outputs.become_those(outputs);
                slot.next = None;
                self.enter_outputs(key);
                let slot = &mut self.slots[key];
                self.shared.held.fetch_sub(slot.unhold(), Relaxed);
                self.reroute(key);
                self.unbind(key);
                self.retry(key);
            }
        }
        if done.send(()).is_err() {
            tracing::debug!(%physical_id, "nobody waited for the patch");
        }
    }

    fn port_cast(
        &mut self,
        key: usize,
        channel: ChannelName,
        payload: Bytes,
        handled: bool,
        done: oneshot::Sender<Result<(), PortError>>,
    ) {
        if !self.may_send(key, &channel, payload.len()) {
            let from = self.slots[key].me.physical_id;
            let inject = Inject::PortCast {
                from,
                channel,
                payload,
                handled,
                done,
            };
            return self.wait_to_send(key, inject);
        }
        let mut message = self.message(key, MessageKind::Cast, payload);
        let to = Destination::Channel(channel);
        let (waiter, done) = match handled {
            true => (Some(Box::new(Waiter::delivery(done))), None),
            false => (None, Some(done)),
        };
        match self.slots[key].tracks(&to) {
            Some(channel) => self.track_for(key, channel, &mut message, waiter),
            None => self.nothing_to_wait_for(waiter),
        }
        self.dispatch(key, to, message, done);
    }

    fn port_call(
        &mut self,
        key: usize,
        channel: ChannelName,
        payload: Bytes,
        timeout: Duration,
        done: oneshot::Sender<Called>,
    ) {
        if self.slots[key].outputs.peek(&channel) == Route::Unmapped {
            let name = String::from_utf8_lossy(&channel).into_owned();
            let called = Called::nowhere(PortError::Unmapped(name));
            if done.send(called).is_err() {
                tracing::debug!("the caller is gone");
            }
            return;
        }
        let from = self.slots[key].me.physical_id;
        if !self.may_send(key, &channel, payload.len()) {
            let inject = Inject::PortCall {
                from,
                channel,
                payload,
                timeout,
                done,
            };
            return self.wait_to_send(key, inject);
        }
        let mut message = self.message(key, MessageKind::Call, payload);
        deadline::wait_until(&mut message.envelope, self.now + timeout);
        let waiter = Waiter::Port(Caller {
            done,
            from,
            channel: channel.clone(),
            to: None,
        });
        self.expect_answer(key, &mut message, waiter);
        self.dispatch(key, Destination::Channel(channel), message, None);
    }
}
