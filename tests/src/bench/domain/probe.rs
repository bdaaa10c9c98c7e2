//! How long starts take while something else goes on.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::daemon::Caller;

/// Between two starts.
const EVERY: Duration = Duration::from_millis(20);

/// Starts a workflow of one function again and again.
pub(super) struct Probe {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<Vec<f64>>>,
}

impl Probe {
    /// Begins; its workflows have the numbers from `first` on.
    pub(super) fn start(mut caller: Caller, first: u128) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            while !stopped.is_cancelled() {
                let begun = Instant::now();
                caller.start(first + times.len() as u128, 1).await?;
                times.push(begun.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(EVERY).await;
            }
            Ok(times)
        });
        Self { stop, task }
    }

    /// Ends; what each start took, in milliseconds.
    pub(super) async fn end(self) -> anyhow::Result<Vec<f64>> {
        self.stop.cancel();
        self.task.await?
    }
}
