//! How many tasks may be with one line at a time.
//!
//! What is handed out waits at the service and not here, where priorities and fairness decide: so no more is handed out
//! than keeps the service at work. The window grows while answers come within [`QUICK`], and shrinks when they take
//! longer than [`SLOW`] and there was more than one at a time. The rule is that of additive increase and multiplicative
//! decrease (Chiu and Jain, 1989), on the time of answers instead of losses.

use std::time::Duration;

/// Answers this quick let the window grow.
const QUICK: Duration = Duration::from_millis(10);
/// Answers this slow let it shrink.
const SLOW: Duration = Duration::from_millis(40);
/// It begins here.
const FIRST: u32 = 8;
/// It never exceeds this.
const MOST: u32 = 1024;

/// The bound of one line.
#[derive(Clone, Debug)]
pub(super) struct Window {
    size: u32,
    least: u32,
    most: u32,
    /// Answers until it may shrink again: those handed out before the last time say nothing new.
    rest: u32,
}

impl Window {
    /// Of a service with so many tasks at once at most; none: no bound was set.
    pub(super) fn new(concurrency: Option<u32>) -> Self {
        let most = concurrency.unwrap_or(MOST).max(1);
        Self {
            size: FIRST.min(most),
            least: 1,
            most,
            rest: 0,
        }
    }

    /// So many copies do the work: each has one at least.
    pub(super) fn set_copies(&mut self, copies: u32) {
        self.least = copies.clamp(1, self.most);
        self.size = self.size.max(self.least);
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    /// An answer has come after so long, when so many were out.
    pub(super) fn on_answer(&mut self, took: Duration, out: u32) {
        self.rest = self.rest.saturating_sub(1);
        if took <= QUICK && out >= self.size {
            self.size = (self.size + 1).min(self.most);
        } else if took > SLOW && self.rest == 0 {
            self.size = (self.size - self.size / 4).max(self.least);
            if self.size < 4 {
                self.size = self.least.max(self.size.saturating_sub(1));
            }
            self.rest = out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(took: Duration, answers: u32) -> u32 {
        let mut window = Window::new(None);
        for _ in 0..answers {
            window.on_answer(took, window.size());
        }
        window.size()
    }

    #[test]
    fn it_grows_with_quick_answers_and_shrinks_to_one_a_copy_with_slow_ones() {
        assert_eq!(after(Duration::from_micros(300), 5000), MOST);
        assert_eq!(after(Duration::from_millis(20), 5000), FIRST);
        assert_eq!(after(Duration::from_secs(1), 100), 1);
        let mut window = Window::new(None);
        window.set_copies(16);
        for _ in 0..1000 {
            window.on_answer(Duration::from_secs(1), window.size());
        }
        assert_eq!(window.size(), 16);
    }

    #[test]
    fn it_keeps_to_what_the_service_says() {
        let mut window = Window::new(Some(2));
        for _ in 0..1000 {
            window.on_answer(Duration::ZERO, 2);
        }
        window.set_copies(10);
        assert_eq!(window.size(), 2);
    }
}
