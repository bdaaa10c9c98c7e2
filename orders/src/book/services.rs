//! Services and clients that the book knows, and the lines that lead to services.

use std::sync::Arc;

use edgeless_types::Timestamp;

use super::{Answer, Ask, Book, Client, Effect, Line, LineId, Refusal, Service, Window};
use crate::{body::Body, contract::Contract, service::ServiceSpec};

/// Whether it was said that somebody has to be behind a service, since somebody last was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    /// It was not.
    #[default]
    No,
    /// The turn of one of its tasks comes soon.
    Soon,
    /// A task waits for it.
    Now,
}

impl Book {
    pub(super) fn on_service(
        &mut self,
        name: &str,
        spec: Option<Arc<ServiceSpec>>,
        now: Timestamp,
    ) {
        let slot = self.service_slot(name);
        let service = &mut self.services[slot as usize];
        let concurrency = spec.as_ref().and_then(|spec| spec.concurrency);
        // One that comes later under this name is another one.
        service.paused &= spec.is_some();
        service.spec = spec;
        service.wanted = Wanted::No;
        for line in service.lines.clone() {
            if let Some(line) = self.lines.get_mut(&line) {
                line.window = Window::new(concurrency);
            }
        }
        self.count_off(slot);
        self.dispatch(slot, now);
    }

    /// Nothing is recorded about services: whoever asks is answered at once.
    pub(super) fn on_remove_service(&mut self, name: &str, ask: Ask, now: Timestamp) {
        let slot = self.service_slot(name);
        let Service { to_do, undos, .. } = self.services[slot as usize];
        let why = match (to_do, undos) {
            (0, 0) => None,
            (0, _) => Some(format!(
                "active orders may need the service `{name}` to take back {undos} of their tasks"
            )),
            (_, _) => Some(format!(
                "active orders have {to_do} tasks for the service `{name}`"
            )),
        };
        let answer = match why {
            Some(why) => {
                let why = format!("{why}; wait for them or cancel them");
                Answer::Refused(Refusal::InUse(why))
            }
            None => {
                self.on_service(name, None, now);
                Answer::Done
            }
        };
        self.out.effects.push(Effect::Answer { ask, answer });
    }

    pub(super) fn on_pause_service(&mut self, name: &str, paused: bool, now: Timestamp) {
        let slot = self.service_slot(name);
        self.services[slot as usize].paused = paused;
        self.count_off(slot);
        self.dispatch(slot, now);
    }

    pub(super) fn on_client(&mut self, name: &str, contract: Option<Arc<Contract>>) {
        let slot = self.client_slot(name);
        let list = contract.as_ref().and_then(|contract| contract.check().ok());
        let client = &mut self.clients[slot as usize];
        client.contract = contract;
        client.list = list.map(Arc::new);
    }

    pub(super) fn on_line_opened(
        &mut self,
        line: LineId,
        service: &str,
        source: Arc<str>,
        copies: Option<u32>,
        now: Timestamp,
    ) {
        let slot = self.service_slot(service);
        let service = &mut self.services[slot as usize];
        let concurrency = service.spec.as_ref().and_then(|spec| spec.concurrency);
        service.lines.push(line);
        let mut window = Window::new(concurrency);
        if let Some(copies) = copies {
            window.set_copies(copies);
        }
        // Nobody behind it: that is to be said again of what waits.
        service.wanted = Wanted::No;
        let opened = Line {
            service: slot,
            source,
            window,
            in_flight: 0,
            open: true,
            copies: copies.unwrap_or(1),
        };
        self.lines.insert(line, opened);
        self.count_off(slot);
        self.dispatch(slot, now);
    }

    pub(super) fn on_copies(&mut self, line: LineId, copies: u32, now: Timestamp) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.copies = copies;
            line.window.set_copies(copies);
            let service = line.service;
            if copies > 0 {
                self.services[service as usize].wanted = Wanted::No;
            }
            self.count_off(service);
            self.dispatch(service, now);
        }
    }

    pub(super) fn on_open(&mut self, line: LineId, open: bool, now: Timestamp) {
        if let Some(line) = self.lines.get_mut(&line) {
            line.open = open;
            let service = line.service;
            self.dispatch(service, now);
        }
    }

    /// Somebody is behind a service who can take a task, now or when he has time. Without a line it is off, with lines to
    /// nobody it is asleep.
    pub(super) fn has_copies(&self, service: u32) -> bool {
        let mut lines = self.services[service as usize].lines.iter();
        lines.any(|id| self.lines.get(id).is_some_and(|line| line.copies > 0))
    }

    /// Something changed that decides whether a service is off: whether it may run, or who is behind it.
    pub(super) fn count_off(&mut self, service: u32) {
        let has_copies = self.has_copies(service);
        let service = &mut self.services[service as usize];
        let is_off = service.spec.is_some() && !service.paused && !has_copies;
        self.off += usize::from(is_off);
        self.off -= usize::from(service.is_off);
        service.is_off = is_off;
    }

    /// Somebody has to be behind a service. That is said once until somebody is, and again if it becomes urgent.
    pub(super) fn want(&mut self, service: u32, how: Wanted) {
        let service = &mut self.services[service as usize];
        if service.wanted < how {
            service.wanted = how;
            let service = Arc::clone(&service.name);
            self.out.effects.push(Effect::Wanted { service });
        }
    }

    /// A service that is defined.
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        let slot = self.service_index.get(name)?;
        let service = &self.services[*slot as usize];
        service.spec.is_some().then_some(service)
    }

    /// The place of a service, which is made if there is none: orders may name it that was defined once.
    pub(super) fn service_slot(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.service_index.get(name) {
            return *slot;
        }
        let slot = u32::try_from(self.services.len())
            .expect("services have names that are kept in memory");
        let name: Arc<str> = name.into();
        self.service_index.insert(Arc::clone(&name), slot);
        self.services.push(Service {
            name,
            ..Service::default()
        });
        slot
    }

    /// The place of a client, which is made if there is none.
    pub(super) fn client_slot(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.client_index.get(name) {
            return *slot;
        }
        let slot =
            u32::try_from(self.clients.len()).expect("clients have names that are kept in memory");
        let name: Arc<str> = name.into();
        self.client_index.insert(Arc::clone(&name), slot);
        self.clients.push(Client {
            name,
            ..Client::default()
        });
        slot
    }

    /// Adds the tasks of an order that are still to be done, or takes those away that were left.
    pub(super) fn count_tasks(&mut self, body: &Body, sign: i64) {
        self.count_services(&body.to_do(), sign);
        for name in body
            .list
            .tasks()
            .iter()
            .filter_map(|task| task.undo.as_ref())
        {
            let slot = self.service_slot(name);
            let undos = &mut self.services[slot as usize].undos;
            *undos = undos.saturating_add_signed(sign);
        }
    }

    /// The same by the names of their services.
    pub(super) fn count_services(&mut self, names: &[Arc<str>], sign: i64) {
        for name in names {
            let slot = self.service_slot(name);
            let to_do = &mut self.services[slot as usize].to_do;
            *to_do = to_do.saturating_add_signed(sign);
        }
    }
}
