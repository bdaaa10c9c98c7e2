//! `DomainRegistration`.

use std::time::Duration;

use edgeless_proto::{
    convert::ConvertError,
    v1::{self, domain_registration_server::DomainRegistration},
};
use edgeless_types::DomainId;
use tonic::{Request, Response, Status};

use crate::{
    cluster::{Amounts, Answer, DomainUpdate, Totals},
    controller::Controller,
};

/// Bounds of `refresh_deadline_ms`.
const DEADLINES: std::ops::RangeInclusive<u64> = 100..=3_600_000;

pub(super) struct Service(pub(super) Controller);

#[tonic::async_trait]
impl DomainRegistration for Service {
    async fn update_domain(
        &self,
        request: Request<v1::UpdateDomainRequest>,
    ) -> Result<Response<v1::UpdateDomainReply>, Status> {
        let update = update_from_wire(request.into_inner())?;
        let domain_id = update.domain_id.clone();
        let answer = self.0.on_domain(update).await;
        let (reset, want_capabilities) = match answer {
            Answer::Taken => (false, false),
            Answer::Reset => (true, false),
            Answer::WantTotals => (false, true),
            Answer::Duplicate(url) => {
                return Err(Status::already_exists(format!(
                    "the ε-ORC at {url} uses the domain id `{domain_id}` as well; give this one another \
                     `domain_id` in [general], or end the other"
                )));
            }
        };
        Ok(Response::new(v1::UpdateDomainReply {
            reset,
            want_capabilities,
            life: self.0.life(),
        }))
    }
}

fn update_from_wire(update: v1::UpdateDomainRequest) -> Result<DomainUpdate, ConvertError> {
    if update.domain_id.trim().is_empty() {
        return Err(ConvertError::new("domain_id", "is empty"));
    }
    if !DEADLINES.contains(&update.refresh_deadline_ms) {
        let (first, last) = (DEADLINES.start(), DEADLINES.end());
        let problem = format!(
            "must be {first} to {last} ms, not {}",
            update.refresh_deadline_ms
        );
        return Err(ConvertError::new("refresh_deadline_ms", problem));
    }
    if let Err(error) = update
        .orchestrator_url
        .parse::<edgeless_daemon::net::Listen>()
    {
        return Err(ConvertError::new("orchestrator_url", error.to_string()));
    }
    Ok(DomainUpdate {
        domain_id: DomainId::new(update.domain_id),
        orchestrator_url: update.orchestrator_url,
        nonce: update.nonce,
        counter: update.counter,
        refresh_deadline: Duration::from_millis(update.refresh_deadline_ms),
        labels: update.labels.into_iter().collect(),
        totals: update.capabilities.map(totals_from_wire),
    })
}

fn totals_from_wire(totals: v1::DomainCapabilities) -> Totals {
    Totals {
        num_nodes: totals.num_nodes,
        num_cores: totals.num_cores,
        mem_size: totals.mem_size,
        num_tee: totals.num_tee,
        num_tpm: totals.num_tpm,
        labels: totals.labels.into_iter().collect(),
        labels_cut: totals.labels_cut,
        runtimes: totals.runtimes.into_iter().collect(),
        classes: totals.resource_classes.into_iter().collect(),
        capacity: amounts(totals.capacity),
        free: amounts(totals.free),
        largest_free: amounts(totals.largest_free),
        desired: amounts(totals.desired),
        membership: totals.membership,
    }
}

fn amounts(amounts: Option<v1::Amounts>) -> Amounts {
    let amounts = amounts.unwrap_or_default();
    Amounts {
        cpu_millis: amounts.cpu_millis,
        memory_mib: amounts.memory_mib,
    }
}
