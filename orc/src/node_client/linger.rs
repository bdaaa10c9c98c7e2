//! Steps of which a node says that they take long, such as the start of a function that loads a model: they
//! are asked after on a stream of their own, until they are done, so that others need not wait for them.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};

use super::{Caller, LONGEST, Outcomes, RETRY};
use crate::domain::{Step, StepResult};

/// So many streams to one node at once; batches beyond take turns with those.
pub(super) const STREAMS: usize = 32;
/// Between two questions, as a node may answer at once that it has not done it.
const BETWEEN: Duration = Duration::from_millis(5);
/// A start that takes longer fails, and is tried elsewhere.
const START: Duration = Duration::from_secs(300);

/// A node that has said of a start that it is under way may be silent for so long.
const SILENCE: Duration = Duration::from_secs(10);

/// Asks after steps until each has come to something.
pub(super) async fn linger(
    mut caller: Caller,
    streams: Arc<Semaphore>,
    outcomes: mpsc::Sender<Outcomes>,
    mut steps: Vec<Step>,
) {
    let node_id = caller.node_id;
    tracing::debug!(%node_id, steps = steps.len(), "steps take long");
    let (since, mut pause) = (Instant::now(), RETRY);
    let mut heard = since;
    while !steps.is_empty() {
        let Ok(turn) = streams.acquire().await else {
            return;
        };
        let applied = caller.apply(&steps).await;
        caller.line.close();
        drop(turn);
        let is_over = since.elapsed() > START;
        if applied.answered {
            heard = Instant::now();
        }
        let is_patient = !is_over && !applied.answered && heard.elapsed() < SILENCE;
        let mut again = Vec::new();
        let mut done = Vec::new();
        for (step, result) in steps.drain(..).zip(applied.results) {
            match result {
                Some(StepResult::Failed(_)) if is_patient => again.push(step),
                Some(result) => done.push((step.key(), result)),
                None if is_over && matches!(step, Step::Start { .. }) => {
                    let text = format!("it has not started within {} s", START.as_secs());
                    done.push((step.key(), StepResult::Failed(text)));
                }
                None => again.push(step),
            }
        }
        steps = again;
        if !done.is_empty() && outcomes.send((node_id, done)).await.is_err() {
            return;
        }
        if steps.is_empty() {
            return;
        }
        tokio::time::sleep(if applied.answered { BETWEEN } else { pause }).await;
        pause = match applied.answered {
            true => RETRY,
            false => (pause * 2).min(LONGEST),
        };
    }
}

#[cfg(test)]
mod tests;
