//! How far long work has come: a bar on a terminal, after a second.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done sooner shows no bar.
const SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How far work on so many bytes has come.
#[derive(Debug, Default)]
pub struct Progress(Option<Shown>);

#[derive(Debug)]
struct Shown {
    bar: ProgressBar,
    since: Instant,
    is_drawn: bool,
}

impl Progress {
    /// Shows nothing.
    pub fn hidden() -> Self {
        Self(None)
    }

    /// A bar on standard error, if that is a terminal and the work takes long.
    pub fn of_bytes(bytes: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Self(Some(Shown {
            bar,
            since: Instant::now(),
            is_drawn: false,
        }))
    }

    /// A bar of so many steps on standard error, if that is a terminal; at once, as a step may take long.
    pub fn of_steps(steps: u64, what: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        let style = "{bar:40} {pos} of {len} {msg}, {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(SHOWN_AFTER);
        Self(Some(Shown {
            bar,
            since: Instant::now(),
            is_drawn: true,
        }))
    }

    /// So many bytes or steps more are done.
    pub fn add(&mut self, bytes: u64) {
        let Some(shown) = &mut self.0 else {
            return;
        };
        shown.bar.inc(bytes);
        if !shown.is_drawn && shown.since.elapsed() >= SHOWN_AFTER {
            shown.is_drawn = true;
            shown.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(shown) = &self.0 {
            shown.bar.finish_and_clear();
        }
    }
}
