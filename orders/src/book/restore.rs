//! Begins with what was kept: orders that had not come to their end go on where they were.

use edgeless_types::{OrderId, Timestamp};

use super::{Book, Output, change::joined};
use crate::{body::Body, record::What};

impl Book {
    /// An order that was kept and has not ended. What follows from it comes with [`Book::resume`].
    pub fn restore(&mut self, body: Box<Body>, now: Timestamp) -> Output {
        let client = self.client_slot(&body.accepted.client);
        let (id, fails) = (body.id, body.failure().is_some());
        self.put_order(body, client, now, None);
        // One that fails is wanted at once: its end is all that is left to record.
        if let Some(slot) = self.index.get(&id).copied().filter(|_| !fails) {
            self.evict(slot);
        }
        std::mem::take(&mut self.out)
    }

    /// Orders that wait for others: those among them that are not active are asked for in the store.
    pub fn orphans(&self) -> Vec<(OrderId, u32, OrderId)> {
        let bodies = self
            .orders
            .iter()
            .filter_map(|(_, order)| order.body.as_ref());
        let waiting = bodies.flat_map(|body| {
            let steps = body.steps.iter().filter(|step| step.done.is_none());
            steps.flat_map(move |step| {
                let open = step.children.iter().filter(|child| child.end.is_none());
                open.map(move |child| (body.id, step.position, child.id))
            })
        });
        waiting
            .filter(|(_, _, child)| !self.index.contains_key(child))
            .collect()
    }

    /// An order that another one waits for had ended before the start.
    pub fn adopt(
        &mut self,
        parent: OrderId,
        position: u32,
        child: &Body,
        now: Timestamp,
    ) -> Output {
        if let (Some(slot), Some(joined)) =
            (self.index.get(&parent).copied(), joined(child, position))
        {
            self.change(slot, What::Joined(joined), now);
        }
        std::mem::take(&mut self.out)
    }

    /// The end of all restoring: orders whose next step was decided but not kept are brought there.
    pub fn resume(&mut self, now: Timestamp) -> Output {
        let slots: Vec<u32> = self
            .orders
            .iter()
            .filter(|(_, order)| {
                order
                    .body
                    .as_ref()
                    .is_some_and(|body| body.is_ended() || body.failure().is_some())
            })
            .filter_map(|(slot, _)| u32::try_from(slot).ok())
            .collect();
        for slot in slots {
            self.settle_alone(slot, now);
        }
        std::mem::take(&mut self.out)
    }
}
