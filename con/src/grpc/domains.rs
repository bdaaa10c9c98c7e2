//! `DomainRegistration`.

use std::time::Duration;

use edgeless_proto::{
    convert::{ConvertError, id_from_wire},
    v1::{self, domain_registration_server::DomainRegistration},
};
use edgeless_types::DomainId;
use tonic::{Request, Response, Status};

use crate::{
    cluster::{DomainUpdate, Reset, Totals},
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
        let reset = match self.0.on_domain(update).await {
            Reset::Yes => true,
            Reset::No => false,
        };
        Ok(Response::new(v1::UpdateDomainReply { reset }))
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
    let capabilities = update.capabilities.unwrap_or_default();
    let node_ids = capabilities.node_ids.iter();
    let node_ids = node_ids.map(|id| id_from_wire(id, "capabilities.node_ids"));
    Ok(DomainUpdate {
        domain_id: DomainId::new(update.domain_id),
        orchestrator_url: update.orchestrator_url,
        nonce: update.nonce,
        counter: update.counter,
        refresh_deadline: Duration::from_millis(update.refresh_deadline_ms),
        totals: Totals {
            num_nodes: capabilities.num_nodes,
            num_cores: capabilities.num_cores,
            mem_size: capabilities.mem_size,
            labels: capabilities.labels.into_iter().collect(),
            num_tee: capabilities.num_tee,
            num_tpm: capabilities.num_tpm,
            runtimes: capabilities.runtimes.into_iter().collect(),
            providers: capabilities.providers.into_iter().collect(),
            classes: capabilities
                .resource_classes
                .into_iter()
                .map(|class| class.class_type)
                .collect(),
            node_ids: node_ids.collect::<Result<_, _>>()?,
        },
    })
}
