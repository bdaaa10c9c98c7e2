//! The subscription to ε-CON.

use std::time::Duration;

use edgeless_daemon::{net::Listen, status::Readiness};
use edgeless_proto::{
    convert::id_bytes,
    v1::{self, domain_registration_client::DomainRegistrationClient},
};
use tonic::transport::Endpoint;

use crate::{
    domain::Totals,
    handle::{Ended, Handle, NotKept},
};

/// The part of `/readyz`.
const PART: &str = "controller";
/// How long ε-CON may take for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What never changes in a subscription.
pub struct Subscription {
    /// The domain.
    pub domain_id: String,
    /// Where ε-CON reaches this ε-ORC.
    pub orchestrator_url: String,
    /// Drawn at start.
    pub nonce: u64,
    /// How often it is refreshed.
    pub interval: Duration,
}

/// Refreshes the subscription for as long as ε-ORC runs. ε-CON may be away for any time.
///
/// # Errors
/// ε-ORC is ending.
pub async fn run(
    subscription: Subscription,
    con: &Listen,
    orc: Handle,
    readiness: Readiness,
) -> Result<(), Ended> {
    let channel = Endpoint::from_shared(con.to_string())
        .expect("an address was checked when it was read")
        .connect_timeout(Duration::from_secs(2))
        .timeout(DEADLINE)
        .tcp_nodelay(true)
        .connect_lazy();
    let mut client = DomainRegistrationClient::new(channel);
    let mut tick = tokio::time::interval(subscription.interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut counter = 0;
    loop {
        tick.tick().await;
        counter += 1;
        let look = orc.read(|domain, _| (domain.totals(), domain.is_told()));
        let (totals, is_told) = look.await?;
        let deadline = subscription.interval * 3;
        let request = v1::UpdateDomainRequest {
            domain_id: subscription.domain_id.clone(),
            orchestrator_url: subscription.orchestrator_url.clone(),
            nonce: subscription.nonce,
            counter,
            refresh_deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            capabilities: Some(totals_to_wire(totals)),
            has_desired_state: is_told,
        };
        match client.update_domain(request).await {
            Ok(reply) => {
                if readiness.restore(PART) {
                    tracing::info!(%con, "ε-CON answers again");
                }
                if reply.into_inner().reset {
                    tracing::info!("the domain enters the cluster: it is reset");
                    match orc.reset().await {
                        Ok(()) => {}
                        Err(NotKept::Ended(ended)) => return Err(ended),
                        // It is tried again, and shown.
                        Err(error @ NotKept::Journal(_)) => tracing::warn!(%error, "the reset"),
                    }
                    // ε-CON uses the domain from its next update on.
                    tick.reset_immediately();
                }
            }
            Err(status) => {
                let reason = format!("ε-CON at {con}: {}", status.message());
                if readiness.degrade(PART, reason.clone()) {
                    tracing::warn!(
                        reason,
                        "ε-CON does not take the subscription; it is tried again"
                    );
                }
            }
        }
    }
}

fn totals_to_wire(totals: Totals) -> v1::DomainCapabilities {
    let mut wire = v1::DomainCapabilities {
        labels: totals.labels.into_iter().collect(),
        runtimes: totals.runtimes.into_iter().collect(),
        providers: totals.providers.into_iter().collect(),
        ..Default::default()
    };
    for (class_type, outputs) in totals.classes {
        wire.resource_classes.push(v1::ResourceClass {
            class_type,
            outputs,
        });
    }
    for node in totals.nodes {
        let capabilities = &node.profile.capabilities;
        wire.num_nodes += 1;
        wire.num_cpus += capabilities.num_cpus;
        wire.num_cores += capabilities.num_cores;
        wire.mem_size += u64::from(capabilities.mem_size);
        wire.num_tee += u32::from(capabilities.is_tee_running);
        wire.num_tpm += u32::from(capabilities.has_tpm);
        wire.disk_tot_space += u64::from(capabilities.disk_tot_space);
        wire.num_gpus += capabilities.num_gpus;
        wire.mem_size_gpu += u64::from(capabilities.mem_size_gpu);
        wire.node_ids.push(id_bytes(&node.node_id));
    }
    wire
}
