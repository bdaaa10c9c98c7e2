//! The life of a guest: instantiated, handed its messages, restarted after a trap.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{Action, Answer, CallRef, Clock};
use edgeless_types::{
    InstanceId, Timestamp,
    message::{Message, MessageKind},
};
use wasmtime::{Memory, Store, StoreLimits, StoreLimitsBuilder, TypedFunc, UpdateDeadline};

use super::{
    Limits, TICK,
    io::{Finished, Given, Io},
    modules::Loaded,
};

/// All that is needed to make a guest, again and again.
pub(super) struct Birth {
    pub(super) engine: wasmtime::Engine,
    pub(super) module: Arc<Loaded>,
    pub(super) me: InstanceId,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
    pub(super) init_payload: Option<Bytes>,
    pub(super) state: Option<Bytes>,
}

/// What the host keeps in the store of a guest.
pub(super) struct GuestState {
    pub(super) io: Io,
    pub(super) me: InstanceId,
    pub(super) memory: Option<Memory>,
    pub(super) saved: Option<Bytes>,
    exports: Option<Exports>,
    limits: StoreLimits,
    ticks_left: u64,
}

impl GuestState {
    /// What the guest exports; an error before it is instantiated.
    pub(super) fn exports(&self) -> wasmtime::Result<&Exports> {
        self.exports
            .as_ref()
            .ok_or_else(|| wasmtime::Error::msg("the guest is not ready"))
    }
}

/// The functions of a guest.
#[derive(Clone)]
pub(super) struct Exports {
    pub(super) allocate: TypedFunc<i32, i32>,
    free: TypedFunc<(i32, i32), ()>,
    clear: Option<TypedFunc<(), ()>>,
    init: TypedFunc<(i32, i32, i32, i32), ()>,
    cast: TypedFunc<(i32, i32, i32, i32), ()>,
    call: TypedFunc<(i32, i32, i32, i32, i32, i32), i32>,
    stop: TypedFunc<(), ()>,
}

/// A guest and its store.
struct Guest {
    store: Store<GuestState>,
    exports: Exports,
    memory: Memory,
    event_ticks: u64,
}

/// Runs a guest for as long as its operator lives.
pub(super) async fn run(mut birth: Birth, io: Io) {
    let mut restarts = Restarts::new(birth.limits.restarts, birth.limits.restart_window);
    let mut guest = match Guest::make(&birth, &io).await {
        Ok(guest) => guest,
        Err(error) => return io.finish(Finished::Failed(reason(&error))),
    };
    io.finish(Finished::Ready);
    loop {
        let message = match io.given().await {
            Given::Message(message) => message,
            Given::Stop => return guest.stop().await,
        };
        let call = (message.kind == MessageKind::Call).then(|| CallRef::of(&message));
        match guest.handle(&message, call, &io).await {
            Ok(()) => io.finish(Finished::Ready),
            Err(error) => {
                let reason = reason(&error);
                tracing::warn!(instance = %birth.me.physical_id, reason, "an event failed");
                io.act(Action::Fault(reason.clone()));
                if let Some(call) = call {
                    io.act(Action::Answer(call, Answer::Error(reason.clone())));
                }
                birth.state = guest.store.data_mut().saved.take().or(birth.state);
                drop(guest);
                let Some(pause) = restarts.next((birth.clock)()) else {
                    let text = format!("restarted too often; last: {reason}");
                    return io.finish(Finished::Failed(text));
                };
                tokio::time::sleep(pause).await;
                guest = match Guest::make(&birth, &io).await {
                    Ok(guest) => guest,
                    Err(error) => {
                        return io.finish(Finished::Failed(self::reason(&error)));
                    }
                };
                io.finish(Finished::Ready);
            }
        }
    }
}

/// Why an event failed, in words.
fn reason(error: &wasmtime::Error) -> String {
    match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => "the event took too long".to_owned(),
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    }
}

impl Guest {
    async fn make(birth: &Birth, io: &Io) -> wasmtime::Result<Self> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(birth.limits.memory_bytes)
            .trap_on_grow_failure(true)
            .build();
        let state = GuestState {
            io: io.clone(),
            me: birth.me,
            memory: None,
            saved: birth.state.clone(),
            exports: None,
            limits,
            ticks_left: 0,
        };
        let mut store = Store::new(&birth.engine, state);
        store.limiter(|state| &mut state.limits);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            if state.ticks_left == 0 {
                return Ok(UpdateDeadline::Interrupt);
            }
            state.ticks_left -= 1;
            Ok(UpdateDeadline::Yield(1))
        });
        let event_ticks = ticks(birth.limits.event_time);
        store.data_mut().ticks_left = event_ticks;
        store.set_epoch_deadline(1);
        let instance = birth.module.pre.instantiate_async(&mut store).await?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("the export `memory` is missing"))?;
        let exports = Exports {
            allocate: instance.get_typed_func(&mut store, "edgeless_mem_alloc")?,
            free: instance.get_typed_func(&mut store, "edgeless_mem_free")?,
            clear: instance
                .get_typed_func(&mut store, "edgeless_mem_clear")
                .ok(),
            init: instance.get_typed_func(&mut store, "handle_init_asm")?,
            cast: instance.get_typed_func(&mut store, "handle_cast_asm")?,
            call: instance.get_typed_func(&mut store, "handle_call_asm")?,
            stop: instance.get_typed_func(&mut store, "handle_stop_asm")?,
        };
        store.data_mut().memory = Some(memory);
        store.data_mut().exports = Some(exports.clone());
        let mut guest = Self {
            store,
            exports,
            memory,
            event_ticks,
        };
        guest.init(birth).await?;
        Ok(guest)
    }

    async fn init(&mut self, birth: &Birth) -> wasmtime::Result<()> {
        self.begin();
        let payload = self
            .put(birth.init_payload.as_deref().unwrap_or_default())
            .await?;
        let state = self.put(birth.state.as_deref().unwrap_or_default()).await?;
        let arguments = (payload.0, payload.1, state.0, state.1);
        self.exports
            .init
            .call_async(&mut self.store, arguments)
            .await?;
        for range in [payload, state] {
            if range.1 > 0 {
                self.exports.free.call_async(&mut self.store, range).await?;
            }
        }
        self.clear().await
    }

    async fn handle(
        &mut self,
        message: &Message,
        call: Option<CallRef>,
        io: &Io,
    ) -> wasmtime::Result<()> {
        self.begin();
        let (pointer, length) = self.put_event(message).await?;
        let (node, component) = (pointer, pointer.wrapping_add(16));
        let (payload, payload_length) = (pointer.wrapping_add(32), length - 32);
        match call {
            None => {
                let arguments = (node, component, payload, payload_length);
                self.exports
                    .cast
                    .call_async(&mut self.store, arguments)
                    .await?;
            }
            Some(call) => {
                let out = self.put(&[0; 8]).await?;
                let arguments = (
                    node,
                    component,
                    payload,
                    payload_length,
                    out.0,
                    out.0.wrapping_add(4),
                );
                let kind = self
                    .exports
                    .call
                    .call_async(&mut self.store, arguments)
                    .await?;
                let answer = self.answer(kind, out.0).await?;
                self.exports.free.call_async(&mut self.store, out).await?;
                io.act(Action::Answer(call, answer));
            }
        }
        self.exports
            .free
            .call_async(&mut self.store, (pointer, length))
            .await?;
        self.clear().await
    }

    async fn stop(mut self) {
        self.begin();
        if let Err(error) = self.exports.stop.call_async(&mut self.store, ()).await {
            tracing::warn!(reason = reason(&error), "handle_stop_asm failed");
        }
    }

    /// The time of an event begins.
    fn begin(&mut self) {
        self.store.data_mut().ticks_left = self.event_ticks;
        self.store.set_epoch_deadline(1);
    }

    async fn clear(&mut self) -> wasmtime::Result<()> {
        match &self.exports.clear {
            Some(clear) => clear.call_async(&mut self.store, ()).await,
            None => Ok(()),
        }
    }

    async fn answer(&mut self, kind: i32, out: i32) -> wasmtime::Result<Answer> {
        match kind {
            0 => return Ok(Answer::NoReply),
            1 => {}
            _ => {
                return Ok(Answer::Error(
                    "the function answered with an error".to_owned(),
                ));
            }
        }
        let pointer = self.read_i32(out)?;
        let length = self.read_i32(out.wrapping_add(4))?;
        let (start, bytes) = (
            pointer.cast_unsigned() as usize,
            length.cast_unsigned() as usize,
        );
        let reply = self
            .memory
            .data(&self.store)
            .get(start..start.saturating_add(bytes))
            .map(Bytes::copy_from_slice)
            .ok_or_else(|| wasmtime::Error::msg("bad pointer: the answer is not in memory"))?;
        self.exports
            .free
            .call_async(&mut self.store, (pointer, length))
            .await?;
        Ok(Answer::Reply(reply))
    }

    fn read_i32(&self, pointer: i32) -> wasmtime::Result<i32> {
        let mut bytes = [0; 4];
        self.memory
            .read(&self.store, pointer.cast_unsigned() as usize, &mut bytes)?;
        Ok(i32::from_le_bytes(bytes))
    }

    /// Source ids and payload in one piece of guest memory.
    async fn put_event(&mut self, message: &Message) -> wasmtime::Result<(i32, i32)> {
        let length = i32::try_from(message.payload.len() + 32)?;
        let pointer = self
            .exports
            .allocate
            .call_async(&mut self.store, length)
            .await
            .and_then(allocated)?;
        let memory = self.memory.data_mut(&mut self.store);
        let start = pointer.cast_unsigned() as usize;
        let place = memory
            .get_mut(start..start.saturating_add(message.payload.len() + 32))
            .ok_or_else(|| wasmtime::Error::msg("bad pointer from edgeless_mem_alloc"))?;
        place[..16].copy_from_slice(message.source.node_id.uuid().as_bytes());
        place[16..32].copy_from_slice(message.source.physical_id.uuid().as_bytes());
        place[32..].copy_from_slice(&message.payload);
        Ok((pointer, length))
    }

    /// Bytes in guest memory; nothing is absent.
    async fn put(&mut self, bytes: &[u8]) -> wasmtime::Result<(i32, i32)> {
        if bytes.is_empty() {
            return Ok((0, 0));
        }
        let length = i32::try_from(bytes.len())?;
        let pointer = self
            .exports
            .allocate
            .call_async(&mut self.store, length)
            .await
            .and_then(allocated)?;
        self.memory
            .write(&mut self.store, pointer.cast_unsigned() as usize, bytes)?;
        Ok((pointer, length))
    }
}

/// What `edgeless_mem_alloc` gave; address 0 says that there is no memory.
pub(super) fn allocated(pointer: i32) -> wasmtime::Result<i32> {
    match pointer {
        0 => Err(wasmtime::Error::msg(
            "out of memory: edgeless_mem_alloc gave none",
        )),
        pointer => Ok(pointer),
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / TICK.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// How long a guest waits before its second restart within the window; each further one waits twice
/// as long.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Decides whether a guest may be restarted once more, and how soon: pure.
#[derive(Debug)]
pub(super) struct Restarts {
    limit: usize,
    window: Duration,
    times: VecDeque<Timestamp>,
}

impl Restarts {
    pub(super) fn new(limit: usize, window: Duration) -> Self {
        Self {
            limit,
            window,
            times: VecDeque::new(),
        }
    }

    /// How long to wait before the restart; none: it was restarted too often.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Duration> {
        while self
            .times
            .front()
            .is_some_and(|&at| now.since(at) > self.window)
        {
            self.times.pop_front();
        }
        let before = self.times.len();
        if before >= self.limit {
            return None;
        }
        self.times.push_back(now);
        let doublings = u32::try_from(before.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = PAUSE.saturating_mul(2_u32.saturating_pow(doublings));
        Some(match before {
            0 => Duration::ZERO,
            _ => pause.min(LONGEST_PAUSE),
        })
    }
}
