//! Guests in the text format: what they may do, and what happens to those that misbehave.

use std::time::Duration;

use bytes::Bytes;
use edgeless_dataflow::{PortError, SpawnError};
use edgeless_types::CodeDigest;

use crate::runtime::{
    CodeError,
    testing::{Guests, call, id},
};

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

impl Guests {
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
        self.start_text(&self.runtimes.wasm, number, text, out)
            .await
    }
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
async fn endless_loops_at_once_are_all_ended() {
    let guests = Guests::start();
    let mut calls = tokio::task::JoinSet::new();
    for number in 1..=4 {
        let body = "(loop (br 0)) (i32.const 0)";
        guests.guest(number, "", "", body, 1).await.unwrap();
        let port = guests.port_to(number).await;
        calls.spawn(async move { call(&port, "x").await });
    }
    for ended in calls.join_all().await {
        let error = ended.unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }
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

#[tokio::test]
async fn calls_that_wait_for_themselves_are_answered_with_their_path() {
    let guests = Guests::start();
    // One that calls itself, and two that call one another.
    guests.guest(1, "", "", CALL_ON, 1).await.unwrap();
    guests.guest(2, "", "", CALL_ON, 3).await.unwrap();
    guests.guest(3, "", "", CALL_ON, 2).await.unwrap();
    for (first, path) in [(1, vec![1, 1]), (2, vec![2, 3, 2])] {
        let port = guests.port_to(first).await;
        let error = call(&port, "x").await.unwrap_err().to_string();
        let path: Vec<String> = path
            .into_iter()
            .map(|it| id(it).physical_id.to_string())
            .collect();
        let path = format!("a circle of calls: {}", path.join(" → "));
        assert!(error.contains(&path), "{error}");
    }
    let circles = &guests.engine.counters().circles;
    assert_eq!(circles.load(std::sync::atomic::Ordering::SeqCst), 2);
    // Each is ready for the next event.
    guests.guest(4, "", "", ECHO, 4).await.unwrap();
    guests.guest(5, "", "", CALL_ON, 4).await.unwrap();
    let port = guests.port_to(5).await;
    assert!(call(&port, "x").await.is_ok());
}

#[tokio::test]
async fn payloads_larger_than_the_memory_are_refused_and_all_of_the_memory_is_a_payload() {
    let guests = Guests::start();
    let giant = "(call $cast (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0x7fffffff)) \
        (i32.const 0)";
    guests.guest(1, "", "", giant, 1_001).await.unwrap();
    let error = call(&guests.port_to(1).await, "x").await.unwrap_err();
    assert!(error.to_string().contains("pointer"), "{error}");
    let all = "(call $cast (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 131072)) \
        (i32.const 0)";
    guests.guest(2, "", "", all, 1_001).await.unwrap();
    assert_eq!(call(&guests.port_to(2).await, "x").await, Ok(None));
    assert_eq!(guests.seen(1).await[0].len(), 131_072);
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
async fn a_state_that_a_guest_began_with_is_handed_on_though_it_saved_nothing_itself() {
    let guests = Guests::start();
    let text = GUEST.replace("%INIT%", "").replace("%CAST%", "");
    let text = text.replace("%CALL%", ECHO);
    let code = Bytes::from(wat::parse_str(&text).unwrap());
    let digest = CodeDigest::of(&code);
    let runtime = &guests.runtimes.wasm;
    runtime.load(digest, code).await.unwrap();
    let state = Some(Bytes::from_static(b"before"));
    let factory = runtime.factory(digest, None, state.clone()).unwrap();
    guests.spawn(1, factory, 1_001).await.unwrap();
    let stopped = guests
        .engine
        .stop(id(1).physical_id, Duration::from_secs(1));
    assert_eq!(stopped.await, state);
}

#[tokio::test]
async fn code_that_is_no_function_is_refused_with_the_reason() {
    let guests = Guests::start();
    let load = async |code: &'static [u8]| {
        let code = Bytes::from_static(code);
        guests.runtimes.wasm.load(CodeDigest::of(&code), code).await
    };
    assert!(matches!(
        load(b"not wasm").await,
        Err(CodeError::Kind { .. })
    ));
    assert!(matches!(
        load(b"\0asm\x01\0\0\0\xff").await,
        Err(CodeError::Compile(_))
    ));
    let code = wat::parse_str(r#"(module (import "env" "fly" (func)))"#).unwrap();
    let error = guests
        .runtimes
        .wasm
        .load(CodeDigest::of(&code), code.into())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("env.fly"), "{error}");
    let code = Bytes::from(wat::parse_str("(module)").unwrap());
    let digest = CodeDigest::of(&code);
    guests.runtimes.wasm.load(digest, code).await.unwrap();
    let factory = guests.runtimes.wasm.factory(digest, None, None).unwrap();
    let error = guests.spawn(1, factory, 1).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
}

#[tokio::test]
async fn a_guest_for_which_there_is_no_room_says_which_setting_gives_more() {
    let guests = Guests::start();
    for number in 1..=20 {
        guests.guest(number, "", "", ECHO, number).await.unwrap();
    }
    let refused = guests.guest(21, "", "", ECHO, 21).await.unwrap_err();
    assert!(refused.to_string().contains("`max_instances`"), "{refused}");
}

/// Starts one of `functions/`, as it is checked in.
async fn checked_in(
    guests: &Guests,
    number: u128,
    name: &str,
    init: &str,
) -> Result<(), SpawnError> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../functions");
    let code = std::fs::read(format!("{folder}/{name}/{name}.wasm")).unwrap();
    let (code, runtime) = (Bytes::from(code), &guests.runtimes.wasm);
    let digest = CodeDigest::of(&code);
    runtime.load(digest, code).await.unwrap();
    let factory = runtime.factory(digest, Some(init.to_owned()), None);
    guests.spawn(number, factory.unwrap(), number).await
}

#[tokio::test]
async fn add_and_times_do_their_tasks_in_either_message_of_an_order() {
    let guests = Guests::start();
    let named = r#"{"by": 2, "name": "B"}"#;
    checked_in(&guests, 1, "add", "2").await.unwrap();
    checked_in(&guests, 2, "times", named).await.unwrap();
    let (add, times) = (guests.port_to(1).await, guests.port_to(2).await);
    for (port, payload, expected) in [
        (&add, "5", "7"),
        (&times, "2.5", "5.0"),
        (
            &add,
            r#"{"input":5,"tasks":["A","B"],"done":[]}"#,
            r#"{"input":7,"tasks":["A","B"],"done":["A"]}"#,
        ),
        (
            &times,
            r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5}}}"#,
            r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10}},"from":"B"}"#,
        ),
    ] {
        let answer = call(port, payload).await.unwrap().unwrap();
        assert_eq!(answer, expected, "{payload}");
    }
    for payload in ["five", r#"{"input":5}"#] {
        let error = call(&add, payload).await.unwrap_err();
        assert!(matches!(error, PortError::Failed(_)), "{error}");
    }
    // The instance is there all the same.
    assert_eq!(call(&add, "5").await, Ok(Some("7".into())));
    assert!(checked_in(&guests, 3, "add", "two").await.is_err());
}
