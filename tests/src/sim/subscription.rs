//! The subscription of a domain to ε-CON, as `orc/src/domain_client.rs` keeps it: totals are said when they have
//! changed since ε-CON answered.

use std::{collections::BTreeSet, time::Duration};

use edgeless_con::cluster::{Amounts, Answer, DomainUpdate, Totals};
use edgeless_orc::{domain::Domain, plan::Ask};
use edgeless_types::DomainId;

use super::net::{Call, Context, Place, Reply, Request};

/// How often it is refreshed, and how long ε-CON may take for the answer.
pub(super) const SUBSCRIBE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);

/// What follows from an answer.
pub(super) enum Next {
    Later,
    AtOnce,
    /// The domain enters the cluster of an ε-CON in this life.
    Reset(u64),
}

pub(super) struct Subscription {
    domain_id: DomainId,
    nonce: u64,
    counter: u64,
    /// What ε-CON has answered, and the revision of the domain it comes of.
    told: Option<(u64, Totals)>,
    /// The call under way, and what it says that is new.
    asking: Option<(Call, Option<(u64, Totals)>)>,
}

impl Subscription {
    pub(super) fn new(domain_id: DomainId, nonce: u64) -> Self {
        Self {
            domain_id,
            nonce,
            counter: 0,
            told: None,
            asking: None,
        }
    }

    pub(super) fn refresh(&mut self, place: Place, domain: &Domain, context: &mut Context) {
        if self.asking.is_some() {
            return;
        }
        self.counter += 1;
        let revision = domain.revision();
        let seen = self.told.as_ref().map(|(revision, _)| *revision);
        let look = (seen != Some(revision)).then(|| (revision, totals(domain)));
        let is_new = |it: &&(u64, Totals)| self.told.as_ref().is_none_or(|told| told.1 != it.1);
        let news = look.as_ref().filter(is_new);
        let update = DomainUpdate {
            domain_id: self.domain_id.clone(),
            orchestrator_url: format!("http://{}:1", self.domain_id),
            nonce: self.nonce,
            counter: self.counter,
            refresh_deadline: SUBSCRIBE * 3,
            labels: BTreeSet::new(),
            totals: news.map(|(_, totals)| totals.clone()),
        };
        let request = Request::UpdateDomain(Box::new(update));
        let call = context.call(place, Place::Con, DEADLINE, request);
        self.asking = Some((call, look));
    }

    /// Takes an answer, if it is one to this.
    pub(super) fn on_reply(&mut self, call: Call, reply: &Reply) -> Option<Next> {
        let (_, look) = self.asking.take_if(|(under_way, _)| *under_way == call)?;
        let Reply::Domain(answer, life) = reply else {
            return Some(Next::Later);
        };
        Some(match answer {
            Answer::Taken => {
                self.told = look.or(self.told.take());
                Next::Later
            }
            Answer::WantTotals => {
                self.told = None;
                Next::AtOnce
            }
            Answer::Reset => Next::Reset(*life),
            Answer::Duplicate(_) => Next::Later,
        })
    }

    /// The domain was reset: ε-CON uses it when it knows what it has.
    pub(super) fn forget(&mut self) {
        self.told = None;
    }
}

fn totals(domain: &Domain) -> Totals {
    let totals = domain.totals();
    Totals {
        num_nodes: totals.nodes,
        num_cores: totals.cores,
        mem_size: totals.mem_size,
        num_tee: totals.tee,
        num_tpm: totals.tpm,
        labels: totals.labels,
        labels_cut: totals.labels_cut,
        runtimes: totals.runtimes,
        classes: totals.classes,
        capacity: amounts(totals.capacity),
        free: amounts(totals.free),
        largest_free: amounts(totals.largest_free),
        desired: amounts(totals.desired),
        membership: totals.membership,
    }
}

fn amounts(ask: Ask) -> Amounts {
    Amounts {
        cpu_millis: ask.cpu_millis,
        memory_mib: ask.memory_mib,
    }
}
