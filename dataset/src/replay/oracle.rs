//! An oracle: what copies would have cost somebody who knew all arrivals and handling times.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::world::service;
use crate::synth::Trace;

/// Instance-seconds of the cheapest copies with which no order waits at all, for each function.
///
/// A copy is ready at the moment of its task. Of the free ones the one that was free last takes it; the
/// time between two tasks costs itself or a stop and another start, whichever is less.
pub fn instance_seconds(trace: &Trace, start: f64, seed: u64) -> f64 {
    let mut tasks: Vec<Vec<(f64, f64)>> = vec![Vec::new(); trace.functions.len()];
    for (order, arrival) in trace.arrivals.iter().enumerate() {
        let mut at = arrival.at;
        for (step, &function) in trace.contracts[arrival.contract].chain.iter().enumerate() {
            let took = service(trace, seed, order, step);
            tasks[function].push((at, took));
            at += took;
        }
    }
    tasks.into_iter().map(|tasks| bill(tasks, start)).sum()
}

fn bill(mut tasks: Vec<(f64, f64)>, start: f64) -> f64 {
    tasks.sort_by(|a, b| a.0.total_cmp(&b.0));
    // When busy copies become free, and since when the others are; bits of positive floats are in order.
    let (mut busy, mut free) = (BinaryHeap::new(), Vec::new());
    let mut sum = 0.0;
    for (at, took) in tasks {
        while let Some(Reverse(end)) = busy.peek().copied() {
            if f64::from_bits(end) > at {
                break;
            }
            busy.pop();
            free.push(f64::from_bits(end));
        }
        let before = free.pop().map_or(start, |since| (at - since).min(start));
        sum += before + took;
        busy.push(Reverse((at + took).to_bits()));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_bridged_when_that_is_cheaper_than_a_start() {
        assert!((bill(vec![(0.0, 1.0), (2.0, 1.0)], 5.0) - 8.0).abs() < 1e-9);
        assert!((bill(vec![(0.0, 1.0), (100.0, 1.0)], 5.0) - 12.0).abs() < 1e-9);
        assert!((bill(vec![(0.0, 1.0), (0.5, 1.0)], 5.0) - 12.0).abs() < 1e-9);
    }
}
