//! Panics that are expected: of a library that takes a file for what it wrote.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// Does something that may panic; none: it did. Nothing is said of it on standard error, only a trace. Panics of other
/// threads are reported as ever.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    HOOK.call_once(|| {
        let report = take_hook();
        set_hook(Box::new(move |panic| match EXPECTED.get() {
            true => tracing::debug!("{panic}"),
            false => report(panic),
        }));
    });
    let before = EXPECTED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(before);
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_panic_that_is_expected_is_not_reported_and_others_are() {
        let reported = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&reported);
        set_hook(Box::new(move |panic| {
            let text = panic.payload_as_str().unwrap_or_default().to_owned();
            seen.lock().unwrap().push(text);
        }));
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| panic!("expected")), None::<()>);
        let other = std::thread::spawn(|| panic!("of another thread"));
        assert!(other.join().is_err());
        assert!(catch_unwind(|| panic!("after it")).is_err());
        let reported = reported.lock().unwrap();
        // Other tests may panic meanwhile.
        let was_reported = |text: &str| reported.iter().any(|it| it == text);
        assert!(was_reported("of another thread") && was_reported("after it"));
        assert!(!was_reported("expected"));
    }
}
