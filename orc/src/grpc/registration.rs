//! `NodeRegistration`.

use std::{collections::HashSet, sync::Arc, time::Duration};

use edgeless_daemon::net::{Listen, PeerUrl};
use edgeless_proto::{
    convert::{ConvertError, capabilities_from_wire, id_from_wire, providers_from_wire, required},
    v1::{self, node_registration_server::NodeRegistration},
};
use edgeless_types::{
    Backlog, Demand, Generation, NodeHealth, NodeId, RunningInstance, STATE_BYTES, Samples,
};
use tonic::{Request, Response, Status};

use super::ended;
use crate::{
    domain::{NodeUpdate, Profile},
    handle::Handle,
    metrics::Metrics,
};

/// Bounds of `refresh_deadline_ms`.
const DEADLINES: std::ops::RangeInclusive<u64> = 100..=3_600_000;
/// No domain ever decides so often; what is reported beyond it is a mistake.
const LAST_GENERATION: Generation = Generation(u64::MAX >> 1);

pub(super) struct Service {
    orc: Handle,
    metrics: Metrics,
}

impl Service {
    pub(super) fn new(orc: Handle, metrics: Metrics) -> Self {
        Self { orc, metrics }
    }
}

#[tonic::async_trait]
impl NodeRegistration for Service {
    async fn update_node(
        &self,
        request: Request<v1::UpdateNodeRequest>,
    ) -> Result<Response<v1::UpdateNodeReply>, Status> {
        let update = update_from_wire(request.into_inner())
            .inspect_err(|error| self.metrics.refused_update(&error.field))?;
        let node_id = update.node_id;
        let measured = update.samples.is_some().then_some(update.refresh_deadline);
        let reply = self.orc.update(update).await.map_err(ended)?;
        if reply.duplicate {
            return Err(Status::already_exists(format!(
                "node_id: another process registers as {node_id} since; give one of the two another id"
            )));
        }
        if let Some(deadline) = measured {
            // The update has counted; the node measures on when what it measured has been written.
            self.orc.backlog().room(deadline).await;
        }
        Ok(Response::new(v1::UpdateNodeReply {
            want_full: reply.want_full,
            may_leave: reply.may_leave,
        }))
    }
}

fn update_from_wire(update: v1::UpdateNodeRequest) -> Result<NodeUpdate, ConvertError> {
    let node_id: NodeId = id_from_wire(&update.node_id, "node_id")?;
    if !DEADLINES.contains(&update.refresh_deadline_ms) {
        let (first, last) = (DEADLINES.start(), DEADLINES.end());
        let problem = format!(
            "must be {first} to {last} ms, not {}",
            update.refresh_deadline_ms
        );
        return Err(ConvertError::new("refresh_deadline_ms", problem));
    }
    let profile = update
        .profile
        .map(|profile| profile_from_wire(profile, node_id))
        .transpose()?;
    let samples = update.samples.map(Samples::try_from).transpose();
    let samples = samples.map_err(|error| error.below("samples"))?;
    let running = update
        .running
        .map(|set| instances_from_wire(set, "running"));
    let running = running.transpose()?;
    let started = instances_from_wire(update.started.unwrap_or_default(), "started")?;
    let read = |(index, id): (usize, bytes::Bytes)| id_from_wire(&id, &format!("stopped[{index}]"));
    let stopped = update.stopped.into_iter().enumerate().map(read);
    let stopped = stopped.collect::<Result<Vec<_>, _>>()?;
    let mut failures = Vec::new();
    for failure in update.failures {
        let physical_id = id_from_wire(&failure.physical_id, "failures.physical_id")?;
        failures.push((physical_id, failure.message));
    }
    let mut states = Vec::new();
    for saved in update.states {
        if saved.state.len() > STATE_BYTES {
            let number = saved.state.len();
            let problem = format!("has {number} bytes; at most {STATE_BYTES} are kept");
            return Err(ConvertError::new("states.state", problem));
        }
        states.push((
            id_from_wire(&saved.physical_id, "states.physical_id")?,
            saved.state,
        ));
    }
    let demand = update.demand.into_iter().map(demand_from_wire);
    let demand = demand.collect::<Result<Vec<_>, _>>()?;
    let backlog = update.backlog.iter().map(backlog_from_wire);
    let backlog = backlog.collect::<Result<Vec<_>, _>>()?;
    Ok(NodeUpdate {
        node_id,
        nonce: update.nonce,
        sequence: update.sequence,
        refresh_deadline: Duration::from_millis(update.refresh_deadline_ms),
        profile,
        health: update.health.map(NodeHealth::from),
        samples: samples.filter(|samples| !samples.is_empty()).map(Arc::new),
        running,
        started,
        stopped,
        failures,
        states,
        demand,
        backlog,
        leaving: update.leaving,
    })
}

fn instances_from_wire(
    set: v1::RunningSet,
    field: &str,
) -> Result<Vec<RunningInstance>, ConvertError> {
    let instances = set.instances.into_iter().map(RunningInstance::try_from);
    let instances = instances
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.below(&format!("{field}.instances")))?;
    let mut seen = HashSet::new();
    for instance in &instances {
        if instance.generation > LAST_GENERATION {
            let number = instance.generation;
            let problem = format!("must be at most {LAST_GENERATION}, not {number}");
            return Err(ConvertError::new(
                format!("{field}.instances.generation"),
                problem,
            ));
        }
        if !seen.insert(instance.physical_id) {
            let problem = format!("{} is given twice", instance.physical_id);
            return Err(ConvertError::new(
                format!("{field}.instances.physical_id"),
                problem,
            ));
        }
    }
    Ok(instances)
}

fn backlog_from_wire(backlog: &v1::Backlog) -> Result<Backlog, ConvertError> {
    Ok(Backlog {
        physical_id: id_from_wire(&backlog.physical_id, "backlog.physical_id")?,
        queued: backlog.queued,
        in_hand: backlog.in_hand,
        oldest: Duration::from_millis(backlog.oldest_ms),
    })
}

fn demand_from_wire(demand: v1::Demand) -> Result<Demand, ConvertError> {
    Ok(Demand {
        physical_id: id_from_wire(&demand.physical_id, "demand.physical_id")?,
        channel: demand.channel,
        waiting: demand.waiting,
    })
}

fn profile_from_wire(profile: v1::NodeProfile, node_id: NodeId) -> Result<Profile, ConvertError> {
    let agent = profile.agent_url.parse::<Listen>().map(drop);
    let invocation = profile.invocation_url.parse::<PeerUrl>().map(drop);
    for (field, parsed) in [("agent_url", agent), ("invocation_url", invocation)] {
        if let Err(error) = parsed {
            return Err(ConvertError::new(
                format!("profile.{field}"),
                error.to_string(),
            ));
        }
    }
    let capabilities = required(profile.capabilities, "profile.capabilities")?;
    let capabilities = capabilities_from_wire(capabilities)
        .map_err(|error| error.below("profile.capabilities"))?;
    let providers =
        providers_from_wire(profile.providers, node_id).map_err(|error| error.below("profile"))?;
    Ok(Profile {
        agent_url: profile.agent_url,
        invocation_url: profile.invocation_url,
        capabilities: Arc::new(capabilities),
        providers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut v1::UpdateNodeRequest), field: &str) {
        let capabilities = v1::NodeCapabilities {
            num_cores: 1,
            ..Default::default()
        };
        let mut update = v1::UpdateNodeRequest {
            node_id: vec![1; 16].into(),
            refresh_deadline_ms: 1_000,
            profile: Some(v1::NodeProfile {
                agent_url: "http://127.0.0.1:1".into(),
                invocation_url: "http://127.0.0.1:2".into(),
                capabilities: Some(capabilities),
                providers: vec![],
            }),
            ..Default::default()
        };
        assert!(update_from_wire(update.clone()).is_ok());
        let mut secured = update.clone();
        secured.profile.as_mut().unwrap().invocation_url = "https://127.0.0.1:2".into();
        assert!(update_from_wire(secured).is_ok());
        change(&mut update);
        assert_eq!(update_from_wire(update).unwrap_err().field, field);
    }

    #[test]
    fn a_bad_registration_names_its_field() {
        check(|update| update.node_id = vec![1].into(), "node_id");
        check(
            |update| update.refresh_deadline_ms = 0,
            "refresh_deadline_ms",
        );
        check(
            |update| update.refresh_deadline_ms = u64::MAX,
            "refresh_deadline_ms",
        );
        check(
            |update| update.profile.as_mut().unwrap().agent_url = "here".into(),
            "profile.agent_url",
        );
        check(
            |update| update.profile.as_mut().unwrap().invocation_url = "ftp://a:1".into(),
            "profile.invocation_url",
        );
        check(
            |update| update.profile.as_mut().unwrap().capabilities = None,
            "profile.capabilities",
        );
        let forever = v1::RunningInstance {
            physical_id: vec![1; 16].into(),
            logical_id: vec![1; 16].into(),
            workflow_id: vec![1; 16].into(),
            generation: u64::MAX,
            fingerprint: 0,
        };
        let once = v1::RunningInstance {
            generation: 1,
            ..forever.clone()
        };
        check(
            |update| {
                update.running = Some(v1::RunningSet {
                    instances: vec![forever],
                });
            },
            "running.instances.generation",
        );
        check(
            |update| {
                update.running = Some(v1::RunningSet {
                    instances: vec![once.clone(), once],
                });
            },
            "running.instances.physical_id",
        );
        let series = v1::SampleSeries {
            values_ns: vec![1],
            ..Default::default()
        };
        let samples = v1::Samples {
            series: vec![series],
            ..Default::default()
        };
        check(
            |update| update.samples = Some(samples),
            "samples.series[0].physical_id",
        );
    }
}
