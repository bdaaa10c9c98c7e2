//! Plans of the oracle: a number of copies over time, by the load that is known to come.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::oracle::{LATE, Plan, Task};

/// Seconds for which the number of copies is one; longer where there would be more than [`MOST_CELLS`].
const CELL: f64 = 0.25;
/// Cells, for any length of time: a day and a half at [`CELL`].
const MOST_CELLS: f64 = 524_288.0;
/// Cells before and after a moment whose load counts for it.
const WIDTHS: [usize; 8] = [1, 4, 16, 60, 240, 1_200, 4_800, usize::MAX / 2];
/// Square roots of the load beside the load itself: from few to many.
const MARGINS: [f64; 16] = [
    -0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.1, 1.3, 1.6, 2.0, 2.5, 3.0,
];
/// Fewer tasks are not worth a plan: copies by task are as good.
const FEW: usize = 100;

/// The cheapest plan with which no more than a hundredth of the tasks waits longer than so many times what
/// it may; `best` if none is cheaper. The tasks are in the order of their arrival.
pub(super) fn cheapest(tasks: &[Task], start: f64, share: f64, mut best: Plan) -> Plan {
    if tasks.len() < FEW {
        return best;
    }
    let length = length(tasks);
    let load = load(tasks, length);
    for width in WIDTHS {
        let mean = smooth(&load, width);
        for margin in MARGINS {
            let copies: Vec<u32> = mean
                .iter()
                .map(|&mean| match mean {
                    mean if mean < 1e-6 => 0,
                    mean => (mean + margin * mean.sqrt() - 1e-9).ceil().max(0.0) as u32,
                })
                .collect();
            let cost = length * copies.iter().map(|&it| f64::from(it)).sum::<f64>();
            if cost >= best.cost {
                break; // With a larger margin it only costs more.
            }
            if let Some((busy, waits)) = busy(tasks, &copies, share, length) {
                let cost = price(&copies, &busy, start, length);
                if cost < best.cost {
                    best = Plan { cost, waits };
                }
                break;
            }
        }
    }
    best
}

/// When the last task has been handled at the latest.
fn end(tasks: &[Task]) -> f64 {
    let end = |it: &Task| it.at + it.took + it.patience;
    tasks.iter().map(end).fold(0.0, f64::max)
}

/// Seconds of a cell: doubled until there are few enough, so that moments between cells stay exact.
fn length(tasks: &[Task]) -> f64 {
    let (end, mut length) = (end(tasks), CELL);
    while end / length > MOST_CELLS {
        length *= 2.0;
    }
    length
}

/// Busy copies in each cell if nothing waited.
fn load(tasks: &[Task], length: f64) -> Vec<f64> {
    let mut cells = Cells::new((end(tasks) / length) as usize + 40, length);
    for task in tasks {
        cells.add(task.at, task.at + task.took);
    }
    cells.sums()
}

/// Busy copies over time, at the same cost for a task of any length.
struct Cells {
    length: f64,
    /// What is busy for a part of a cell.
    parts: Vec<f64>,
    /// By how many more copies are busy for the whole of it than of that before.
    steps: Vec<i32>,
}

impl Cells {
    fn new(number: usize, length: f64) -> Self {
        Self {
            length,
            parts: vec![0.0; number],
            steps: vec![0; number],
        }
    }

    /// A copy is busy from one moment to another.
    fn add(&mut self, from: f64, until: f64) {
        let place = |at: f64| (at / self.length) as usize;
        let (first, last) = (place(from), place(until));
        let mut part = |cell: usize, from: f64, until: f64| {
            if let Some(part) = self.parts.get_mut(cell) {
                *part += (until - from).max(0.0) / self.length;
            }
        };
        if first == last {
            part(first, from, until);
            return;
        }
        part(first, from, (first + 1) as f64 * self.length);
        part(last, last as f64 * self.length, until);
        for (cell, step) in [(first + 1, 1), (last, -1)] {
            if let Some(cell) = self.steps.get_mut(cell) {
                *cell += step;
            }
        }
    }

    fn sums(mut self) -> Vec<f64> {
        let mut whole = 0;
        for (part, step) in self.parts.iter_mut().zip(self.steps) {
            whole += step;
            *part += f64::from(whole);
        }
        self.parts
    }
}

/// The mean over so many cells before and after each.
fn smooth(load: &[f64], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in load {
        sums.push(sums[sums.len() - 1] + value);
    }
    let mean = |cell: usize| {
        let (from, until) = (
            cell.saturating_sub(width),
            cell.saturating_add(width + 1).min(load.len()),
        );
        (sums[until] - sums[from]).max(0.0) / (until - from) as f64
    };
    (0..load.len()).map(mean).collect()
}

/// Tasks in the order of their arrival on so many copies: the busy ones of each cell, and for how long each
/// task waits. None when too many wait for too long, or for ever.
fn busy(tasks: &[Task], copies: &[u32], share: f64, length: f64) -> Option<(Vec<f64>, Vec<f32>)> {
    let may = (LATE * tasks.len() as f64) as usize;
    let (mut late, mut now) = (0, 0.0_f64);
    let mut cells = Cells::new(copies.len(), length);
    let mut waits = Vec::with_capacity(tasks.len());
    let mut ends = BinaryHeap::new();
    for task in tasks {
        now = now.max(task.at);
        loop {
            while let Some(Reverse(end)) = ends.peek().copied() {
                if f64::from_bits(end) > now {
                    break;
                }
                ends.pop();
            }
            let cell = (now / length + 1e-9) as usize;
            if *copies.get(cell)? as usize > ends.len() {
                break;
            }
            let free = ends.peek();
            let free = free.map_or(f64::INFINITY, |&Reverse(end)| f64::from_bits(end));
            now = free.min((cell + 1) as f64 * length);
        }
        late += usize::from(now - task.at > share * task.patience + 1e-9);
        if late > may {
            return None;
        }
        waits.push((now - task.at) as f32);
        cells.add(now, now + task.took);
        ends.push(Reverse((now + task.took).to_bits()));
    }
    Some((cells.sums(), waits))
}

/// Instance-seconds of a plan: its copies, those that are still busy when it has no place for them, and
/// the starts, where keeping a copy from one use to the next is not cheaper.
fn price(copies: &[u32], busy: &[f64], start: f64, length: f64) -> f64 {
    let (mut sum, mut stopped, mut before) = (0.0, Vec::new(), 0_u32);
    for (cell, (&copies, &busy)) in copies.iter().zip(busy).enumerate() {
        let copies = copies.max((busy - 1e-9).ceil().max(0.0) as u32);
        let now = cell as f64 * length;
        sum += f64::from(copies) * length;
        for _ in copies..before {
            stopped.push(now);
        }
        for _ in before..copies {
            sum += stopped.pop().map_or(start, |then| start.min(now - then));
        }
        before = copies;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks(patience: f64) -> Vec<Task> {
        // Four tasks a second of half a second each, two at a time.
        let task = |number: u32| Task {
            order: number as usize,
            at: f64::from(number / 2) * 0.5,
            took: 0.5,
            patience,
        };
        (0..800).map(task).collect()
    }

    #[test]
    fn an_even_load_costs_its_copies_and_their_starts() {
        let none = Plan {
            cost: f64::INFINITY,
            waits: Vec::new(),
        };
        let cost = cheapest(&tasks(0.0), 5.0, 1.0, none).cost;
        assert!((cost - (2.0 * 200.0 + 2.0 * 5.0)).abs() < 10.0, "{cost}");
    }

    #[test]
    fn too_few_copies_are_no_plan() {
        let tasks = tasks(0.1);
        assert!(busy(&tasks, &vec![1; 2_000], 1.0, CELL).is_none());
        assert!(busy(&tasks, &vec![2; 2_000], 1.0, CELL).is_some());
        assert!(busy(&tasks, &[2; 20], 1.0, CELL).is_none(), "for ever");
    }

    #[test]
    fn copies_are_kept_or_started_again_whichever_is_cheaper() {
        let price = |gap: usize| {
            let copies: Vec<u32> = [vec![1; 4], vec![0; gap], vec![1; 4]].concat();
            price(&copies, &vec![0.0; copies.len()], 3.0, CELL)
        };
        assert!((price(4) - (2.0 + 3.0 + 1.0)).abs() < 1e-9);
        assert!((price(400) - (2.0 + 3.0 + 3.0)).abs() < 1e-9);
    }

    #[test]
    fn cells_are_bounded_and_a_long_task_costs_no_more_than_a_short_one() {
        let mut tasks = tasks(0.0);
        assert!((length(&tasks) - CELL).abs() < 1e-12);
        tasks.last_mut().unwrap().at = 1e9;
        let length = length(&tasks);
        assert!(length > CELL && 1e9 / length <= MOST_CELLS);
        assert!(load(&tasks, length).len() <= MOST_CELLS as usize + 41);
        let mut cells = Cells::new(8, CELL);
        cells.add(0.1, 0.2);
        cells.add(0.4, 1.1);
        cells.add(1.0, 1e6);
        let wanted = [0.4, 0.4, 1.0, 1.0, 1.4, 1.0, 1.0, 1.0];
        for (found, wanted) in cells.sums().into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-9, "{found} {wanted}");
        }
    }
}
