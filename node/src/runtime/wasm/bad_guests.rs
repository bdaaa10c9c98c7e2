//! Guests that do what no guest should, in every import and export. Each event ends with an error that
//! says why, and a neighbour on the same shard goes on.

mod circles;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::SpawnError;
use edgeless_types::{
    InstanceId, NodeId, PhysicalId,
    message::{Envelope, Extra, Message, MessageId, MessageKind},
};
use uuid::Uuid;

use crate::runtime::{
    guest::LOG_BYTES,
    testing::{Guests, call, id},
};

const IMPORTS: &str = r#"
  (import "env" "cast_asm" (func $cast (param i32 i32 i32 i32)))
  (import "env" "cast_raw_asm" (func $cast_raw (param i32 i32 i32 i32)))
  (import "env" "call_asm" (func $call (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "call_raw_asm" (func $call_raw (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "delayed_cast_asm" (func $delayed (param i64 i32 i32 i32 i32)))
  (import "env" "telemetry_log_asm" (func $log (param i32 i32 i32 i32 i32)))
  (import "env" "slf_asm" (func $slf (param i32 i32)))
  (import "env" "sync_asm" (func $sync (param i32 i32)))"#;

/// The bodies of the exports. By default a good guest: it answers calls with their payload.
struct Bodies {
    alloc: &'static str,
    free: &'static str,
    clear: &'static str,
    init: &'static str,
    cast: &'static str,
    call: &'static str,
    stop: &'static str,
    more: &'static str,
}

const ALLOC: &str = "(call $bump (local.get $n))";
const ECHO: &str = "(i32.store (local.get $op) (local.get $p)) \
    (i32.store (local.get $ol) (local.get $l)) (i32.const 1)";
const GOOD: Bodies = Bodies {
    alloc: ALLOC,
    free: "",
    clear: "(global.set $next (i32.const 4096))",
    init: "",
    cast: "",
    call: ECHO,
    stop: "",
    more: "",
};
/// Ends neither by itself nor by a trap.
const ENDLESS: &str = "(loop (br 0))";
/// More than an event may send; `%` is what it does.
const OFTEN: &str = "(local.set $n (i32.const 200000)) (loop % \
    (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if 0 (local.get $n)))";

impl Bodies {
    fn text(&self) -> String {
        let Self {
            alloc,
            free,
            clear,
            init,
            cast,
            call,
            stop,
            more,
        } = self;
        format!(
            r#"(module {IMPORTS}
  (memory (export "memory") 2)
  (data (i32.const 0) "out")
  (data (i32.const 8) "self")
  (global $next (mut i32) (i32.const 4096))
  (func $bump (param $n i32) (result i32)
    (global.get $next)
    (global.set $next (i32.add (global.get $next) (i32.add (local.get $n) (i32.const 8)))))
  {more}
  (func (export "edgeless_mem_alloc") (param $n i32) (result i32) {alloc})
  (func (export "edgeless_mem_free") (param i32 i32) {free})
  (func (export "edgeless_mem_clear") {clear})
  (func (export "handle_init_asm") (param i32 i32 i32 i32) {init})
  (func (export "handle_cast_asm") (param i32 i32 i32 i32) (local $n i32) {cast})
  (func (export "handle_call_asm") (param $s i32) (param $c i32) (param $p i32) (param $l i32)
    (param $op i32) (param $ol i32) (result i32) (local $n i32) {call})
  (func (export "handle_stop_asm") {stop}))"#
        )
    }
}

/// Starts a guest; its channel `out` leads to the instance of that number.
async fn start(guests: &Guests, number: u128, text: &str, out: u128) -> Result<(), SpawnError> {
    let wasm = &guests.runtimes.wasm;
    guests.start_text(wasm, number, text, out).await
}

/// Guest 1 is bad and says so when it is called; guest 2, the neighbour, to whom its channel leads, is well.
async fn check(bad: Bodies, says: &str) {
    let guests = Guests::start();
    start(&guests, 2, &GOOD.text(), 2).await.unwrap();
    start(&guests, 1, &bad.text(), 2).await.unwrap();
    let (port, neighbour) = (guests.port_to(1).await, guests.port_to(2).await);
    let error = call(&port, "x").await.unwrap_err().to_string();
    assert!(
        error.contains(says),
        "`{error}` does not say `{says}`: {}",
        bad.call
    );
    assert_eq!(call(&neighbour, "y").await, Ok(Some("y".into())));
    assert_eq!(guests.engine.counters().faults.load(SeqCst), 1);
    // The instance itself is made anew, and as bad as before.
    assert!(call(&port, "x").await.is_err());
}

/// Guest 1 does this when it is called, and then answers.
async fn check_call(body: &str, says: &str) {
    let body: &'static str = Box::leak(format!("{body} (i32.const 0)").into_boxed_str());
    check(Bodies { call: body, ..GOOD }, says).await;
}

#[tokio::test]
async fn wrong_pointers_in_imports_are_named() {
    // Beyond the end, over the end, and with a length that wraps around.
    for (at, length) in [(-9, 99), (131_071, 2), (131_073, 1), (1, -1), (0, i32::MAX)] {
        let range = format!("(i32.const {at}) (i32.const {length})");
        let good = "(i32.const 0) (i32.const 3)";
        let out = "(i32.const 64) (i32.const 68)";
        let ids = "(i32.const 16) (i32.const 16)";
        for body in [
            format!("(call $cast {range} {good})"),
            format!("(call $cast {good} {range})"),
            format!("(call $cast_raw {ids} {range})"),
            format!("(drop (call $call {range} {good} {out}))"),
            format!("(drop (call $call {good} {range} {out}))"),
            format!("(drop (call $call_raw {ids} {range} {out}))"),
            format!("(call $delayed (i64.const 1) {range} {good})"),
            format!("(call $delayed (i64.const -1) {good} {range})"),
            format!("(call $log (i32.const 1) {range} {good})"),
            format!("(call $log (i32.const -7) {good} {range})"),
            format!("(call $sync {range})"),
        ] {
            check_call(&body, "bad pointer").await;
        }
    }
}

#[tokio::test]
async fn a_state_that_nobody_would_keep_is_an_error() {
    let body = "(drop (memory.grow (i32.const 20))) (call $sync (i32.const 0) (i32.const 1048577))";
    check_call(body, "it saves too much").await;
}

#[tokio::test]
async fn wrong_places_for_ids_and_answers_are_named() {
    for at in [-1, -16, 131_072, 131_070, i32::MAX, i32::MIN] {
        let (bad, good) = (format!("(i32.const {at})"), "(i32.const 64)");
        let payload = "(i32.const 0) (i32.const 3)";
        for body in [
            format!("(call $slf {bad} {good})"),
            format!("(call $slf {good} {bad})"),
            format!("(call $cast_raw {bad} {good} {payload})"),
            format!("(call $cast_raw {good} {bad} {payload})"),
            format!("(drop (call $call_raw {bad} {good} {payload} {good} {good}))"),
            format!("(drop (call $call_raw {good} {bad} {payload} {good} {good}))"),
            format!("(drop (call $call {payload} {payload} {bad} {good}))"),
            format!("(drop (call $call {payload} {payload} {good} {bad}))"),
        ] {
            check_call(&body, "bad pointer").await;
        }
    }
}

#[tokio::test]
async fn a_trap_after_a_call_that_failed_says_why_it_failed() {
    let call = "(drop (call $call (i32.const 0) (i32.const 2) (i32.const 0) (i32.const 1) \
        (i32.const 16) (i32.const 20))) (unreachable)";
    let bad = Bodies { call, ..GOOD };
    check(bad, "after its call failed: output `ou` leads nowhere").await;
}

#[tokio::test]
async fn exports_that_answer_nonsense_are_named() {
    let with = |alloc| Bodies { alloc, ..GOOD };
    check(with("(i32.const 0)"), "out of memory").await;
    check(with("(i32.const -1)"), "bad pointer").await;
    check(with("(i32.const 131060)"), "bad pointer").await;
    check(with(ENDLESS_VALUE), "too long").await;
    check(with("(unreachable)"), "unreachable").await;
    // Right for the event, wrong for the place of the answer.
    let second = "(if (i32.eq (local.get $n) (i32.const 8)) (then (return (i32.const -4)))) \
        (call $bump (local.get $n))";
    check(with(second), "bad pointer").await;
    // Answers that lie elsewhere, and kinds of answers that there are not.
    let far = "(i32.store (local.get $op) (i32.const -4)) \
        (i32.store (local.get $ol) (i32.const 99)) (i32.const 1)";
    check(Bodies { call: far, ..GOOD }, "bad pointer").await;
    let giant = "(i32.store (local.get $op) (i32.const 0)) \
        (i32.store (local.get $ol) (i32.const 0x7fffffff)) (i32.const 1)";
    check(
        Bodies {
            call: giant,
            ..GOOD
        },
        "bad pointer",
    )
    .await;
}

const ENDLESS_VALUE: &str = "(loop (br 0)) (i32.const 0)";

#[tokio::test]
async fn kinds_of_answers_that_there_are_not_are_errors() {
    let guests = Guests::start();
    for (number, kind) in [(1, "(i32.const 3)"), (2, "(i32.const -1)")] {
        let bad = Bodies { call: kind, ..GOOD };
        start(&guests, number, &bad.text(), 2).await.unwrap();
        let port = guests.port_to(number).await;
        let error = call(&port, "x").await.unwrap_err().to_string();
        assert!(error.contains("answered with an error"), "{error}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_may_fail_and_the_answer_stands() {
    for body in ["(unreachable)", ENDLESS] {
        let free = Bodies { free: body, ..GOOD };
        let clear = Bodies {
            clear: "(if (i32.ne (global.get $next) (i32.const 4096)) (then (unreachable)))",
            ..GOOD
        };
        for bad in [free, clear] {
            let guests = Guests::start();
            start(&guests, 1, &bad.text(), 2).await.unwrap();
            let port = guests.port_to(1).await;
            assert_eq!(call(&port, "x").await, Ok(Some("x".into())));
            while guests.engine.counters().faults.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            assert_eq!(call(&port, "y").await, Ok(Some("y".into())));
        }
    }
}

#[tokio::test]
async fn traps_loops_and_missing_exports_at_the_start_fail_the_start() {
    let guests = Guests::start();
    let began = "(func $s (loop (br 0))) (start $s)";
    let calls = "(func $s (call $cast (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) \
        (start $s)";
    let init = |init| Bodies { init, ..GOOD }.text();
    let more = |more| Bodies { more, ..GOOD }.text();
    let without = |name: &str| GOOD.text().replace(name, "other");
    for (number, (text, says)) in [
        (init("(unreachable)"), "unreachable"),
        (init(ENDLESS), "too long"),
        (
            init("(call $slf (i32.const -1) (i32.const 0))"),
            "bad pointer",
        ),
        (more(began), "too long"),
        (more(calls), "no memory yet"),
        (without("handle_init_asm"), "handle_init_asm"),
        (without("handle_call_asm"), "handle_call_asm"),
        (without("edgeless_mem_alloc"), "edgeless_mem_alloc"),
        (without("\"memory\""), "memory"),
    ]
    .into_iter()
    .enumerate()
    {
        let text = text.replace("(export other)", "(export \"other\")");
        let error = start(&guests, 1 + number as u128, &text, 2).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(says), "`{error}` does not say `{says}`");
    }
}

#[tokio::test]
async fn a_goodbye_without_end_is_cut_short() {
    let guests = Guests::start();
    for (number, stop) in [(1, ENDLESS), (2, "(unreachable)"), (3, WAITS)] {
        let bad = Bodies { stop, ..GOOD };
        start(&guests, number, &bad.text(), number).await.unwrap();
        let stopping = guests.engine.stop(id(number).physical_id, Duration::ZERO);
        let stopped = tokio::time::timeout(Duration::from_secs(3), stopping).await;
        assert_eq!(stopped, Ok(None));
    }
}

const WAITS: &str = "(drop (call $call (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3) \
    (i32.const 64) (i32.const 68)))";

#[tokio::test]
async fn memory_that_grows_and_is_written_ends_at_its_bound() {
    let bomb = "(loop (drop (memory.grow (i32.const 1))) \
        (memory.fill (i32.const 0) (i32.const 7) (i32.mul (memory.size) (i32.const 65536))) (br 0))";
    check_call(bomb, "memory").await;
    check_call("(drop (memory.grow (i32.const 65535)))", "memory").await;
    check_call(
        "(i32.store (i32.const 131072) (i32.const 1))",
        "out of bounds",
    )
    .await;
}

#[tokio::test]
async fn recursion_ends_with_the_stack() {
    let deep = Bodies {
        more: "(func $deep (param i32) (result i32) \
            (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))",
        call: "(call $deep (i32.const 0))",
        ..GOOD
    };
    check(deep, "stack exhausted").await;
}

#[tokio::test]
async fn memory_for_an_answer_is_allocated_without_further_calls() {
    // Each answer would need an answer, each on a stack of its own, until the node has none left.
    let bad = Bodies {
        alloc: "(if (i32.eq (local.get $n) (i32.const 1)) (then (drop (call $call (i32.const 0) \
            (i32.const 3) (i32.const 0) (i32.const 1) (i32.const 64) (i32.const 68))))) \
            (call $bump (local.get $n))",
        call: "(call $call (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 1) \
            (local.get $op) (local.get $ol))",
        ..GOOD
    };
    check(bad, "edgeless_mem_alloc").await;
}

#[tokio::test]
async fn an_event_sends_only_so_much() {
    let one = "(i32.const 0) (i32.const 3) (i32.const 0) (i32.const 3)";
    let all = "(i32.const 0) (i32.const 3) (i32.const 0) (i32.const 131072)";
    // To somebody whom there is not: who takes that much may fail of it.
    let nobody = "(i32.const 16) (i32.const 16) (i32.const 0) (i32.const 131072)";
    for (what, more) in [
        (format!("(call $cast {one})"), "messages"),
        (format!("(call $log (i32.const 5) {one})"), "messages"),
        (
            format!("(call $delayed (i64.const 99999) {one})"),
            "messages",
        ),
        (format!("(call $cast_raw {one})"), "messages"),
        (format!("(call $cast_raw {nobody})"), "bytes"),
        (format!("(call $delayed (i64.const 99999) {all})"), "bytes"),
        (
            "(call $sync (i32.const 0) (i32.const 131072))".to_owned(),
            "bytes",
        ),
    ] {
        check_call(&OFTEN.replace('%', &what), more).await;
    }
}

#[tokio::test]
async fn long_names_of_channels_are_refused_and_long_log_entries_are_cut() {
    let name = "(call $cast (i32.const 0) (i32.const 70000) (i32.const 0) (i32.const 3))";
    check_call(name, "name of a channel").await;
    let guests = Guests::start();
    let log = "(call $log (i32.const 3) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 131072)) \
        (i32.const 0)";
    let wordy = Bodies { call: log, ..GOOD };
    start(&guests, 1, &wordy.text(), 1).await.unwrap();
    assert_eq!(call(&guests.port_to(1).await, "x").await, Ok(None));
    let logs = guests.engine.drain_samples().await.logs;
    let lengths: Vec<usize> = logs.iter().map(|entry| entry.value.len()).collect();
    assert_eq!(lengths, [LOG_BYTES]);
}
