//! The policies as a whole: bounds, calm, and reasons.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod waves;

fn view(ready: u32, queued: u32) -> View {
    View {
        ready,
        starting: 0,
        busy: ready.min(queued),
        queued,
        in_flight: ready.min(queued),
        room: 64,
        slots: 1,
        successor: Successor::Free,
    }
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_unix(Duration::from_secs_f64(1_000_000.0 + seconds))
}

proptest! {
    #[test]
    fn bounds_are_never_violated(
        policy in 0..4_usize,
        least in 0..5_u32,
        more in 0..10_u32,
        steps in prop::collection::vec((0.0..20.0_f64, 0..40_u32, 0..30_u32, 0..9_u32, 0..3_u32), 1..60),
    ) {
        let settings = Settings {
            policy: Policy::ALL[policy],
            min_instances: least,
            max_instances: (least + more).max(1),
            ..Settings::default()
        };
        let (mut window, mut now) = (Window::default(), 0.0);
        for (pause, arrivals, queued, ready, room) in steps {
            now += pause;
            if arrivals > 0 {
                window.arrived(arrivals, at(now));
                window.executed(Duration::from_millis(200));
                window.expect(arrivals / 2, at(now + 1.0));
            }
            let ready = ready.min(settings.max_instances);
            let now_view = View { room, ..view(ready, queued) };
            let decision = decide(&settings, &mut window, &now_view, at(now));
            prop_assert!(decision.copies >= settings.min_instances);
            prop_assert!(decision.copies <= settings.max_instances);
            prop_assert!(decision.copies <= (ready + room).max(settings.min_instances));
            prop_assert!(decision.next.is_none_or(|next| next > at(now)));
            prop_assert!(!decision.why.to_string().is_empty());
        }
    }
}

proptest! {
    /// Whatever the settings, signals and views are: an answer within the bounds, and soon.
    #[test]
    fn strange_settings_and_signals_are_decided_about(
        policy in 0..4_usize,
        (start, idle) in (0..u64::MAX, 0..u64::MAX),
        target in prop_oneof![
            Just(None),
            any::<u64>().prop_map(|millis| Some(Target::P99(Duration::from_millis(millis)))),
            (0.05_f32..=1.0).prop_map(|share| Some(Target::Utilisation(share))),
        ],
        steps in prop::collection::vec(
            (any::<u32>(), any::<u32>(), any::<u64>(), 0..1_000_u32, any::<u32>(), 0.0..1e8_f64),
            1..20,
        ),
    ) {
        let settings = Settings {
            policy: Policy::ALL[policy],
            target,
            idle_after: Duration::from_millis(idle),
            start_time: Duration::from_secs(start),
            max_instances: 1_000,
            ..Settings::default()
        };
        let (mut window, mut now) = (Window::default(), 0.0);
        for (arrivals, queued, took, ready, slots, pause) in steps {
            now += pause;
            window.arrived(arrivals, at(now));
            window.executed(Duration::from_nanos(took));
            window.started(Duration::from_nanos(took / 3));
            window.expect(arrivals, at(now + 1.0));
            let view = View { slots, in_flight: queued, starting: ready, ..view(ready, queued) };
            let decision = decide(&settings, &mut window, &view, at(now));
            prop_assert!(decision.copies <= settings.max_instances);
            prop_assert!(decision.next.is_none_or(|next| next > at(now)));
            let why = decision.why.to_string();
            prop_assert!(!why.contains("NaN"), "{}", why);
        }
    }
}

#[test]
fn a_bottleneck_behind_holds_what_stands_before_it() {
    for policy in [Policy::Queue, Policy::Predictive] {
        let settings = Settings {
            policy,
            ..Settings::default()
        };
        let mut window = Window::default();
        window.arrived(500, at(0.0));
        window.executed(Duration::from_secs(1));
        let stuck = View {
            successor: Successor::Stuck,
            ..view(2, 500)
        };
        let decision = decide(&settings, &mut window, &stuck, at(0.5));
        assert_eq!(decision.copies, 2, "{}", decision.why);
        assert_eq!(decision.why.name(), "next_limits");
    }
}

#[test]
fn a_function_at_rest_asks_for_nothing() {
    for policy in [Policy::Concurrency, Policy::Queue, Policy::Predictive] {
        let settings = Settings {
            policy,
            ..Settings::default()
        };
        let mut window = Window::default();
        let decision = decide(&settings, &mut window, &view(0, 0), at(0.0));
        assert_eq!((decision.copies, decision.next), (0, None));
        assert!(!window.is_active());
        window.arrived(1, at(1.0));
        assert!(decide(&settings, &mut window, &view(0, 1), at(1.0)).copies >= 1);
    }
}

#[test]
fn an_order_announced_starts_the_function_it_will_need() {
    let settings = Settings {
        start_time: Duration::from_secs(2),
        ..Settings::default()
    };
    let mut window = Window::default();
    window.expect(1, at(10.0));
    let early = decide(&settings, &mut window, &view(0, 0), at(0.0));
    assert_eq!(early.copies, 0);
    let next = early.next.unwrap();
    let then = decide(
        &settings,
        &mut window,
        &view(0, 0),
        next + Duration::from_millis(1),
    );
    assert_eq!(then.copies, 1, "{}", then.why);
}

#[test]
fn tasks_on_their_way_in_the_order_book_start_the_function() {
    let settings = Settings::default();
    let mut window = Window::default();
    window.demanded(Demand {
        to_do: 3,
        ..Demand::default()
    });
    let first = decide(&settings, &mut window, &view(0, 0), at(0.0));
    assert!(first.copies >= 1, "{}", first.why);
    assert_eq!(first.why.name(), "expected");
    // They never come: what was started for them is stopped, and not started again.
    let idle = settings.idle_after.as_secs_f64();
    let (mut running, mut now, mut starts) = (first.copies, 0.0, 0);
    while now < 3.0 * idle {
        now += 1.0;
        let next = decide(&settings, &mut window, &view(running, 0), at(now)).copies;
        starts += u32::from(next > running);
        running = next;
    }
    assert_eq!((running, starts), (0, 0));
}

#[test]
fn the_next_function_hears_when_work_comes() {
    let settings = Settings {
        start_time: Duration::from_secs(2),
        ..Settings::default()
    };
    let mut window = Window::default();
    window.executed(Duration::from_secs(1));
    let leaves =
        |window: &Window, view: &View, due| leaves(&settings, window, view, at(due), at(0.0));
    assert_eq!(leaves(&window, &view(0, 0), 0.0), at(3.0));
    assert_eq!(
        leaves(&window, &view(0, 0), 5.0),
        at(6.0),
        "started meanwhile"
    );
    assert_eq!(leaves(&window, &view(1, 0), 0.0), at(1.0));
    assert_eq!(
        leaves(&window, &view(2, 4), 0.0),
        at(3.0),
        "four wait for two copies"
    );
}

#[test]
fn what_was_started_for_an_order_waits_for_it() {
    let settings = Settings {
        start_time: Duration::from_secs(2),
        ..Settings::default()
    };
    let mut window = Window::default();
    window.arrived(1, at(0.0));
    decide(&settings, &mut window, &view(1, 1), at(0.0));
    decide(&settings, &mut window, &view(1, 0), at(1.0));
    decide(&settings, &mut window, &view(0, 0), at(500.0));
    window.expect(1, at(512.0));
    let started = decide(&settings, &mut window, &view(0, 0), at(510.5));
    assert_eq!(started.copies, 1, "{}", started.why);
    let ready = decide(&settings, &mut window, &view(1, 0), at(512.5));
    assert_eq!(ready.copies, 1, "idle since it was started: {}", ready.why);
}
