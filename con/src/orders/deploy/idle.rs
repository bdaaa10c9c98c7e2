//! Switches off what has been idle for long enough.

use std::time::{Duration, Instant};

use super::Deployer;
use crate::problem::Refusal;

impl Deployer {
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

    pub(super) fn any_may_idle(&self) -> bool {
        self.services().values().any(|deployed| {
            deployed.record.workflow_id.is_some() && deployed.record.spec.min_instances == 0
        })
    }
}
