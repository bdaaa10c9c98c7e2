//! Looks at all services, at the start and now and then: starts what is to run, switches off what has been idle for
//! long enough, and says in the domains what orders want of those that run.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use edgeless_orders::book::ServiceFigures;
use edgeless_types::{DomainId, OrderDemand};

use super::{Deployed, Deployer, ServiceRecord, jobs::Jobs, workflow::FUNCTION};
use crate::problem::Refusal;

/// Fewer tasks a second than this are none: means fade out without end.
const LITTLE: f64 = 0.01;
/// The number of no record.
pub(super) const BUSY: u64 = u64::MAX;

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
        } else if record.spec.min_instances > 0 {
            return self.ensure(name).await;
        }
        Ok(())
    }

    /// Says in the domains what orders want of services.
    pub(super) async fn tell_demand(&self, told: &mut Vec<DomainId>) {
        // Nothing was kept since, and nothing was to be done then: nothing is wanted.
        let kept = self.0.orders.kept_through();
        if told.is_empty() && self.0.seen.swap(kept, Ordering::Relaxed) == kept {
            return;
        }
        let Some(figures) = self.0.orders.figures().await else {
            return;
        };
        let demand = |(name, deployed): (&String, &Deployed)| {
            let of = figures.services.get(name.as_str())?;
            let demand = OrderDemand {
                tasks_to_do: of.tasks_to_do,
                waiting: of.waiting,
                in_flight: of.in_flight,
                oldest_waiting_s: of.oldest_waiting_s,
                came_per_second: of.came_per_second,
                done_per_second: of.done_per_second,
                took_ms: of.took_ms,
            };
            let is_wanted = of.tasks_to_do > 0 || of.done_per_second > LITTLE;
            let workflow_id = deployed.record.workflow_id.filter(|_| is_wanted)?;
            Some((workflow_id, demand))
        };
        let wanted = self.services().iter().filter_map(demand).collect();
        self.0.con.tell_demand(FUNCTION, wanted, told).await;
    }

    /// Switches off what has been idle for long enough, and starts what is off though tasks wait for it: whoever said
    /// that they do was not heard, or the service was held up then.
    pub(super) async fn look(&self, jobs: &mut Jobs) {
        let kept = self.0.orders.kept_through();
        // Nothing was to be done then, and nothing was kept since: nothing waits.
        if self.0.at_rest.load(Ordering::Relaxed) == kept && !self.any_may_idle() {
            return;
        }
        let Some(figures) = self.0.orders.figures().await else {
            return;
        };
        let at_rest = if figures.tasks_to_do == 0 { kept } else { BUSY };
        self.0.at_rest.store(at_rest, Ordering::Relaxed);
        let now = Instant::now();
        let (mut idle, mut missed) = (Vec::new(), Vec::new());
        for (name, deployed) in self.services().iter_mut() {
            let figures = figures.services.get(name.as_str());
            if deployed.is_idle(figures, now) {
                idle.push(name.clone());
            } else if figures.is_some_and(waits)
                && !jobs.unstarted().has(name)
                && self.is_off(&deployed.record)
            {
                missed.push(name.as_str().into());
            }
        }
        for name in missed {
            self.ensure_again(jobs, name);
        }
        for name in idle {
            let services = self.clone();
            jobs.begin(name.as_str().into(), async move {
                if let Err(refusal) = services.switch_off(&name).await {
                    tracing::warn!(service = name, %refusal, "an idle service cannot be switched off");
                }
                Ok(())
            });
        }
    }

    /// Switches a service off, if it is still idle when its turn has come.
    async fn switch_off(&self, name: &str) -> Result<(), Refusal> {
        let _turn = self.0.turns.of(name).await;
        let Some(figures) = self.0.orders.figures().await else {
            return Ok(());
        };
        let mut record = {
            let mut services = self.services();
            let Some(deployed) = services.get_mut(name) else {
                return Ok(());
            };
            if !deployed.is_idle(figures.services.get(name), Instant::now()) {
                return Ok(());
            }
            deployed.record.clone()
        };
        self.stop(&mut record).await?;
        tracing::info!(service = name, "an idle service is switched off");
        self.keep(name, record).await
    }

    /// Nothing runs for a service that could, and may.
    fn is_off(&self, record: &ServiceRecord) -> bool {
        let runs = |workflow_id| self.0.con.has(workflow_id);
        record.spec.class_specification.is_some()
            && !record.paused
            && !record.workflow_id.is_some_and(runs)
    }

    pub(super) fn any_runs(&self) -> bool {
        let services = self.services();
        services
            .values()
            .any(|deployed| deployed.record.workflow_id.is_some())
    }

    /// There is something that can be started and switched off.
    pub(super) fn any_function(&self) -> bool {
        let services = self.services();
        services
            .values()
            .any(|deployed| deployed.record.spec.class_specification.is_some())
    }

    fn any_may_idle(&self) -> bool {
        self.services().values().any(|deployed| {
            deployed.record.workflow_id.is_some() && deployed.record.spec.min_instances == 0
        })
    }
}

/// Tasks wait for a service. There may be left-overs of orders that have ended.
fn waits(figures: &ServiceFigures) -> bool {
    figures.waiting > 0 && figures.tasks_to_do > 0
}

impl Deployed {
    pub(super) fn new(record: ServiceRecord) -> Self {
        Self {
            record,
            endpoint: None,
            changed: Instant::now(),
            idle: None,
        }
    }

    /// Takes what is kept of it from now on. What is started or switched off has not been idle yet.
    pub(super) fn follow(&mut self, record: ServiceRecord, now: Instant) {
        if record.workflow_id != self.record.workflow_id {
            (self.changed, self.idle) = (now, None);
        }
        self.record = record;
    }

    /// Whether it runs, and has had nothing to do for as long as it may since it was started.
    pub(super) fn is_idle(&mut self, figures: Option<&ServiceFigures>, now: Instant) -> bool {
        let spec = &self.record.spec;
        let is_busy = figures.is_some_and(|figures| figures.tasks_to_do > 0);
        if is_busy || self.record.workflow_id.is_none() || spec.min_instances > 0 {
            self.idle = None;
            return false;
        }
        let seen = now.saturating_duration_since(*self.idle.get_or_insert(now));
        let said = figures.and_then(|figures| figures.idle_s);
        let said = said.map_or(Duration::ZERO, Duration::from_secs_f64);
        let runs = now.saturating_duration_since(self.changed);
        seen.max(said.min(runs)) >= spec.idle_after
    }
}
