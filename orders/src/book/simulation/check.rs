//! What has to hold of a book, whatever happens to it: everything that is counted as it goes is counted again.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::OrderId;

use super::disk::Rows;
use crate::{
    body::Step,
    book::{Book, Due, Entry, Gated, LineId, Timer, memory::Parked},
};

impl Book {
    /// Counts everything again; `rows` has every order as all records tell it.
    pub(super) fn check(&self, rows: &Rows) {
        self.check_orders(rows);
        self.check_flights(rows);
        self.check_timers();
        self.check_children(rows);
        for (id, slot) in &self.index {
            assert_eq!(self.orders[*slot as usize].id, *id, "the index is wrong");
        }
        let active = rows.values().filter(|row| !row.is_ended()).count();
        assert_eq!(self.orders.len(), active, "active orders");
        assert_eq!(self.index.len(), active, "indexed orders");
        if let Some((sequence, _)) = self.gated.front() {
            assert!(*sequence > self.durable, "what is kept is not released");
        }
        let mut loading: BTreeMap<u32, u32> = BTreeMap::new();
        for parked in self.loading.values().flatten() {
            if let Parked::Turn(_, service) = parked {
                *loading.entry(*service).or_default() += 1;
            }
        }
        for (slot, service) in (0..).zip(&self.services) {
            let counted = loading.get(&slot).copied().unwrap_or_default();
            assert_eq!(service.loading, counted, "loading for {}", service.name);
        }
        let told = self.gated.iter().filter_map(|(_, gated)| match gated {
            Gated::End(id, _) => Some(*id),
            Gated::Queue(_) | Gated::Effect(_) => None,
        });
        let told: BTreeSet<_> = told.collect();
        for id in self.waiters.keys() {
            let may = self.index.contains_key(id) || told.contains(id);
            assert!(may, "somebody waits for the end of {id} in vain");
        }
    }

    fn check_orders(&self, rows: &Rows) {
        let mut resident = 0;
        let mut active: BTreeMap<u32, u64> = BTreeMap::new();
        let mut to_do: BTreeMap<_, u64> = BTreeMap::new();
        for (_, order) in &self.orders {
            let row = &rows[&order.id];
            *active.entry(order.client).or_default() += 1;
            if let Some(body) = &order.body {
                resident += order.weight;
                let same = (&body.end, &body.value, &body.steps, body.paused)
                    == (&row.end, &row.value, &row.steps, row.paused);
                assert!(
                    same,
                    "{} is not what its records tell: {body:?} {row:?}",
                    order.id
                );
            }
            assert_eq!(order.paused, row.paused, "paused: {}", order.id);
            assert_eq!(order.has_children, row.has_children(), "{}", order.id);
            let fails = row.end.is_none() && row.failure().is_some() && order.out.is_empty();
            assert!(!fails, "{} fails, and nobody says so", order.id);
            for service in row.to_do() {
                *to_do.entry(service).or_default() += 1;
            }
        }
        assert_eq!(self.resident, resident, "bytes in memory");
        for (slot, client) in (0..).zip(&self.clients) {
            let counted = active.get(&slot).copied().unwrap_or_default();
            assert_eq!(client.active, counted, "active orders of {}", client.name);
        }
        let mut off = 0;
        for (slot, service) in (0..).zip(&self.services) {
            let counted = to_do.get(&service.name).copied().unwrap_or_default();
            assert_eq!(service.to_do, counted, "tasks to do for {}", service.name);
            let is_off = service.spec.is_some() && !service.paused && !self.has_copies(slot);
            assert_eq!(service.is_off, is_off, "{} is off", service.name);
            off += usize::from(is_off);
        }
        assert_eq!(self.off, off, "services that are off");
    }

    /// Who waits for an order gets its end, and nobody works on one that nobody waits for.
    fn check_children(&self, rows: &Rows) {
        for row in rows.values().filter(|row| row.end.is_none()) {
            let Some(parent) = &row.accepted.parent else {
                continue;
            };
            let above = OrderId::from_pair((parent.high, parent.low));
            let waits = rows[&above].waiting(parent.position, row.id).is_some();
            let parked = self.loading.get(&row.id);
            let is_leaving = parked
                .is_some_and(|parked| parked.iter().any(|parked| matches!(parked, Parked::Orphan)));
            assert!(
                waits || is_leaving,
                "nobody waits for {}, and it goes on",
                row.id
            );
        }
        for row in rows.values() {
            for (_, child) in row.children() {
                let ended = rows[&child].is_ended();
                assert!(!ended, "{} waits for {child}, which has ended", row.id);
            }
        }
    }

    fn check_flights(&self, rows: &Rows) {
        let mut services: BTreeMap<u32, u32> = BTreeMap::new();
        let mut lines: BTreeMap<LineId, u32> = BTreeMap::new();
        let mut out: BTreeSet<(u32, u16)> = BTreeSet::new();
        for (_, flight) in &self.flights {
            *services.entry(flight.service).or_default() += 1;
            *lines.entry(flight.line).or_default() += 1;
            if let Some(entry) = flight.entry {
                assert!(self.order(entry).is_some(), "a flight of no order");
                let first = out.insert((entry.slot, entry.position));
                assert!(first, "a task is handed out twice at a time");
            }
        }
        for (slot, order) in &self.orders {
            let slot = u32::try_from(slot).unwrap();
            let row = &rows[&order.id];
            for position in &order.out {
                let step = row.step(u32::from(*position));
                assert!(
                    step.is_some_and(Step::is_open),
                    "{} waits for {position} in vain",
                    order.id
                );
                let counted = out.remove(&(slot, *position));
                assert!(
                    counted,
                    "{} waits for {position}, which is not out",
                    order.id
                );
            }
        }
        assert!(out.is_empty(), "flights that no order knows: {out:?}");
        for (slot, service) in (0..).zip(&self.services) {
            let counted = services.get(&slot).copied().unwrap_or_default();
            assert_eq!(service.in_flight, counted, "in flight to {}", service.name);
        }
        for (id, line) in &self.lines {
            let counted = lines.remove(id).unwrap_or_default();
            assert_eq!(line.in_flight, counted, "in flight on {id:?}");
        }
        assert!(lines.is_empty(), "flights on lost lines: {lines:?}");
    }

    fn check_timers(&self) {
        let mut flights = 0;
        for (_, timer) in &self.timers {
            match *timer {
                Timer::Flight(_) => flights += 1,
                // The end of a pause may come after the order's end, and is passed over then.
                Timer::Order {
                    what: Due::Again(_) | Due::Orphan,
                    ..
                } => {}
                Timer::Order {
                    slot,
                    generation,
                    what: Due::Deadline | Due::Task(_) | Due::Begin,
                } => {
                    let position = 0;
                    let entry = Entry {
                        slot,
                        generation,
                        position,
                    };
                    assert!(self.order(entry).is_some(), "{timer:?} of no order");
                }
            }
        }
        assert_eq!(flights, self.flights.len(), "timers of flights");
    }

    /// Nothing is left when all is done and in the store.
    pub(super) fn check_empty(&self) {
        assert_eq!(self.orders.len(), 0, "orders");
        assert_eq!(self.index.len(), 0, "index");
        assert_eq!(self.flights.len(), 0, "flights");
        assert_eq!(self.timers.len(), 0, "timers");
        assert_eq!(self.gated.len(), 0, "what waits to be kept");
        assert_eq!(self.waiters.len(), 0, "waiters");
        assert_eq!(self.ending.len(), 0, "ends");
        assert_eq!(self.keys.len(), 0, "keys");
        assert_eq!(self.finding.len(), 0, "lookups");
        assert_eq!(self.loading.len(), 0, "loads");
        assert_eq!(self.unapplied.len(), 0, "what the store has not");
        assert_eq!(self.resident, 0, "bytes in memory");
        for service in &self.services {
            let counts = (
                service.to_do,
                service.in_flight,
                service.loading,
                service.queue.len(),
            );
            assert_eq!(counts, (0, 0, 0, 0), "{}", service.name);
        }
    }
}
