//! Who is off is wanted before its turn comes.

use super::*;

/// Services without anybody who runs them, and who is wanted.
fn off(world: &mut World, names: &[&str]) {
    for name in names {
        let (name, spec) = (Arc::<str>::from(*name), Some(spec(&json!({}))));
        world.event(Event::Service { name, spec });
    }
}

#[test]
fn all_services_of_an_order_that_are_off_are_wanted_when_it_comes_and_each_once() {
    let mut world = World::new();
    off(&mut world, &["C", "D", "E", "F"]);
    let tasks =
        json!(["A", ["C", "D"], {"task": "F", "when": {"path": "/x", "exists": true}}, "E"]);
    world.submit(&json!({"input": 1, "tasks": tasks}));
    assert_eq!(world.wanted, ["C", "D", "E"]);
    world.submit(&json!({"input": 2, "tasks": ["A", "C", "E"]}));
    assert_eq!(world.wanted, ["C", "D", "E"], "nobody is there yet");
}

#[test]
fn who_is_needed_late_is_wanted_when_its_turn_is_near() {
    let mut world = World::new();
    world.service("A", 1, &json!({"timeout": "5min"}));
    // It takes as long as that.
    world.submit(&json!({"input": 1, "tasks": ["A"]}));
    world.pass(Duration::from_secs(90));
    world.work(|_| reply("1"));
    off(&mut world, &["C", "D"]);
    world.submit(&json!({"input": 2, "tasks": ["A", "B", "C"]}));
    assert_eq!(world.wanted, [""; 0]);
    world.work(|_| reply("1"));
    assert_eq!(world.wanted, ["C", "C"], "`B` takes no time, then it waits");
}

#[test]
fn an_order_that_is_to_begin_later_wants_nobody_before() {
    let mut world = World::new();
    off(&mut world, &["C"]);
    world.submit(&json!({"input": 1, "tasks": ["A", "C"], "delay": "90s"}));
    assert_eq!(world.wanted, [""; 0]);
    world.pass(Duration::from_secs(91));
    assert_eq!(world.wanted, ["C"]);
}

#[test]
fn who_sleeps_is_wanted_like_who_is_off_soon_once_and_again_when_a_task_waits() {
    let mut world = World::new();
    world.service("C", 3, &json!({}));
    let copies = |world: &mut World, copies| {
        let line = LineId(3);
        world.event(Event::Copies { line, copies });
    };
    let state = |world: &World| {
        let of = world.book.figures(world.now).services["C"].clone();
        (of.lines, of.copies, of.wanted)
    };
    copies(&mut world, 0);
    assert_eq!((state(&world), world.wanted.len()), ((1, 0, false), 0));
    world.submit(&json!({"input": 1, "tasks": ["A", "C"]}));
    assert_eq!(
        (state(&world), &world.wanted[..]),
        ((1, 0, true), &["C".to_owned()][..])
    );
    world.work(arithmetic);
    assert_eq!(world.wanted, ["C", "C"], "its turn has come");
    world.submit(&json!({"input": 2, "tasks": ["C"]}));
    assert_eq!((world.wanted.len(), world.handed.len()), (2, 0));
    copies(&mut world, 1);
    assert_eq!((state(&world), world.handed.len()), ((1, 1, false), 1));
    world.work(|_| reply("1"));
    copies(&mut world, 0);
    world.submit(&json!({"input": 3, "tasks": ["C"]}));
    assert_eq!((world.wanted.len(), world.handed.len()), (3, 0));
}

#[test]
fn a_line_that_opens_while_its_function_sleeps_gets_no_task_and_wakes_it() {
    let mut world = World::new();
    off(&mut world, &["C"]);
    world.submit(&json!({"input": 1, "tasks": ["C"]}));
    assert_eq!(world.wanted, ["C"]);
    world.event(Event::LineOpened {
        line: LineId(3),
        service: "C".into(),
        source: "C-3".into(),
        copies: Some(0),
    });
    assert_eq!((world.wanted.len(), world.handed.len()), (2, 0));
}
