//! The log takes nothing for a while.

use super::*;

impl World {
    fn hold(&mut self, why: Option<&str>) {
        let why = why.map(Into::into);
        self.event(Event::Hold { why });
    }

    /// What a question is answered at once; none: it waits.
    fn ask(&mut self, event: impl FnOnce(Ask) -> Event) -> Option<&Answer> {
        self.asks += 1;
        let ask = Ask(self.asks);
        self.event(event(ask));
        let answer = self.answers.iter().rev().find(|(other, _)| *other == ask);
        answer.map(|(_, answer)| answer)
    }
}

#[test]
fn nobody_hangs_while_the_log_takes_nothing_and_what_was_done_meanwhile_counts_afterwards() {
    let mut world = World::new();
    let first = world.submit(&json!({"input": 5, "tasks": ["A", "B"], "deadline": "1h"}));
    let id = world.id(first);
    world.keeps = false;
    world.hold(Some("the disk is full"));
    let records = world.records.len();
    let refused = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    assert_eq!(
        world.refusal(refused),
        "no order can be kept now: the disk is full"
    );
    assert!(matches!(world.look_at_once(id), Some(Answer::Order(_))));
    let cancelled = world.ask(|ask| Event::Cancel {
        id,
        reason: String::new(),
        ask,
    });
    assert!(matches!(cancelled, Some(Answer::Refused(Refusal::Full(_)))));
    // Its service answers, and much later than it was given.
    world.pass(Duration::from_secs(2 * 60 * 60));
    world.work(arithmetic);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.book.next_due(), None);
    assert_eq!((world.records.len(), world.handed.len()), (records, 0));
    world.keeps = true;
    world.hold(None);
    let body = world.look(id);
    let misses: usize = body.steps.iter().map(|step| step.misses.len()).sum();
    assert_eq!((body.steps[0].done.is_some(), misses), (true, 0));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.end(id).0, EndCode::Expired);
}

#[test]
fn time_outs_begin_again_when_the_log_does_for_those_who_have_not_answered() {
    let mut world = World::new();
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    let id = world.id(ask);
    world.hold(Some("the disk is full"));
    world.pass(Duration::from_secs(3600));
    assert!(world.look(id).steps[0].misses.is_empty());
    world.hold(None);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.look(id).steps[0].misses.len(), 1);
}

#[test]
fn what_is_recorded_and_not_kept_is_neither_told_nor_denied() {
    let mut world = World::new();
    world.keeps = false;
    let waits = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    assert!(world.answers.is_empty());
    world.hold(Some("the disk is full"));
    assert!(world.refusal(waits).contains("not known yet"));
    let id = *world.book.index.keys().next().unwrap();
    let unsure = world.look_at_once(id);
    assert!(matches!(unsure, Some(Answer::Refused(Refusal::Unsure(_)))));
    world.keep();
    assert!(matches!(world.look_at_once(id), Some(Answer::Order(_))));
}

#[test]
fn outcomes_are_kept_within_a_bound_and_tasks_beyond_it_are_brought_again_without_an_attempt() {
    let mut world = World::new();
    world.service("A", 1, &json!({"concurrency": 100}));
    let asks: Vec<Ask> = (0..40)
        .map(|_| world.submit(&json!({"input": 5, "tasks": ["A"]})))
        .collect();
    assert_eq!(world.handed.len(), 40);
    world.hold(Some("the disk is full"));
    world.work(|_| reply(format!("\"{}\"", "x".repeat(1_000_000))));
    assert_eq!(world.handed.len(), 0);
    world.hold(None);
    world.pass(Duration::from_secs(1));
    let again = world.handed.len();
    assert!((20..30).contains(&again), "{again} of 40");
    assert!(world.handed.iter().all(|(_, handout)| handout.attempt == 1));
    world.work(|_| reply("6"));
    for ask in asks {
        let id = world.id(ask);
        assert_eq!(world.end(id).0, EndCode::Completed);
    }
}

#[test]
fn whoever_asks_for_what_cannot_be_read_is_told_and_orders_go_on_when_it_can() {
    let mut world = World::new();
    world.book.settings.resident_bytes = 0;
    world.event(Event::LineClosed { line: LineId(1) });
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    let id = world.id(ask);
    let through = world.book.next() - 1;
    world.event(Event::Applied { through });
    assert!(world.look_at_once(id).is_none(), "it is in the store");
    world.event(Event::LineOpened {
        line: LineId(1),
        service: "A".into(),
        source: "A-1".into(),
        copies: None,
    });
    let why = "no space".to_owned();
    world.event(Event::Unread { id, why });
    let Some((_, Answer::Refused(Refusal::Away(why)))) = world.answers.last() else {
        panic!("{:?}", world.answers.last());
    };
    assert_eq!(why, "no space");
    world.loads.clear();
    world.pass(Duration::from_secs(1));
    assert_eq!(world.loads, [id], "it is asked for again, for its turn");
    let body = Some(Box::new(world.replayed(id)));
    world.event(Event::Loaded { id, body });
    world.work(arithmetic);
    assert_eq!(world.end(id), (EndCode::Completed, "7".to_owned()));
}
