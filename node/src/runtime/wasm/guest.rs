//! The life of a guest: instantiated, handed its messages, restarted after a trap.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use edgeless_dataflow::{Action, Answer, CallRef, Clock};
use edgeless_types::{InstanceId, Timestamp, message::Message};
use wasmtime::{Memory, Store, StoreLimits, StoreLimitsBuilder, TypedFunc, UpdateDeadline};

use super::{
    Limits,
    driver::Driver,
    io::{Finished, Io},
    modules::Loaded,
    ticker::{TICK, Ticker},
};

/// All that is needed to make a guest, again and again.
pub(super) struct Birth {
    pub(super) engine: wasmtime::Engine,
    pub(super) driver: Driver,
    pub(super) ticker: Ticker,
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
    /// The event that is being handled.
    pub(super) event: Option<Message>,
    /// Where payloads of the guest are copied to, many into one allocation.
    pub(super) arena: BytesMut,
    pub(super) allocate: Option<TypedFunc<i32, i32>>,
    ticker: Ticker,
    event_ticks: u64,
    ticks_left: u64,
    limits: StoreLimits,
}

impl GuestState {
    /// The time of an event begins.
    pub(super) fn begin(&mut self) {
        self.ticks_left = self.event_ticks;
        self.ticker.touch();
    }

    /// The guest goes on after it waited.
    pub(super) fn resume(&self) {
        self.ticker.touch();
    }

    /// What allocates memory in the guest; an error before it is instantiated.
    pub(super) fn allocate(&self) -> wasmtime::Result<TypedFunc<i32, i32>> {
        self.allocate
            .clone()
            .ok_or_else(|| wasmtime::Error::msg("the guest is not ready"))
    }
}

/// A guest that is ready, and its store.
struct Guest {
    store: Store<GuestState>,
    run: TypedFunc<(), ()>,
}

/// Runs a guest for as long as its operator lives.
pub(super) async fn run(mut birth: Birth, io: Io) {
    let mut restarts = Restarts::new(birth.limits.restarts, birth.limits.restart_window);
    loop {
        let mut guest = match Guest::make(&birth, &io).await {
            Ok(guest) => guest,
            Err(error) => return io.finish(Finished::Failed(reason(&error))),
        };
        let Err(error) = guest.run.call_async(&mut guest.store, ()).await else {
            return; // It was told to stop.
        };
        let reason = reason(&error);
        tracing::warn!(instance = %birth.me.physical_id, reason, "an event failed");
        let state = guest.store.data_mut();
        let call = state
            .event
            .take()
            .and_then(|event| CallRef::of_call(&event));
        io.act(Action::Fault(reason.clone()));
        if let Some(call) = call {
            io.act(Action::Answer(call, Answer::Error(reason.clone())));
        }
        birth.state = state.saved.take().or(birth.state);
        drop(guest);
        let Some(pause) = restarts.next((birth.clock)()) else {
            let text = format!("restarted too often; last: {reason}");
            return io.finish(Finished::Failed(text));
        };
        tokio::time::sleep(pause).await;
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
            event: None,
            arena: BytesMut::new(),
            allocate: None,
            ticker: birth.ticker.clone(),
            event_ticks: ticks(birth.limits.event_time),
            ticks_left: 0,
            limits,
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
        store.data_mut().begin();
        store.set_epoch_deadline(1);
        let instance = birth.module.pre.instantiate_async(&mut store).await?;
        let memory = instance
            .get_memory(&mut store, "memory")
            .ok_or_else(|| wasmtime::Error::msg("the export `memory` is missing"))?;
        let allocate = instance.get_typed_func(&mut store, "edgeless_mem_alloc")?;
        store.data_mut().memory = Some(memory);
        store.data_mut().allocate = Some(allocate);
        init(&mut store, instance, birth).await?;
        let run = birth.driver.attach(&mut store, instance).await?;
        Ok(Self { store, run })
    }
}

async fn init(
    store: &mut Store<GuestState>,
    instance: wasmtime::Instance,
    birth: &Birth,
) -> wasmtime::Result<()> {
    store.data_mut().begin();
    store.set_epoch_deadline(1);
    let init: TypedFunc<(i32, i32, i32, i32), ()> =
        instance.get_typed_func(&mut *store, "handle_init_asm")?;
    let free: TypedFunc<(i32, i32), ()> =
        instance.get_typed_func(&mut *store, "edgeless_mem_free")?;
    let payload = put(store, birth.init_payload.as_deref().unwrap_or_default()).await?;
    let state = put(store, birth.state.as_deref().unwrap_or_default()).await?;
    let arguments = (payload.0, payload.1, state.0, state.1);
    init.call_async(&mut *store, arguments).await?;
    for range in [payload, state] {
        if range.1 > 0 {
            free.call_async(&mut *store, range).await?;
        }
    }
    match instance.get_typed_func::<(), ()>(&mut *store, "edgeless_mem_clear") {
        Ok(clear) => clear.call_async(&mut *store, ()).await,
        Err(_) => Ok(()),
    }
}

/// Bytes in guest memory; nothing is absent.
async fn put(store: &mut Store<GuestState>, bytes: &[u8]) -> wasmtime::Result<(i32, i32)> {
    if bytes.is_empty() {
        return Ok((0, 0));
    }
    let length = i32::try_from(bytes.len())?;
    let allocate = store.data().allocate()?;
    let pointer = allocate.call_async(&mut *store, length).await;
    let pointer = pointer.and_then(allocated)?;
    let memory = store.data().memory;
    let memory = memory.ok_or_else(|| wasmtime::Error::msg("the guest is not ready"))?;
    memory.write(&mut *store, pointer.cast_unsigned() as usize, bytes)?;
    Ok((pointer, length))
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
