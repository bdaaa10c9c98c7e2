//! Sees to it that somebody is behind each service: a workflow for one that is a function, a line for one that is an
//! endpoint outside. What is wanted is started or woken (`look`), and stays: ε-ORC puts functions to sleep that are idle.
//! `workflow` says what runs for a service.

mod jobs;
mod look;
mod start;
mod turns;
mod unstarted;
mod view;
mod workflow;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use edgeless_orders::{
    book::{self, Answer},
    service::ServiceSpec,
    stages::reserved,
    tasks::is_service_name,
};
use edgeless_types::BACKLOG_LOOK;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Orders, endpoint};
use crate::{
    controller::{Controller, Tellers},
    problem::{Fault, Refusal},
    store::{Store, Write},
};

/// How often services are looked at, the domains are told what orders want, and what could not be started is tried again.
const LOOK: Duration = Duration::from_secs(1);
/// So soon they are looked at when one of them was started: its tasks may wait while its function sleeps again.
const SOON: Duration = Duration::from_millis(20);
/// Services that are wanted and taken up at once.
const AT_ONCE: usize = 1024;

use jobs::Jobs;
use turns::Turns;
pub use view::{ServiceRecord, ServiceView};

/// Keeps services and what runs for them; cheap to clone.
#[derive(Clone)]
pub struct Deployer(Arc<Inner>);

struct Inner {
    con: Controller,
    orders: Orders,
    store: Store,
    /// Where nodes find ε-CON; or why they cannot.
    url: Result<String, String>,
    client: reqwest::Client,
    services: Mutex<BTreeMap<String, Deployed>>,
    /// A service has changed: there may be more to look at.
    changed: Notify,
    /// The last record when nothing was to be done at a look; [`look::BUSY`]: something was.
    at_rest: AtomicU64,
    /// One change of a service at a time.
    turns: Turns,
}

struct Deployed {
    record: ServiceRecord,
    endpoint: Option<AbortHandle>,
}

impl Deployed {
    fn new(record: ServiceRecord) -> Self {
        let endpoint = None;
        Self { record, endpoint }
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.abort();
        }
    }
}

impl Deployer {
    /// The services that were kept.
    pub fn new(
        con: Controller,
        orders: Orders,
        store: Store,
        url: Result<String, String>,
        kept: Vec<(String, ServiceRecord)>,
    ) -> Self {
        let deployed = |(name, record)| (name, Deployed::new(record));
        Self(Arc::new(Inner {
            con,
            orders,
            store,
            url,
            client: endpoint::client(),
            services: Mutex::new(kept.into_iter().map(deployed).collect()),
            changed: Notify::new(),
            at_rest: AtomicU64::new(look::BUSY),
            turns: Turns::default(),
        }))
    }

    /// Runs what is to run, and starts and wakes what is wanted, until shutdown.
    pub async fn run(self, mut wanted: mpsc::Receiver<Arc<str>>, shutdown: CancellationToken) {
        let names: Vec<String> = self.services().keys().cloned().collect();
        let mut jobs = Jobs::default();
        for name in names {
            let services = self.clone();
            jobs.begin(
                name.as_str().into(),
                async move { services.begin(&name).await },
            );
        }
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut queues = tokio::time::interval(BACKLOG_LOOK);
        queues.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut tellers = Tellers::new(self.0.con.clone());
        let (mut names, mut is_soon) = (Vec::new(), false);
        loop {
            let any_function = self.any_function();
            let kept = self.0.orders.kept_through();
            let rests = self.is_at_rest(kept, &tellers);
            tokio::select! {
                () = shutdown.cancelled() => return jobs.end().await,
                () = self.0.changed.notified() => {}
                () = jobs.one_done() => {
                    if !std::mem::replace(&mut is_soon, true) {
                        look.reset_after(SOON);
                    }
                }
                number = wanted.recv_many(&mut names, AT_ONCE) => {
                    if number == 0 {
                        return;
                    }
                    self.on_wanted(&mut names, &mut jobs, &mut tellers).await;
                }
                _ = look.tick(), if any_function => {
                    // What could not be started a moment ago is not tried again at once.
                    if !std::mem::take(&mut is_soon) {
                        for name in jobs.unstarted().names() {
                            self.ensure_again(&mut jobs, name);
                        }
                    }
                    self.look(&mut jobs, &mut tellers).await;
                }
                // There is something to look at again.
                () = self.0.orders.kept_beyond(kept), if rests => {}
                _ = queues.tick(), if any_function && !rests => self.look_at_queues(&mut tellers).await,
            }
        }
    }

    /// Defines a service or changes it; whether it is new.
    ///
    /// # Errors
    /// It is wrong, cannot be kept, or its new version does not run.
    pub async fn put(&self, name: &str, spec: ServiceSpec) -> Result<(ServiceView, bool), Refusal> {
        let mut faults = spec.faults();
        if !is_service_name(name) {
            let detail = "the name must be 1 to 64 letters, digits, `.`, `_` and `-`, a letter or digit first";
            faults.push(Fault::new("", detail));
        }
        faults.extend(reserved(name).map(|detail| Fault::new("", detail)));
        if !faults.is_empty() {
            return Err(Refusal::Invalid { faults });
        }
        let _turn = self.0.turns.of(name).await;
        let before = self.record(name);
        if spec.class_specification.is_some() {
            let workflow = self.workflow(name, &spec)?;
            self.0.con.check_only(workflow).await.map_err(of_service)?;
        }
        let mut record = ServiceRecord {
            spec,
            start: Uuid::new_v4(),
            workflow_id: None,
            paused: before.as_ref().is_some_and(|before| before.paused),
        };
        if let Some(before) = &before {
            (record.start, record.workflow_id) = (before.start, before.workflow_id);
            self.forget_gone(&mut record);
        }
        if let Some(workflow_id) = record.workflow_id {
            match record.spec.class_specification.is_some() {
                true => {
                    let workflow = self.workflow(name, &record.spec)?;
                    self.0
                        .con
                        .update(workflow_id, workflow)
                        .await
                        .map_err(of_service)?;
                }
                false => self.stop(&mut record).await?,
            }
        }
        self.keep(name, record.clone()).await?;
        let spec = Arc::new(record.spec.clone());
        self.0.orders.set_service(name.into(), Some(spec)).await;
        if record.spec.url.is_some() {
            self.open_endpoint(name, &record.spec);
        } else if record.spec.min_instances > 0 && record.workflow_id.is_none() {
            self.start(name).await?;
        }
        let view = self.inspect(name).await?;
        Ok((view, before.is_none()))
    }

    /// Ends a service.
    ///
    /// # Errors
    /// There is none, active orders need it, or its end cannot be kept.
    pub async fn delete(&self, name: &str) -> Result<(), Refusal> {
        let _turn = self.0.turns.of(name).await;
        let mut record = self.record(name).ok_or_else(|| unknown(name))?;
        match self.0.orders.remove_service(name.into()).await {
            Answer::Done => {}
            Answer::Refused(book::Refusal::InUse(why)) => return Err(Refusal::Conflict(why)),
            Answer::Accepted { .. } | Answer::Order(_) | Answer::Ended(_) | Answer::Refused(_) => {
                return Err(Refusal::Ending);
            }
        }
        let paused = record.paused;
        let spec = Arc::new(record.spec.clone());
        let gone = async {
            self.stop(&mut record).await?;
            self.write(vec![Write::Service(name.to_owned(), None)])
                .await
        };
        if let Err(refusal) = gone.await {
            // It is there as before.
            self.0.orders.set_service(name.into(), Some(spec)).await;
            self.0.orders.pause_service(name.into(), paused).await;
            return Err(refusal);
        }
        self.services().remove(name);
        Ok(())
    }

    /// Holds the tasks of a service up, or lets them go on.
    ///
    /// # Errors
    /// There is none, or it cannot be kept.
    pub async fn pause(&self, name: &str, paused: bool) -> Result<ServiceView, Refusal> {
        let _turn = self.0.turns.of(name).await;
        let mut record = self.record(name).ok_or_else(|| unknown(name))?;
        record.paused = paused;
        self.keep(name, record).await?;
        self.0.orders.pause_service(name.into(), paused).await;
        self.inspect(name).await
    }

    fn open_endpoint(&self, name: &str, spec: &ServiceSpec) {
        let Some(url) = &spec.url else { return };
        let (orders, client) = (self.0.orders.clone(), self.0.client.clone());
        let task = tokio::spawn(endpoint::run(
            orders,
            client,
            name.into(),
            url.as_str().into(),
        ));
        if let Some(deployed) = self.services().get_mut(name)
            && let Some(before) = deployed.endpoint.replace(task.abort_handle())
        {
            before.abort();
        }
    }

    async fn keep(&self, name: &str, record: ServiceRecord) -> Result<(), Refusal> {
        let kept = Write::Service(name.to_owned(), Some(Box::new(record.clone())));
        self.write(vec![kept]).await?;
        self.0.changed.notify_one();
        let mut services = self.services();
        match services.get_mut(name) {
            Some(deployed) => {
                let was_endpoint = record.spec.url.is_none();
                if let Some(endpoint) = deployed.endpoint.take_if(|_| was_endpoint) {
                    endpoint.abort();
                }
                deployed.record = record;
            }
            None => {
                services.insert(name.to_owned(), Deployed::new(record));
            }
        }
        Ok(())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Refusal> {
        let written = self.0.store.write(writes).await;
        written.map_err(|error| Refusal::Store(error.to_string()))
    }

    fn record(&self, name: &str) -> Option<ServiceRecord> {
        self.services()
            .get(name)
            .map(|deployed| deployed.record.clone())
    }

    fn services(&self) -> MutexGuard<'_, BTreeMap<String, Deployed>> {
        self.0
            .services
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal::Unknown {
        what: "service",
        id: name.to_owned(),
    }
}

/// Places in the workflow of a service as those of the service.
fn of_service(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Invalid { faults } => Refusal::Invalid {
            faults: faults
                .into_iter()
                .map(|fault| {
                    let pointer = fault.pointer.strip_prefix("/functions/0").unwrap_or("");
                    // These are fields of a service.
                    let own = ["/min_instances", "/max_instances", "/idle_after"];
                    let field = pointer.strip_prefix("/annotations").unwrap_or(pointer);
                    let pointer = if own.contains(&field) { field } else { pointer };
                    Fault::new(pointer, fault.detail)
                })
                .collect(),
        },
        other => other,
    }
}

#[cfg(test)]
mod tests;
