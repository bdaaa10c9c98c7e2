//! Guests in the text format: what they may do, and what happens to those that misbehave.

use std::{
    sync::{Arc, Mutex, PoisonError},
    task,
    time::Duration,
};

use edgeless_dataflow::{
    Engine, EngineConfig, Operator, Outbox, Outputs, Port, PortError, Progress, Remote, Spawn,
    SpawnError,
};
use edgeless_types::{Generation, NodeId, PhysicalId, message::MessageKind};
use uuid::Uuid;

use super::*;

/// Everything a guest must export; `%CAST%` and `%CALL%` are the bodies of the handlers, `%INIT%`
/// that of the start. Memory from 4096 on is handed out and never taken back but by `clear`.
const GUEST: &str = r#"(module
  (import "env" "cast_asm" (func $cast (param i32 i32 i32 i32)))
  (import "env" "call_asm" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "sync_asm" (func $sync (param i32 i32)))
  (memory (export "memory") 2)
  (data (i32.const 0) "out")
  (global $next (mut i32) (i32.const 4096))
  (func $alloc (export "edgeless_mem_alloc") (param $n i32) (result i32)
    (local $p i32)
    (local.set $p (global.get $next))
    (global.set $next (i32.add (global.get $next) (i32.add (local.get $n) (i32.const 8))))
    (local.get $p))
  (func (export "edgeless_mem_free") (param i32 i32))
  (func (export "edgeless_mem_clear") (global.set $next (i32.const 4096)))
  (func (export "handle_init_asm") (param $p i32) (param $pl i32) (param $s i32) (param $sl i32) %INIT%)
  (func (export "handle_cast_asm") (param $n i32) (param $c i32) (param $p i32) (param $l i32) %CAST%)
  (func (export "handle_call_asm") (param $n i32) (param $c i32) (param $p i32) (param $l i32)
    (param $op i32) (param $ol i32) (result i32) %CALL%)
  (func (export "handle_stop_asm")))"#;

const ECHO: &str = "(i32.store (local.get $op) (local.get $p)) \
    (i32.store (local.get $ol) (local.get $l)) (i32.const 1)";
const FORWARD: &str = "(call $cast (i32.const 0) (i32.const 3) (local.get $p) (local.get $l))";
const CALL_ON: &str = "(call $call (i32.const 0) (i32.const 3) (local.get $p) (local.get $l) \
    (local.get $op) (local.get $ol))";

struct Guests {
    engine: Engine,
    runtime: Runtime,
    seen: Arc<Mutex<Vec<Bytes>>>,
    _cache: tempfile::TempDir,
}

struct NoRemote;

impl Remote for NoRemote {
    fn send(
        &self,
        _: usize,
        _: NodeId,
        message: edgeless_types::message::Message,
    ) -> Result<(), edgeless_types::message::Message> {
        Err(message)
    }

    fn signal(&self, _: usize, _: edgeless_types::message::Signal) {}
}

/// Keeps what it is sent.
struct Sink(Arc<Mutex<Vec<Bytes>>>);

impl Operator for Sink {
    fn start(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }

    fn on_message(
        &mut self,
        message: edgeless_types::message::Message,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        assert_eq!(message.kind, MessageKind::Cast);
        self.0.lock().unwrap().push(message.payload);
        Progress::Done
    }

    fn on_answer(
        &mut self,
        _: u64,
        _: edgeless_dataflow::Answer,
        _: &mut task::Context<'_>,
        _: &mut Outbox,
    ) -> Progress {
        Progress::Done
    }

    fn poll(&mut self, _: &mut task::Context<'_>, _: &mut Outbox) -> Progress {
        Progress::Done
    }

    fn stop(&mut self, _: &mut Outbox) -> Option<Bytes> {
        None
    }
}

fn id(number: u128) -> edgeless_types::InstanceId {
    edgeless_types::InstanceId {
        node_id: NodeId::new(Uuid::nil()),
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
    }
}

impl Guests {
    fn start() -> Self {
        let clock: Clock = Arc::new(edgeless_daemon::wall_clock);
        let config = EngineConfig {
            node_id: NodeId::new(Uuid::nil()),
            shards: 1,
            inbox: 64,
            hops: edgeless_dataflow::HOPS,
            call_timeout: Duration::from_secs(5),
            park_timeout: Duration::from_secs(5),
            ack_timeout: Duration::from_secs(15),
            samples: 1_000,
            clock: Arc::clone(&clock),
            seed: 1,
        };
        let cache = tempfile::tempdir().unwrap();
        let limits = Limits {
            memory_bytes: 1 << 20,
            event_time: Duration::from_millis(100),
            instances: 20,
            restarts: 2,
            ..Limits::default()
        };
        Self {
            engine: Engine::start(config, Arc::new(NoRemote)).unwrap(),
            runtime: Runtime::start(limits, cache.path(), clock).unwrap(),
            seen: Arc::default(),
            _cache: cache,
        }
    }

    async fn guest(
        &self,
        number: u128,
        init: &str,
        cast: &str,
        call: &str,
        out: u128,
    ) -> Result<(), SpawnError> {
        let text = GUEST.replace("%INIT%", init).replace("%CAST%", cast);
        self.module(number, &text.replace("%CALL%", call), out)
            .await
    }

    async fn module(&self, number: u128, text: &str, out: u128) -> Result<(), SpawnError> {
        let code = Bytes::from(wat::parse_str(text).unwrap());
        let digest = CodeDigest::of(&code);
        self.runtime.load(digest, code).await.unwrap();
        let factory = self.runtime.factory(digest, None, None).unwrap();
        self.spawn(number, factory, out).await
    }

    async fn spawn(&self, number: u128, factory: Factory, out: u128) -> Result<(), SpawnError> {
        let outputs = Outputs::new(vec![("out".to_owned(), vec![id(out)])]);
        let physical_id = id(number).physical_id;
        let generation = Generation(1);
        self.engine
            .spawn(Spawn {
                physical_id,
                generation,
                outputs,
                tracked: Vec::new(),
                factory,
            })
            .await
    }

    /// A port whose channel `out` leads to the guest of this number.
    async fn port_to(&self, number: u128) -> Port {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let seen = Arc::clone(&self.seen);
        let factory: Factory = Box::new(move |context| {
            sender.send(context.port).unwrap();
            Ok(Box::new(Sink(seen)))
        });
        self.spawn(1_000 + number, factory, number).await.unwrap();
        receiver.await.unwrap()
    }

    async fn seen(&self, number: usize) -> Vec<Bytes> {
        let wait = async {
            while self
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .len()
                < number
            {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .unwrap();
        self.seen.lock().unwrap().clone()
    }
}

async fn call(port: &Port, payload: &'static str) -> Result<Option<Bytes>, PortError> {
    port.call(
        "out",
        Bytes::from_static(payload.as_bytes()),
        Duration::from_secs(10),
    )
    .await
}

#[tokio::test]
async fn a_guest_answers_calls_and_passes_casts_on() {
    let guests = Guests::start();
    guests.guest(1, "", FORWARD, ECHO, 1_001).await.unwrap();
    let port = guests.port_to(1).await;
    assert_eq!(
        call(&port, "hello").await,
        Ok(Some(Bytes::from_static(b"hello")))
    );
    port.cast("out", Bytes::from_static(b"on")).await.unwrap();
    assert_eq!(guests.seen(1).await, ["on"]);
}

#[tokio::test]
async fn a_call_between_guests_suspends_the_caller_only() {
    let guests = Guests::start();
    guests.guest(2, "", "", ECHO, 2).await.unwrap();
    guests.guest(1, "", "", CALL_ON, 2).await.unwrap();
    let port = guests.port_to(1).await;
    assert_eq!(
        call(&port, "through").await,
        Ok(Some(Bytes::from_static(b"through")))
    );
}

#[tokio::test]
async fn a_trap_ends_the_event_not_the_instance_until_it_traps_too_often() {
    let guests = Guests::start();
    guests.guest(1, "", "", "(unreachable)", 1).await.unwrap();
    let port = guests.port_to(1).await;
    for _ in 0..3 {
        let error = call(&port, "x").await.unwrap_err();
        assert!(error.to_string().contains("unreachable"), "{error}");
    }
    let mut failures = Vec::new();
    while failures.is_empty() {
        tokio::task::yield_now().await;
        failures = guests.engine.drain_failures();
    }
    assert!(
        failures[0].message.starts_with("restarted too often"),
        "{failures:?}"
    );
    assert!(matches!(call(&port, "x").await, Err(PortError::Failed(_))));
}

#[tokio::test]
async fn an_endless_loop_is_ended_and_neighbours_run_meanwhile() {
    let guests = Guests::start();
    guests
        .guest(1, "", "", "(loop (br 0)) (i32.const 0)", 1)
        .await
        .unwrap();
    guests.guest(2, "", "", ECHO, 2).await.unwrap();
    let (looping, echoing) = (guests.port_to(1).await, guests.port_to(2).await);
    let stuck = tokio::spawn(async move { call(&looping, "x").await });
    assert_eq!(
        call(&echoing, "y").await,
        Ok(Some(Bytes::from_static(b"y")))
    );
    let error = stuck.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[tokio::test]
async fn memory_bombs_bad_pointers_and_deep_recursion_end_as_errors() {
    let guests = Guests::start();
    let bomb = "(loop (drop (memory.grow (i32.const 1))) (br 0)) (i32.const 0)";
    let pointer =
        "(call $cast (i32.const 0) (i32.const 3) (i32.const -9) (i32.const 99)) (i32.const 0)";
    let answer = "(i32.store (local.get $op) (i32.const -4)) \
        (i32.store (local.get $ol) (i32.const 99)) (i32.const 1)";
    for (number, body, says) in [
        (1, bomb, "memory"),
        (2, pointer, "bad pointer"),
        (3, answer, "bad pointer"),
    ] {
        guests.guest(number, "", "", body, 1).await.unwrap();
        let port = guests.port_to(number).await;
        let error = call(&port, "x").await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn memory_that_is_out_is_an_error_and_nothing_is_written_to_address_0() {
    let guests = Guests::start();
    // It has memory for the event, and none for the answer of its call.
    let text = GUEST
        .replace("%INIT%", "")
        .replace("%CAST%", FORWARD)
        .replace("%CALL%", CALL_ON)
        .replace(
            "(local.get $p))\n  (func (export \"edgeless_mem_free",
            "(if (i32.eq (local.get $n) (i32.const 77)) (then (return (i32.const 0))))
             (local.get $p))\n  (func (export \"edgeless_mem_free",
        );
    let long = "(i32.store (local.get $op) (i32.const 0)) \
        (i32.store (local.get $ol) (i32.const 77)) (i32.const 1)";
    guests.guest(2, "", "", long, 2).await.unwrap();
    guests.module(1, &text, 2).await.unwrap();
    let port = guests.port_to(1).await;
    let error = call(&port, "x").await.unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
}

#[test]
fn restarts_pause_longer_and_longer_until_there_are_too_many() {
    let mut restarts = guest::Restarts::new(4, Duration::from_secs(60));
    let at = |seconds| edgeless_types::Timestamp::from_unix(Duration::from_secs(seconds));
    let pauses = [0, 10, 20, 40].map(|millis| Some(Duration::from_millis(millis)));
    assert_eq!([1, 2, 3, 4].map(|second| restarts.next(at(second))), pauses);
    assert_eq!(restarts.next(at(5)), None);
    assert!(restarts.next(at(62)).is_some(), "the first is forgotten");
}

#[tokio::test]
async fn saved_state_is_handed_to_the_next_incarnation() {
    let guests = Guests::start();
    // The start saves "out" when there is no state, else the cast handler is what forwards it.
    let init = "(if (i32.eqz (local.get $sl)) (then (call $sync (i32.const 0) (i32.const 3))) \
        (else (call $cast (i32.const 0) (i32.const 3) (local.get $s) (local.get $sl))))";
    guests
        .guest(1, init, "(unreachable)", ECHO, 1_001)
        .await
        .unwrap();
    let port = guests.port_to(1).await;
    port.cast("out", Bytes::new()).await.unwrap();
    assert_eq!(guests.seen(1).await, ["out"]);
    let state = guests
        .engine
        .stop(id(1).physical_id, Duration::from_secs(1))
        .await;
    assert_eq!(state, Some(Bytes::from_static(b"out")));
}

#[tokio::test]
async fn code_that_is_no_function_is_refused_with_the_reason() {
    let guests = Guests::start();
    let load = async |code: &'static [u8]| {
        let code = Bytes::from_static(code);
        guests.runtime.load(CodeDigest::of(&code), code).await
    };
    assert!(matches!(
        load(b"not wasm").await,
        Err(ModuleError::Compile(_))
    ));
    let code = wat::parse_str(r#"(module (import "env" "fly" (func)))"#).unwrap();
    let error = guests
        .runtime
        .load(CodeDigest::of(&code), code.into())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("env.fly"), "{error}");
    let code = Bytes::from(wat::parse_str("(module)").unwrap());
    let digest = CodeDigest::of(&code);
    guests.runtime.load(digest, code).await.unwrap();
    let factory = guests.runtime.factory(digest, None, None).unwrap();
    let error = guests.spawn(1, factory, 1).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
}
