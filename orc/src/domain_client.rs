//! The subscription to ε-CON.

use std::{collections::BTreeMap, time::Duration};

use edgeless_daemon::{net::Listen, status::Readiness};
use edgeless_proto::v1::{self, domain_registration_client::DomainRegistrationClient};
use tonic::transport::Endpoint;

use crate::{
    domain::Totals,
    handle::{Ended, Handle, NotKept},
    plan::Ask,
};

/// The part of `/readyz`.
const PART: &str = "controller";
/// How long ε-CON may take for an answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What never changes in a subscription.
pub struct Subscription {
    /// The domain.
    pub domain_id: String,
    /// Labels of the domain itself.
    pub labels: Vec<String>,
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
    // What ε-CON has answered, and the revision of the domain it comes of.
    let mut told: Option<(u64, Totals)> = None;
    loop {
        tick.tick().await;
        counter += 1;
        let seen = told.as_ref().map(|(revision, _)| *revision);
        let look = orc.read(move |domain, _| {
            let revision = domain.revision();
            let news = (seen != Some(revision)).then(|| (revision, domain.totals()));
            (news, domain.is_told())
        });
        let (look, is_told) = look.await?;
        let is_new = |it: &&(u64, Totals)| told.as_ref().is_none_or(|told| told.1 != it.1);
        let news = look.as_ref().filter(is_new);
        let deadline = subscription.interval * 3;
        let request = v1::UpdateDomainRequest {
            domain_id: subscription.domain_id.clone(),
            orchestrator_url: subscription.orchestrator_url.clone(),
            nonce: subscription.nonce,
            counter,
            refresh_deadline_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            capabilities: news.map(|(_, totals)| totals_to_wire(totals)),
            has_desired_state: is_told,
            labels: subscription.labels.clone(),
        };
        match client.update_domain(request).await {
            Ok(reply) => {
                if readiness.restore(PART) {
                    tracing::info!(%con, "ε-CON answers again");
                }
                let reply = reply.into_inner();
                told = look.or(told);
                if reply.reset {
                    tracing::info!("the domain enters the cluster: it is reset");
                    match orc.reset(reply.life).await {
                        Ok(()) => {}
                        Err(NotKept::Ended(ended)) => return Err(ended),
                        // It is tried again, and shown.
                        Err(error @ (NotKept::Journal(_) | NotKept::Overtaken(_))) => {
                            tracing::warn!(%error, "the reset");
                        }
                    }
                }
                if reply.reset || reply.want_capabilities {
                    // ε-CON uses the domain when it knows what it has.
                    told = None;
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

fn totals_to_wire(totals: &Totals) -> v1::DomainCapabilities {
    let counts = |counts: &BTreeMap<String, u32>| counts.clone().into_iter().collect();
    v1::DomainCapabilities {
        num_nodes: totals.nodes,
        num_cpus: totals.cpus,
        num_cores: totals.cores,
        mem_size: totals.mem_size,
        num_tee: totals.tee,
        num_tpm: totals.tpm,
        disk_tot_space: totals.disk_tot_space,
        num_gpus: totals.gpus,
        mem_size_gpu: totals.mem_size_gpu,
        labels: counts(&totals.labels),
        labels_cut: totals.labels_cut,
        runtimes: counts(&totals.runtimes),
        resource_classes: counts(&totals.classes),
        capacity: amounts(totals.capacity),
        free: amounts(totals.free),
        largest_free: amounts(totals.largest_free),
        desired: amounts(totals.desired),
        membership: totals.membership,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "fields of messages are optional")]
fn amounts(ask: Ask) -> Option<v1::Amounts> {
    let Ask {
        cpu_millis,
        memory_mib,
    } = ask;
    Some(v1::Amounts {
        cpu_millis,
        memory_mib,
    })
}
