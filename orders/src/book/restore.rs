//! Begins with what was kept: orders that had not come to their end go on where they were.

use edgeless_types::{OrderId, Timestamp};

use super::{Book, Output, spawn::joined};
use crate::body::Body;

impl Book {
    /// An order that was kept and has not ended. What follows from it comes with [`Book::resume`].
    pub fn restore(&mut self, body: Box<Body>, now: Timestamp) -> Output {
        let client = self.client_slot(&body.accepted.client);
        let (id, fails) = (body.id, body.failure().is_some());
        if let Some(parent) = &body.accepted.parent {
            let above = OrderId::from_pair((parent.high, parent.low));
            self.restored.push((id, above, parent.position));
        }
        self.put_order(body, client, now, None);
        // One that fails is wanted at once: its end is all that is left to record.
        if let Some(slot) = self.index.get(&id).copied().filter(|_| !fails) {
            self.evict(slot);
        }
        std::mem::take(&mut self.out)
    }

    /// Orders that wait for others: those among them that are not active are asked for in the store.
    pub fn orphans(&self) -> Vec<(OrderId, u32, OrderId)> {
        let orders = self.orders.iter();
        let bodies = orders.filter_map(|(_, order)| order.body.as_ref());
        let waiting = bodies.flat_map(|body| {
            let children = body.children();
            children.map(|(position, child)| (body.id, position, child))
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
        let slot = self.index.get(&parent).copied();
        let above = slot.and_then(|slot| self.orders.get(slot as usize)?.body.as_deref());
        let joined = above.and_then(|above| joined(above, child, position));
        if let (Some(slot), Some(joined)) = (slot, joined) {
            self.change(slot, joined, now);
        }
        std::mem::take(&mut self.out)
    }

    /// The end of all restoring: orders whose next step was decided but not kept are brought there, and orders that
    /// nobody waits for any more are cancelled.
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
        for (child, parent, position) in std::mem::take(&mut self.restored) {
            let slot = self.index.get(&parent).copied();
            let above = slot.and_then(|slot| self.orders.get(slot as usize)?.body.as_deref());
            if above.is_none_or(|above| above.waiting(position, child).is_none()) {
                self.end_orphan(child, now);
            }
        }
        std::mem::take(&mut self.out)
    }
}
