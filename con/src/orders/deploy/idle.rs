//! Looks at all services, at the start and now and then: starts what is to run, switches off what has been idle for
//! long enough, and says in the domains what orders want of those that run.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use edgeless_types::{DomainId, OrderDemand};

use super::{Deployed, Deployer, unstarted::Unstarted, workflow::FUNCTION};
use crate::problem::Refusal;

/// Fewer tasks a second than this are none: means fade out without end.
const LITTLE: f64 = 0.01;

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

    /// Tries again to start what could not be started.
    pub(super) async fn ensure_all(&self, unstarted: &mut Unstarted) {
        for name in unstarted.names() {
            let ensured = self.ensure(&name).await;
            unstarted.follow(&name, ensured);
        }
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

    /// Switches off what has been idle for long enough.
    pub(super) async fn look(&self) {
        let Some(figures) = self.0.orders.figures().await else {
            return;
        };
        let mut idle = Vec::new();
        for (name, deployed) in self.services().iter_mut() {
            let figures = figures.services.get(name.as_str());
            let is_busy = figures.is_some_and(|figures| figures.tasks_to_do > 0);
            let spec = &deployed.record.spec;
            if is_busy || deployed.record.workflow_id.is_none() || spec.min_instances > 0 {
                deployed.idle = None;
                continue;
            }
            let since = deployed.idle.get_or_insert_with(Instant::now).elapsed();
            let said = figures.and_then(|figures| figures.idle_s);
            let said = said.map_or(Duration::ZERO, Duration::from_secs_f64);
            if since.max(said) >= spec.idle_after {
                idle.push(name.clone());
            }
        }
        for name in idle {
            if let Err(refusal) = self.switch_off(&name).await {
                tracing::warn!(service = name, %refusal, "an idle service cannot be switched off");
            }
        }
    }

    async fn switch_off(&self, name: &str) -> Result<(), Refusal> {
        let _changing = self.0.changing.lock().await;
        let Some(mut record) = self.record(name) else {
            return Ok(());
        };
        self.stop(&mut record).await?;
        tracing::info!(service = name, "an idle service is switched off");
        self.keep(name, record).await
    }

    pub(super) fn any_runs(&self) -> bool {
        let services = self.services();
        services
            .values()
            .any(|deployed| deployed.record.workflow_id.is_some())
    }

    pub(super) fn any_may_idle(&self) -> bool {
        self.services().values().any(|deployed| {
            deployed.record.workflow_id.is_some() && deployed.record.spec.min_instances == 0
        })
    }
}
