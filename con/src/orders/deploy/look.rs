//! Looks at all services, at the start, when one is wanted, and now and then: starts what is off though tasks wait for
//! it, and says in the domains what orders want of those that run. Those that sleep wake by that: ε-ORC decides how many
//! copies there are.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use edgeless_orders::book::ServiceFigures;
use edgeless_types::{OrderDemand, has_doubled};

use super::{Deployed, Deployer, ServiceRecord, jobs::Jobs, workflow::FUNCTION};
use crate::{controller::Tellers, problem::Refusal};

/// Fewer tasks a second than this are none: means fade out without end.
const LITTLE: f64 = 0.01;
/// The number of no record.
pub(super) const BUSY: u64 = u64::MAX;

type AllFigures = BTreeMap<Arc<str>, ServiceFigures>;

impl Deployer {
    /// After a start of ε-CON: what was there is there again.
    ///
    /// # Errors
    /// It has to be tried again.
    pub(super) async fn begin(&self, name: &str) -> Result<(), Refusal> {
        let Some(record) = self.record(name) else {
            return Ok(());
        };
        if record.paused {
            self.0.orders.pause_service(name.into(), true).await;
        }
        if record.spec.url.is_some() {
            self.open_endpoint(name, &record.spec);
        } else if record.spec.min_instances > 0 || self.runs(&record) {
            return self.ensure(name).await;
        }
        Ok(())
    }

    /// Somebody has to be behind these services: those that are off are started, those that sleep are woken at once.
    pub(super) async fn on_wanted(
        &self,
        names: &mut Vec<Arc<str>>,
        jobs: &mut Jobs,
        tellers: &mut Tellers,
    ) {
        let mut any_sleeps = false;
        for name in names.drain(..) {
            match self.record(&name).filter(|record| self.runs(record)) {
                // Others have copies that start, whatever is said of them.
                Some(record) => any_sleeps |= record.spec.min_instances == 0,
                None => self.ensure_soon(jobs, name),
            }
        }
        if any_sleeps && let Some(figures) = self.0.orders.figures().await {
            self.tell_demand(&figures.services, tellers);
        }
    }

    /// Starts what is off though tasks wait for it: whoever said that they do was not heard, or the service was held up
    /// then. And says in the domains what orders want.
    pub(super) async fn look(&self, jobs: &mut Jobs, tellers: &mut Tellers) {
        let kept = self.0.orders.kept_through();
        if self.is_at_rest(kept, tellers) {
            return;
        }
        let Some(figures) = self.0.orders.figures().await else {
            return;
        };
        let at_rest = if figures.tasks_to_do == 0 { kept } else { BUSY };
        self.0.at_rest.store(at_rest, Ordering::Relaxed);
        let mut missed: Vec<Arc<str>> = Vec::new();
        for (name, deployed) in self.services().iter() {
            let waits = figures.services.get(name.as_str()).is_some_and(waits);
            if waits && !jobs.unstarted().has(name) && self.is_off(&deployed.record) {
                missed.push(name.as_str().into());
            }
        }
        for name in missed {
            self.ensure_again(jobs, name);
        }
        self.tell_demand(&figures.services, tellers);
    }

    /// Nothing was to be done or told when it was looked at last, and nothing was kept since: nothing is wanted.
    pub(super) fn is_at_rest(&self, kept: u64, tellers: &Tellers) -> bool {
        self.0.at_rest.load(Ordering::Relaxed) == kept && tellers.are_at_rest()
    }

    /// Says in the domains what orders want before the next look, if a queue has doubled since they were told.
    pub(super) async fn look_at_queues(&self, tellers: &mut Tellers) {
        let Some(queues) = self.0.orders.queues().await else {
            return;
        };
        let has_doubled = queues.iter().any(|(name, waiting)| {
            let record = self.record(name).filter(|record| !record.paused);
            let workflow_id = record.and_then(|record| record.workflow_id);
            workflow_id.is_some_and(|id| has_doubled(tellers.told_waiting(id), *waiting))
        });
        if has_doubled && let Some(figures) = self.0.orders.figures().await {
            self.tell_demand(&figures.services, tellers);
        }
    }

    /// Says in the domains what orders want of services.
    fn tell_demand(&self, figures: &AllFigures, tellers: &mut Tellers) {
        let demand = |(name, deployed): (&String, &Deployed)| {
            let record = &deployed.record;
            let demand = demand(record, figures.get(name.as_str())?)?;
            Some((record.workflow_id?, demand))
        };
        let wanted = self.services().iter().filter_map(demand).collect();
        tellers.tell(FUNCTION, wanted);
    }

    /// Nothing runs for a service that could, and may.
    fn is_off(&self, record: &ServiceRecord) -> bool {
        record.spec.class_specification.is_some() && !record.paused && !self.runs(record)
    }

    /// There is a workflow for a service; its function may sleep.
    fn runs(&self, record: &ServiceRecord) -> bool {
        let workflow_id = record.workflow_id;
        workflow_id.is_some_and(|workflow_id| self.0.con.has(workflow_id))
    }

    /// There is something that can be started and woken.
    pub(super) fn any_function(&self) -> bool {
        let services = self.services();
        services
            .values()
            .any(|deployed| deployed.record.spec.class_specification.is_some())
    }
}

/// Tasks wait for a service. There may be left-overs of orders that have ended.
fn waits(figures: &ServiceFigures) -> bool {
    figures.waiting > 0 && figures.tasks_to_do > 0
}

/// What orders want of a service; none: nothing.
fn demand(record: &ServiceRecord, of: &ServiceFigures) -> Option<OrderDemand> {
    let may_sleep = record.spec.min_instances == 0;
    let sleeps_on = may_sleep && of.copies == 0 && !of.wanted;
    let waiting = of.waiting.min(of.tasks_to_do);
    // Nobody wakes for tasks that come much later.
    let tasks_to_do = match sleeps_on {
        true => waiting + of.in_flight,
        false => of.tasks_to_do,
    };
    let is_wanted = tasks_to_do > 0 || of.done_per_second > LITTLE;
    let is_held_up = may_sleep && record.paused;
    (is_wanted && !is_held_up).then_some(OrderDemand {
        tasks_to_do,
        waiting,
        in_flight: of.in_flight,
        oldest_waiting_s: of.oldest_waiting_s,
        came_per_second: of.came_per_second,
        done_per_second: of.done_per_second,
        took_ms: of.took_ms,
    })
}

#[cfg(test)]
mod tests {
    use edgeless_orders::service::ServiceSpec;
    use serde_json::json;

    use super::*;

    /// What is told of tasks to do and waiting, of a service that may sleep and whose figures are those.
    fn told(paused: bool, more: &serde_json::Value) -> Option<(u64, u64)> {
        let spec = json!({"url": "http://here", "min_instances": 0});
        let record = ServiceRecord {
            spec: serde_json::from_value::<ServiceSpec>(spec).unwrap(),
            start: uuid::Uuid::nil(),
            workflow_id: None,
            paused,
        };
        let number = |key: &str| more[key].as_u64().unwrap_or_default();
        let figures = ServiceFigures {
            tasks_to_do: number("to_do"),
            waiting: number("waiting"),
            in_flight: 0,
            oldest_waiting_s: 0.0,
            came_per_second: 0.0,
            done_per_second: 0.0,
            done: 0,
            missed: 0,
            took_ms: 0.0,
            drain_s: None,
            lines: 1,
            copies: number("copies"),
            wanted: more["wanted"] == true,
            paused,
        };
        demand(&record, &figures).map(|it| (it.tasks_to_do, it.waiting))
    }

    #[test]
    fn who_sleeps_hears_of_tasks_that_come_soon_and_not_of_those_that_come_later() {
        let check = |more, expected| assert_eq!(told(false, &more), expected, "{more}");
        check(json!({}), None);
        check(json!({"to_do": 3}), None);
        check(json!({"to_do": 3, "wanted": true}), Some((3, 0)));
        check(
            json!({"to_do": 3, "waiting": 1, "wanted": true}),
            Some((3, 1)),
        );
        check(json!({"to_do": 3, "copies": 1}), Some((3, 0)));
    }

    #[test]
    fn nobody_wakes_for_what_is_held_up_or_left_over() {
        let waits = json!({"to_do": 3, "waiting": 1, "wanted": true});
        assert_eq!(told(true, &waits), None);
        assert_eq!(told(false, &json!({"waiting": 2})), None);
    }
}
