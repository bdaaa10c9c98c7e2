//! The life of a guest: made, handed its messages, restarted after a trap.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{Action, Answer, CallRef, ChannelName};
use edgeless_types::{InstanceId, STATE_BYTES};
use wasmtime::{Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use super::{
    arena::Arena,
    io::{Finished, Io},
    kind::Kind,
    machine::Machine,
    restarts::Restarts,
    ticker::{TICK, Ticker},
};

/// The longest text of a log entry in bytes, of its target and of its value each; more is cut off.
pub(super) const LOG_BYTES: usize = 16 << 10;

/// The longest name of a channel in bytes.
const CHANNEL_BYTES: usize = 4 << 10;

/// All that is needed to make a guest, again and again.
pub struct Birth<K: Kind> {
    pub(super) machine: Machine,
    pub(super) kind: Arc<K>,
    pub(super) code: Arc<K::Ready>,
    pub(super) me: InstanceId,
    pub(super) init_payload: Option<Bytes>,
    pub(super) state: Option<Bytes>,
}

/// What the host keeps in the store of a guest.
pub struct GuestState<O> {
    pub(super) io: Io,
    pub(super) me: InstanceId,
    pub(super) saved: Option<Bytes>,
    /// The call that is being handled.
    pub(super) call: Option<CallRef>,
    /// Why the last call of the event failed.
    pub(super) failed_call: Option<String>,
    pub(super) arena: Arena,
    /// What its kind of code needs.
    pub(super) own: O,
    ticker: Ticker,
    event_ticks: u64,
    ticks_left: u64,
    event_actions: usize,
    actions_left: usize,
    event_bytes: usize,
    bytes_left: usize,
    limits: StoreLimits,
}

impl<O> GuestState<O> {
    /// The time of an event begins.
    pub(super) fn begin(&mut self) {
        self.ticks_left = self.event_ticks;
        (self.actions_left, self.bytes_left) = (self.event_actions, self.event_bytes);
        self.failed_call = None;
        self.ticker.touch();
    }

    /// The guest goes on after it waited.
    pub(super) fn resume(&self) {
        self.ticker.touch();
    }

    /// The guest asks for something; what it asks for in one event waits in the host and is bounded.
    ///
    /// # Errors
    /// It is more than an event may ask for.
    pub(super) fn act(&mut self, action: Action) -> wasmtime::Result<()> {
        let bytes = match &action {
            Action::Cast(_, payload) | Action::Call(_, payload, _) => payload.len(),
            Action::Delayed(_, _, payload) | Action::Save(payload) => payload.len(),
            Action::Log(target, value) => target.len() + value.len(),
            Action::Batch(_, payload, _) => payload.len(),
            Action::Answer(..)
            | Action::Fault(_)
            | Action::Acknowledge(_)
            | Action::Refuse(..)
            | Action::Timer(..)
            | Action::Budget(_) => 0,
        };
        let (actions_left, bytes_left) = (
            self.actions_left.checked_sub(1),
            self.bytes_left.checked_sub(bytes),
        );
        let (Some(actions_left), Some(bytes_left)) = (actions_left, bytes_left) else {
            return Err(wasmtime::Error::msg(format!(
                "the event sends too much: more than {} messages or {} bytes",
                self.event_actions, self.event_bytes
            )));
        };
        (self.actions_left, self.bytes_left) = (actions_left, bytes_left);
        self.io.act(action);
        Ok(())
    }

    /// The guest saves its state.
    ///
    /// # Errors
    /// It is too long, or the event has sent too much.
    pub(super) fn save(&mut self, state: Bytes) -> wasmtime::Result<()> {
        if state.len() > STATE_BYTES {
            return Err(wasmtime::Error::msg(format!(
                "it saves too much: {} bytes, and a state has {STATE_BYTES} at most",
                state.len()
            )));
        }
        self.saved = Some(state.clone());
        self.act(Action::Save(state))
    }

    /// The guest logs; levels go from 1, error, to 5, trace. Of long texts the end is cut off.
    ///
    /// # Errors
    /// The event has sent too much.
    pub(super) fn log(
        &mut self,
        level: i32,
        mut target: String,
        mut value: String,
    ) -> wasmtime::Result<()> {
        for text in [&mut target, &mut value] {
            text.truncate(text.floor_char_boundary(LOG_BYTES));
        }
        let instance = self.me.physical_id;
        match level {
            1 => tracing::error!(%instance, target, value, "function"),
            2 => tracing::warn!(%instance, target, value, "function"),
            3 => tracing::info!(%instance, target, value, "function"),
            4 => tracing::debug!(%instance, target, value, "function"),
            _ => tracing::trace!(%instance, target, value, "function"),
        }
        self.act(Action::Log(target, value))
    }
}

/// The name of a channel; longer ones than any workflow has are an error.
pub(super) fn channel_name(bytes: &[u8]) -> wasmtime::Result<ChannelName> {
    if bytes.len() > CHANNEL_BYTES {
        return Err(wasmtime::Error::msg(format!(
            "the name of a channel has {} bytes, more than {CHANNEL_BYTES}",
            bytes.len()
        )));
    }
    Ok(ChannelName::from_slice(bytes))
}

/// Runs a guest for as long as its operator lives.
pub(super) async fn run<K: Kind>(mut birth: Birth<K>, io: Io) {
    let limits = birth.machine.limits;
    if let Some(state) = &birth.state {
        // What it begins with is what it has saved, until it saves something else: its stop hands it on.
        io.act(Action::Save(state.clone()));
    }
    let mut restarts = Restarts::new(limits.restarts, limits.restart_window);
    loop {
        let mut store = store(&birth, &io);
        let guest = match K::make(&birth, &mut store).await {
            Ok(guest) => guest,
            Err(error) => {
                let call = store.data_mut().failed_call.take();
                return io.finish(Finished::Failed(reason(&error, call)));
            }
        };
        let Err(error) = K::live(&mut store, guest).await else {
            return; // It was told to stop.
        };
        let reason = reason(&error, store.data_mut().failed_call.take());
        tracing::warn!(instance = %birth.me.physical_id, reason, "an event failed");
        let state = store.data_mut();
        io.act(Action::Fault(reason.clone()));
        if let Some(call) = state.call.take() {
            io.act(Action::Answer(call, Answer::Error(reason.clone())));
        }
        birth.state = state.saved.take().or(birth.state);
        drop(store);
        let Some(pause) = restarts.next((birth.machine.clock)()) else {
            let text = format!("restarted too often; last: {reason}");
            return io.finish(Finished::Failed(text));
        };
        tokio::time::sleep(pause).await;
    }
}

/// Why an event failed, in words; `call`: why its last call failed.
fn reason(error: &wasmtime::Error, call: Option<String>) -> String {
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        return "its node has as many instances as `max_instances` of [wasm_runtime] allows"
            .to_owned();
    }
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => "the event took too long".to_owned(),
        Some(trap) => match call {
            Some(call) => format!("{trap}, after its call failed: {call}"),
            None => trap.to_string(),
        },
        None => error.root_cause().to_string(),
    }
}

/// A new store, in which the guest is bounded.
fn store<K: Kind>(birth: &Birth<K>, io: &Io) -> Store<GuestState<K::Own>> {
    let machine = &birth.machine;
    let limits = StoreLimitsBuilder::new()
        .memory_size(machine.limits.memory_bytes)
        .trap_on_grow_failure(true)
        .build();
    let state = GuestState {
        io: io.clone(),
        me: birth.me,
        saved: birth.state.clone(),
        call: None,
        failed_call: None,
        arena: Arena::default(),
        own: K::Own::default(),
        ticker: machine.ticker.clone(),
        event_ticks: ticks(machine.limits.event_time),
        ticks_left: 0,
        event_actions: machine.limits.event_actions,
        actions_left: 0,
        event_bytes: machine.limits.event_bytes,
        bytes_left: 0,
        limits,
    };
    let mut store = Store::new(&machine.engine, state);
    store.limiter(|state| &mut state.limits);
    store.epoch_deadline_callback(|mut context| {
        let state = context.data_mut();
        if state.ticks_left == 0 {
            return Ok(UpdateDeadline::Interrupt);
        }
        state.ticks_left -= 1;
        // The ticks of a guest that others keep waiting are further apart than those of the ticker, which
        // sleeps when nobody has run for the time of an event.
        state.ticker.touch();
        Ok(UpdateDeadline::Yield(1))
    });
    store.data_mut().begin();
    store.set_epoch_deadline(1);
    store
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / TICK.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}
