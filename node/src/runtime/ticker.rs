//! The clock of guests: a thread that ticks while guests run, and sleeps while none does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{JoinHandle, Thread},
    time::Duration,
};

/// How often guests that compute are looked at.
pub(super) const TICK: Duration = Duration::from_millis(5);
/// How often they are looked at while nobody seems to run: whoever was kept waiting on its way from saying
/// that it runs to running is ended all the same.
const RARE_TICK: Duration = Duration::from_secs(1);

/// A handle of the ticker; cheap to clone.
#[derive(Clone)]
pub(super) struct Ticker(Arc<State>);

/// The owner of the thread: ends it when it is dropped.
pub(super) struct Ticking {
    ticker: Ticker,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.ticker.end();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ticker of guests panicked");
        }
    }
}

struct State {
    /// A guest began to run since the ticker looked.
    touched: AtomicBool,
    asleep: AtomicBool,
    ended: AtomicBool,
    thread: std::sync::OnceLock<Thread>,
}

impl Ticker {
    /// Starts the thread. It ticks on for `longest` after the last guest began to run.
    pub(super) fn start(
        engine: &wasmtime::Engine,
        longest: Duration,
    ) -> std::io::Result<(Self, Ticking)> {
        let state = Arc::new(State {
            touched: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        });
        let (weak, ticker) = (engine.weak(), Self(Arc::clone(&state)));
        let patience = longest.as_nanos() / TICK.as_nanos() + 2;
        let thread = std::thread::Builder::new()
            .name("wasm-ticker".to_owned())
            .spawn(move || {
                let mut quiet = 0;
                while !state.ended.load(SeqCst) {
                    std::thread::park_timeout(TICK);
                    match weak.upgrade() {
                        Some(engine) => engine.increment_epoch(),
                        None => return,
                    }
                    quiet = match state.touched.swap(false, SeqCst) {
                        true => 0,
                        false => quiet + 1,
                    };
                    if quiet > patience {
                        state.sleep(&weak);
                        quiet = 0;
                    }
                }
            })?;
        ticker.0.thread.get_or_init(|| thread.thread().clone());
        let ticking = Ticking {
            ticker: ticker.clone(),
            thread: Some(thread),
        };
        Ok((ticker, ticking))
    }

    /// A guest runs from now on.
    pub(super) fn touch(&self) {
        if !self.0.touched.load(SeqCst) {
            self.0.touched.store(true, SeqCst);
            self.wake();
        }
    }

    fn end(&self) {
        self.0.ended.store(true, SeqCst);
        self.wake();
    }

    fn wake(&self) {
        if self.0.asleep.load(SeqCst)
            && let Some(thread) = self.0.thread.get()
        {
            thread.unpark();
        }
    }
}

impl State {
    fn sleep(&self, engine: &wasmtime::EngineWeak) {
        self.asleep.store(true, SeqCst);
        // Said before it is asked, so that whoever touches sees it or is seen.
        while !self.touched.load(SeqCst) && !self.ended.load(SeqCst) {
            std::thread::park_timeout(RARE_TICK);
            if let Some(engine) = engine.upgrade() {
                engine.increment_epoch();
            }
        }
        self.asleep.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use wasmtime::{Config, Engine, Instance, Module, Store, Trap};

    use super::*;

    #[test]
    fn whoever_runs_while_the_ticker_sleeps_is_interrupted_all_the_same() {
        let engine = Engine::new(Config::new().epoch_interruption(true)).unwrap();
        let (ticker, _ticking) = Ticker::start(&engine, TICK).unwrap();
        while !ticker.0.asleep.load(SeqCst) {
            std::thread::yield_now();
        }
        // It is on its way since before the ticker slept, but sets its deadline only now.
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        let code = wat::parse_str("(module (func (export \"run\") (loop (br 0))))").unwrap();
        let module = Module::new(&engine, code).unwrap();
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let run = instance
            .get_typed_func::<(), ()>(&mut store, "run")
            .unwrap();
        let error = run.call(&mut store, ()).unwrap_err();
        assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
    }
}
