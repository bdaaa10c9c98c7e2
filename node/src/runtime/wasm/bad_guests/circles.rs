//! Guests that call themselves, over their own ids and over other nodes.

use super::*;

#[tokio::test]
async fn whoever_calls_itself_learns_it_in_a_cast_and_by_its_ids_as_well() {
    let guests = Guests::start();
    let own = "(call $slf (i32.const 16) (i32.const 32)) \
        (drop (call $call_raw (i32.const 16) (i32.const 32) (i32.const 0) (i32.const 3) \
            (i32.const 64) (i32.const 68)))";
    let named = "(drop (call $call (i32.const 8) (i32.const 4) (i32.const 0) (i32.const 3) \
        (i32.const 64) (i32.const 68)))";
    for (number, cast) in [(1, own), (2, named)] {
        let bad = Bodies { cast, ..GOOD };
        start(&guests, number, &bad.text(), number).await.unwrap();
        let port = guests.port_to(number).await;
        port.cast("out", Bytes::new()).await.unwrap();
        // It waited for nobody, so that it answers now.
        assert_eq!(call(&port, "x").await, Ok(Some("x".into())));
        let me = id(number).physical_id;
        let logs = guests.engine.drain_samples().await.logs;
        let circle = format!("a circle of calls: {me} → {me}");
        assert_eq!(logs.len(), 1);
        assert_eq!((logs[0].physical_id, &logs[0].value), (me, &circle));
    }
    assert_eq!(guests.engine.counters().circles.load(SeqCst), 2);
}

#[tokio::test]
async fn circles_over_other_nodes_are_named_here() {
    let guests = Guests::start();
    // It calls whoever called it.
    let back = Bodies {
        call: "(call $call_raw (local.get $s) (local.get $c) (i32.const 0) (i32.const 3) \
            (i32.const 64) (i32.const 68))",
        ..GOOD
    };
    start(&guests, 1, &back.text(), 1).await.unwrap();
    let far = InstanceId {
        node_id: NodeId::new(Uuid::from_u128(9)),
        physical_id: PhysicalId::new(Uuid::from_u128(10)),
    };
    let extra = Extra {
        headers: Vec::new(),
        callers: [far].into(),
    };
    let call = Message {
        id: MessageId::default(),
        source: far,
        target: id(1).physical_id,
        kind: MessageKind::Call,
        ticket: None,
        envelope: Envelope {
            created: guests.engine.now(),
            deadline: None,
            extra: Some(Box::new(extra)),
        },
        payload: Bytes::new(),
    };
    guests.engine.deliver(vec![call]).await;
    let circles = &guests.engine.counters().circles;
    while circles.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let logs = guests.engine.drain_samples().await.logs;
    let (far, near) = (far.physical_id, id(1).physical_id);
    assert_eq!(
        logs[0].value,
        format!("a circle of calls: {far} → {near} → {far}")
    );
}
