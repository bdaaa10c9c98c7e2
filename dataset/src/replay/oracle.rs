//! An oracle: what copies would have cost somebody who knew all arrivals and handling times.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::world::service;
use crate::synth::Trace;

/// Instance-seconds of copies with which no order waits longer than `wait` seconds, for somebody who knows
/// all arrivals and handling times.
///
/// Every step of a chain has its share of the waiting time. A task waits for a copy that will be free in
/// time, else another copy is ready at its arrival. Of the free ones the one that was free last takes it;
/// the time between two tasks costs itself or a stop and another start, whichever is less. It is greedy:
/// not the least possible, but near it.
pub fn instance_seconds(trace: &Trace, start: f64, seed: u64, wait: f64) -> f64 {
    let mut tasks: Vec<Vec<Task>> = vec![Vec::new(); trace.functions.len()];
    for (order, arrival) in trace.arrivals.iter().enumerate() {
        let mut at = arrival.at;
        let chain = &trace.contracts[arrival.contract].chain;
        for (step, &function) in chain.iter().enumerate() {
            let took = service(trace, seed, order, step);
            let patience = wait / chain.len() as f64;
            tasks[function].push(Task { at, took, patience });
            at += took;
        }
    }
    tasks.into_iter().map(|tasks| bill(tasks, start)).sum()
}

#[derive(Clone, Copy)]
struct Task {
    at: f64,
    took: f64,
    patience: f64,
}

fn bill(mut tasks: Vec<Task>, start: f64) -> f64 {
    tasks.sort_by(|a, b| a.at.total_cmp(&b.at));
    // When busy copies become free, and since when the others are; bits of positive floats are in order.
    let (mut busy, mut free) = (BinaryHeap::new(), Vec::new());
    let mut sum = 0.0;
    for Task { at, took, patience } in tasks {
        while let Some(Reverse(end)) = busy.peek().copied() {
            if f64::from_bits(end) > at {
                break;
            }
            busy.pop();
            free.push(f64::from_bits(end));
        }
        let soon = busy.peek().map(|&Reverse(end)| f64::from_bits(end));
        let begin = match (free.pop(), soon) {
            (Some(since), _) => {
                sum += (at - since).min(start);
                at
            }
            (None, Some(end)) if end <= at + patience => {
                busy.pop();
                end
            }
            (None, _) => {
                sum += start;
                at
            }
        };
        sum += took;
        busy.push(Reverse((begin + took).to_bits()));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tasks: &[(f64, f64)], patience: f64, expected: f64) {
        let tasks = tasks.iter().map(|&(at, took)| Task { at, took, patience });
        assert!((bill(tasks.collect(), 5.0) - expected).abs() < 1e-9);
    }

    #[test]
    fn gaps_are_bridged_when_that_is_cheaper_than_a_start() {
        check(&[(0.0, 1.0), (2.0, 1.0)], 0.0, 8.0);
        check(&[(0.0, 1.0), (100.0, 1.0)], 0.0, 12.0);
    }

    #[test]
    fn a_task_waits_for_a_busy_copy_if_it_may() {
        check(&[(0.0, 1.0), (0.5, 1.0)], 0.0, 12.0);
        check(&[(0.0, 1.0), (0.5, 1.0)], 0.5, 7.0);
    }
}
