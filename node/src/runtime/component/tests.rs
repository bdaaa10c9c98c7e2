//! Components in the text format: what they may do, and what happens to those that misbehave.

use std::time::Duration;

use bytes::Bytes;
use edgeless_dataflow::{PortError, SpawnError};
use edgeless_types::CodeDigest;

use crate::runtime::{
    CodeError,
    testing::{Guests, call, id},
};

/// A component of the world; `%INIT%`, `%CAST%` and `%CALL%` are the bodies of its handlers. Memory from
/// 4096 on is handed out and never taken back; answers are put at 64.
const GUEST: &str = r#"(component
  (import "edgeless:guest/types@0.1.0" (instance $types
    (type $uuid-record (record (field "high" u64) (field "low" u64)))
    (export "uuid" (type $uuid (eq $uuid-record)))
    (type $id-record (record (field "node" $uuid) (field "instance" $uuid)))
    (export "instance-id" (type (eq $id-record)))))
  (alias export $types "instance-id" (type $id))
  (type $bytes (list u8))
  (type $maybe (option $bytes))
  (type $answer (result $maybe (error string)))
  (import "edgeless:guest/messages@0.1.0" (instance $messages
    (export "cast" (func (param "channel" string) (param "payload" (list u8))))
    (export "call" (func (param "channel" string) (param "payload" (list u8))
      (result (result (option (list u8)) (error string)))))))
  (import "edgeless:guest/state@0.1.0" (instance $state
    (export "save" (func (param "state" (list u8))))))
  (core module $Heap
    (memory (export "memory") 2)
    (data (i32.const 0) "out")
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32) (param $n i32) (result i32)
      (local $p i32)
      (local.set $p (global.get $next))
      (global.set $next (i32.and (i32.const -8)
        (i32.add (global.get $next) (i32.add (local.get $n) (i32.const 8)))))
      (local.get $p)))
  (core instance $heap (instantiate $Heap))
  (alias core export $heap "memory" (core memory $memory))
  (alias core export $heap "realloc" (core func $realloc))
  (core func $cast (canon lower (func $messages "cast") (memory $memory)))
  (core func $call (canon lower (func $messages "call") (memory $memory) (realloc $realloc)))
  (core func $save (canon lower (func $state "save") (memory $memory)))
  (core module $Main
    (import "heap" "memory" (memory 2))
    (import "host" "cast" (func $cast (param i32 i32 i32 i32)))
    (import "host" "call" (func $call (param i32 i32 i32 i32 i32)))
    (import "host" "save" (func $save (param i32 i32)))
    (func (export "init") (param i32) (param $p i32) (param $l i32)
      (param $has i32) (param $s i32) (param $sl i32) %INIT%)
    (func (export "cast") (param i64 i64 i64 i64) (param $p i32) (param $l i32) %CAST%)
    (func (export "call") (param i64 i64 i64 i64) (param $p i32) (param $l i32) (result i32) %CALL%)
    (func (export "stop")))
  (core instance $main (instantiate $Main
    (with "heap" (instance $heap))
    (with "host" (instance
      (export "cast" (func $cast)) (export "call" (func $call)) (export "save" (func $save))))))
  (func (export "init") (param "payload" $maybe) (param "state" $maybe)
    (canon lift (core func $main "init") (memory $memory) (realloc $realloc)))
  (func (export "handle-cast") (param "source" $id) (param "payload" $bytes)
    (canon lift (core func $main "cast") (memory $memory) (realloc $realloc)))
  (func (export "handle-call") (param "source" $id) (param "payload" $bytes) (result $answer)
    (canon lift (core func $main "call") (memory $memory) (realloc $realloc)))
  (func (export "stop") (canon lift (core func $main "stop"))))"#;

const ECHO: &str = "(i32.store8 (i32.const 64) (i32.const 0)) (i32.store8 (i32.const 68) (i32.const 1)) \
    (i32.store (i32.const 72) (local.get $p)) (i32.store (i32.const 76) (local.get $l)) (i32.const 64)";
const FORWARD: &str = "(call $cast (i32.const 0) (i32.const 3) (local.get $p) (local.get $l))";
const CALL_ON: &str = "(call $call (i32.const 0) (i32.const 3) (local.get $p) (local.get $l) \
    (i32.const 64)) (i32.const 64)";

impl Guests {
    async fn component(
        &self,
        number: u128,
        [init, cast, call]: [&str; 3],
        out: u128,
    ) -> Result<(), SpawnError> {
        let text = GUEST.replace("%INIT%", init).replace("%CAST%", cast);
        let text = text.replace("%CALL%", call);
        let runtime = &self.runtimes.component;
        self.start_text(runtime, number, &text, out).await
    }
}

#[tokio::test]
async fn a_component_answers_calls_and_passes_casts_on() {
    let guests = Guests::start();
    guests
        .component(1, ["", FORWARD, ECHO], 1_001)
        .await
        .unwrap();
    let port = guests.port_to(1).await;
    for _ in 0..3 {
        let answer = call(&port, "hello").await;
        assert_eq!(answer, Ok(Some(Bytes::from_static(b"hello"))));
    }
    port.cast("out", Bytes::from_static(b"on")).await.unwrap();
    assert_eq!(guests.seen(1).await, ["on"]);
}

#[tokio::test]
async fn a_component_written_in_c_adds_up_and_starts_with_what_it_saved() {
    let code = include_bytes!("../../../../functions/sum_in_c/sum_in_c.wasm");
    let code = Bytes::from_static(code);
    let digest = CodeDigest::of(&code);
    let guests = Guests::start();
    let runtime = &guests.runtimes.component;
    runtime.load(digest, code).await.unwrap();
    let forty: Bytes = 40_u64.to_le_bytes().to_vec().into();
    let payload = Some("ignored".to_owned());
    let factory = runtime.factory(digest, payload, Some(forty)).unwrap();
    guests.spawn(1, factory, 1_001).await.unwrap();
    let port = guests.port_to(1).await;
    // More than its memory holds at once, so that what events leave behind would show.
    let zeros = Bytes::from(vec![b'0'; 100_000]);
    for _ in 0..50 {
        port.cast("out", zeros.clone()).await.unwrap();
    }
    assert_eq!(guests.seen(50).await[49], "40");
    let answer = call(&port, "2").await;
    assert_eq!(answer, Ok(Some(Bytes::from_static(b"42"))));
    let answer = call(&port, "two").await;
    assert_eq!(answer, Ok(Some(Bytes::from_static(b"42"))));
    let stopping = guests
        .engine
        .stop(id(1).physical_id, Duration::from_secs(1));
    assert_eq!(stopping.await.unwrap(), 42_u64.to_le_bytes()[..]);
}

#[tokio::test]
async fn an_answer_may_be_none_or_an_error_in_words() {
    let guests = Guests::start();
    let none = "(i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 0)) \
        (i32.const 64)";
    let error = "(i32.store (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 0)) \
        (i32.store (i32.const 72) (i32.const 3)) (i32.const 64)";
    guests.component(1, ["", "", none], 1).await.unwrap();
    guests.component(2, ["", "", error], 2).await.unwrap();
    // The error passes through one that calls on.
    guests.component(3, ["", "", CALL_ON], 2).await.unwrap();
    assert_eq!(call(&guests.port_to(1).await, "x").await, Ok(None));
    for number in [2, 3] {
        let error = call(&guests.port_to(number).await, "x").await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("out"), "{error}");
    }
}

#[tokio::test]
async fn a_call_between_components_suspends_the_caller_only() {
    let guests = Guests::start();
    guests.component(3, ["", "", ECHO], 3).await.unwrap();
    guests.component(2, ["", "", CALL_ON], 3).await.unwrap();
    guests.component(1, ["", "", CALL_ON], 2).await.unwrap();
    let port = guests.port_to(1).await;
    let answer = call(&port, "through").await;
    assert_eq!(answer, Ok(Some(Bytes::from_static(b"through"))));
}

#[tokio::test]
async fn a_trap_restarts_the_guest_until_it_traps_too_often() {
    let guests = Guests::start();
    guests
        .component(1, ["", "", "(unreachable)"], 1)
        .await
        .unwrap();
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
    let text = &failures[0].message;
    assert!(text.starts_with("restarted too often"), "{text}");
    assert!(matches!(call(&port, "x").await, Err(PortError::Failed(_))));
}

#[tokio::test]
async fn an_endless_loop_is_ended_and_neighbours_run_meanwhile() {
    let guests = Guests::start();
    let endless = "(loop (br 0)) (i32.const 0)";
    guests.component(1, ["", "", endless], 1).await.unwrap();
    guests.component(2, ["", "", ECHO], 2).await.unwrap();
    let (looping, echoing) = (guests.port_to(1).await, guests.port_to(2).await);
    let stuck = tokio::spawn(async move { call(&looping, "x").await });
    let answer = call(&echoing, "y").await;
    assert_eq!(answer, Ok(Some(Bytes::from_static(b"y"))));
    let error = stuck.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
}

#[tokio::test]
async fn memory_bombs_and_bad_pointers_end_as_errors() {
    let guests = Guests::start();
    let bomb = "(loop (drop (memory.grow (i32.const 1))) (br 0)) (i32.const 0)";
    let pointer =
        "(call $cast (i32.const 0) (i32.const 3) (i32.const -9) (i32.const 99)) (i32.const 0)";
    for (number, body, says) in [
        (1, bomb, "memory"),
        (2, pointer, "out of bounds"),
        (3, "(i32.const -4)", "out of bounds"),
    ] {
        guests.component(number, ["", "", body], 1).await.unwrap();
        let port = guests.port_to(number).await;
        let error = call(&port, "x").await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn saved_state_is_handed_to_the_next_incarnation() {
    let guests = Guests::start();
    // The start saves "out" when there is no state, else it passes the state on.
    let init = "(if (i32.eqz (local.get $has)) (then (call $save (i32.const 0) (i32.const 3))) \
        (else (call $cast (i32.const 0) (i32.const 3) (local.get $s) (local.get $sl))))";
    guests
        .component(1, [init, "(unreachable)", ECHO], 1_001)
        .await
        .unwrap();
    let port = guests.port_to(1).await;
    port.cast("out", Bytes::new()).await.unwrap();
    assert_eq!(guests.seen(1).await, ["out"]);
    let stopping = guests
        .engine
        .stop(id(1).physical_id, Duration::from_secs(1));
    assert_eq!(stopping.await, Some(Bytes::from_static(b"out")));
}

#[tokio::test]
async fn code_of_another_world_is_refused_with_the_reason() {
    let guests = Guests::start();
    let load = async |text: &str| {
        let code = Bytes::from(wat::parse_str(text).unwrap());
        let digest = CodeDigest::of(&code);
        let error = guests.runtimes.component.load(digest, code).await;
        error.unwrap_err()
    };
    let error = load("(module)").await;
    assert!(matches!(error, CodeError::Kind { .. }));
    let text = error.to_string();
    assert!(
        text.contains("is a core module; WASM_COMPONENT needs a component"),
        "{text}"
    );
    let text = load("(component)").await.to_string();
    assert!(
        text.contains("init, handle-cast, handle-call, stop"),
        "{text}"
    );
    let wasi = r#"(component (import "wasi:cli/stdout@0.2.0" (instance)))"#;
    let text = load(wasi).await.to_string();
    assert!(text.contains("wasi:cli/stdout@0.2.0"), "{text}");
    // A handler of another shape is found at the latest when an instance is made.
    let odd = GUEST
        .replace("%INIT%", "")
        .replace("%CAST%", "")
        .replace("%CALL%", "(i32.const 0)")
        .replace(
            "(param \"source\" $id) (param \"payload\" $bytes)\n",
            "(param \"source\" $id) (param \"payload\" string)\n",
        );
    let runtime = &guests.runtimes.component;
    let error = guests.start_text(runtime, 1, &odd, 1).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("`handle-cast` has other types"), "{text}");
}

#[tokio::test]
async fn a_component_is_no_function_of_the_other_runtime() {
    let guests = Guests::start();
    let code = Bytes::from(wat::parse_str("(component)").unwrap());
    let digest = CodeDigest::of(&code);
    let error = guests.runtimes.wasm.load(digest, code).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("is a component; RUST_WASM needs a core module"),
        "{text}"
    );
}
