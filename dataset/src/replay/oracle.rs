//! An oracle: what copies would have cost somebody who knew all arrivals and handling times.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{plan, world::service};
use crate::synth::Trace;

/// The share of orders that may wait longer.
pub(super) const LATE: f64 = 0.01;
/// By how much the shares of the waiting time that the steps of an order have may exceed it together: not
/// all steps of an order wait for long.
const SHARES: [f64; 4] = [1.0, 1.25, 1.5, 2.0];

/// Instance-seconds of copies with which 99 of 100 orders wait no longer than `wait` seconds, for somebody
/// who knows all arrivals and handling times.
///
/// Every step of a chain has its share of the waiting time. For each function the cheapest of several plans
/// counts:
/// - Copies by task: a task waits for a copy that will be free in time, else another copy is ready at its
///   arrival; once with all of the waiting time, and once with none.
/// - Copies over time: the mean load around each moment, looked at more or less widely, and so many square
///   roots of it beside that as are needed for all but a hundredth of the tasks.
///
/// The time between two uses of a copy costs itself or a stop and another start, whichever is less. The
/// least possible is below the cheapest plan; how far is not known.
pub fn instance_seconds(trace: &Trace, start: f64, seed: u64, wait: f64) -> f64 {
    let mut tasks: Vec<Vec<Task>> = vec![Vec::new(); trace.functions.len()];
    for (order, arrival) in trace.arrivals.iter().enumerate() {
        let mut at = arrival.at;
        let chain = &trace.contracts[arrival.contract].chain;
        // A longer handling has longer waits: a share of it as of the handling, and one as of the others.
        let all: f64 = chain.iter().map(|&it| trace.functions[it].service).sum();
        for (step, &function) in chain.iter().enumerate() {
            let took = service(trace, seed, order, step);
            let even = 1.0 / chain.len() as f64;
            let share = 0.5 * (even + trace.functions[function].service / all);
            tasks[function].push(Task {
                order,
                at,
                took,
                patience: wait * share,
            });
            at += took;
        }
    }
    for tasks in &mut tasks {
        tasks.sort_by(|a, b| a.at.total_cmp(&b.at));
    }
    let mut least = f64::INFINITY;
    for share in SHARES {
        let mut waits = vec![0.0; trace.arrivals.len()];
        let mut sum = 0.0;
        for tasks in &tasks {
            let plan = bill(tasks, start, share);
            sum += plan.cost;
            for (task, waited) in tasks.iter().zip(plan.waits) {
                waits[task.order] += f64::from(waited);
            }
        }
        let late = waits.iter().filter(|it| **it > wait + 1e-6).count();
        if late as f64 > LATE * waits.len() as f64 {
            break;
        }
        least = least.min(sum);
    }
    match least.is_finite() {
        true => least,
        // Not more than a hundredth of the tasks of each function wait for too long, yet too many orders.
        false => tasks.iter().map(|it| by_task(it, start, 1.0).cost).sum(),
    }
}

/// What is to be done by a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    /// Its order.
    pub(super) order: usize,
    /// When it arrives, in seconds.
    pub(super) at: f64,
    /// Seconds of handling.
    pub(super) took: f64,
    /// Seconds for which it may wait.
    pub(super) patience: f64,
}

/// Copies for all tasks of a function.
pub(super) struct Plan {
    /// Instance-seconds.
    pub(super) cost: f64,
    /// For how many seconds each task waits.
    pub(super) waits: Vec<f32>,
}

/// The cheapest plan with so many times the waiting time of each task.
fn bill(tasks: &[Task], start: f64, share: f64) -> Plan {
    let plans = [by_task(tasks, start, share), by_task(tasks, start, 0.0)];
    let [patient, prompt] = plans;
    let best = if patient.cost <= prompt.cost {
        patient
    } else {
        prompt
    };
    plan::cheapest(tasks, start, share, best)
}

/// Of the free copies the one that was free last takes a task.
fn by_task(tasks: &[Task], start: f64, share: f64) -> Plan {
    // When busy copies become free, and since when the others are; bits of positive floats are in order.
    let (mut busy, mut free) = (BinaryHeap::new(), Vec::new());
    let mut cost = 0.0;
    let mut waits = Vec::with_capacity(tasks.len());
    for task in tasks {
        while let Some(Reverse(end)) = busy.peek().copied() {
            if f64::from_bits(end) > task.at {
                break;
            }
            busy.pop();
            free.push(f64::from_bits(end));
        }
        let soon = busy.peek().map(|&Reverse(end)| f64::from_bits(end));
        let begin = match (free.pop(), soon) {
            (Some(since), _) => {
                cost += (task.at - since).min(start);
                task.at
            }
            (None, Some(end)) if end <= task.at + share * task.patience => {
                busy.pop();
                end
            }
            (None, _) => {
                cost += start;
                task.at
            }
        };
        cost += task.took;
        waits.push((begin - task.at) as f32);
        busy.push(Reverse((begin + task.took).to_bits()));
    }
    Plan { cost, waits }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{Pattern, synth};

    fn check(tasks: &[(f64, f64)], patience: f64, expected: f64) {
        let task = |(order, &(at, took)): (usize, &(f64, f64))| Task {
            order,
            at,
            took,
            patience,
        };
        let tasks: Vec<Task> = tasks.iter().enumerate().map(task).collect();
        assert!((bill(&tasks, 5.0, 1.0).cost - expected).abs() < 1e-9);
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

    #[test]
    fn who_may_wait_longer_pays_less_and_never_less_than_the_work() {
        let trace = synth(Pattern::Steady, 1, 0.2);
        let work: f64 = (0..trace.arrivals.len())
            .flat_map(|order| [service(&trace, 1, order, 0), service(&trace, 1, order, 1)])
            .sum();
        let costs = [0.0, 0.1, 0.4, 2.0].map(|wait| instance_seconds(&trace, 2.0, 1, wait));
        assert!(costs.is_sorted_by(|a, b| a >= b), "{costs:?}");
        assert!(costs[3] >= work, "{costs:?} {work}");
        assert!(costs[3] < 1.4 * work, "{costs:?} {work}");
    }
}
