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
    assert_eq!(world.wanted, ["C"], "`B` takes no time");
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
