//! What ε-CON keeps of a service: its queue, and how much is handed out.

use std::{collections::VecDeque, time::Duration};

use edgeless_orders::book::Window;
use edgeless_types::{OrderDemand, has_doubled};

/// The tasks of a service.
#[derive(Default)]
pub(super) struct Service {
    queue: VecDeque<usize>,
    window: Option<Window>,
    copies: u32,
    in_flight: u32,
    /// How many waited when that was told last.
    told: u64,
    /// Tasks of orders on their way, those whose turn has not come as well.
    pub(super) to_do: u64,
}

impl Service {
    /// The turn of a task has come.
    pub(super) fn queue(&mut self, order: usize) {
        self.queue.push_back(order);
    }

    /// So many copies are behind its line.
    pub(super) fn set_copies(&mut self, copies: u32) {
        self.copies = copies;
        self.window().set_copies(copies);
    }

    /// The next task that may be handed out.
    pub(super) fn hand_out(&mut self) -> Option<usize> {
        let room = self.copies > 0 && self.in_flight < self.window().size();
        let order = self.queue.pop_front_if(|_| room)?;
        self.in_flight += 1;
        Some(order)
    }

    /// A task has come back after so long.
    pub(super) fn done(&mut self, took: f64) {
        let out = self.in_flight;
        self.window().on_answer(Duration::from_secs_f64(took), out);
        self.in_flight = self.in_flight.saturating_sub(1);
        self.to_do = self.to_do.saturating_sub(1);
    }

    /// A task has come back, and is tried again later.
    pub(super) fn failed(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// More than twice as much waits as was told.
    pub(super) fn has_doubled(&self) -> bool {
        has_doubled(self.told, self.queue.len() as u64)
    }

    /// What is told to ε-ORC.
    pub(super) fn demand(&mut self) -> OrderDemand {
        self.told = self.queue.len() as u64;
        OrderDemand {
            tasks_to_do: self.to_do,
            waiting: self.told,
            in_flight: u64::from(self.in_flight),
            // No policy reads what follows.
            oldest_waiting_s: 0.0,
            came_per_second: 0.0,
            done_per_second: 0.0,
            took_ms: 0.0,
        }
    }

    fn window(&mut self) -> &mut Window {
        self.window.get_or_insert_with(|| Window::new(None))
    }
}
