//! Choosing a domain, as `con/src/controller/choice.rs` does it: what totals do not tell is asked first, of all domains
//! at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use edgeless_con::{
    cluster::{Ask, NoDomain, Question},
    store::WorkflowRecord,
};
use edgeless_types::DomainId;

use super::{
    con::{Begin, Caller, Con, accepted, respond},
    link::DEADLINE,
    net::{Call, Context, Place, Reply, Request},
};

/// What a domain is chosen for.
pub(super) enum Choosing {
    /// A workflow is new.
    First(Begin),
    /// It found no place in those that were tried.
    Next(Begin),
    /// It is to move there.
    Move((Arc<WorkflowRecord>, DomainId), Caller),
}

/// Questions under way, and the choice that waits for their answers.
pub(super) struct Asking {
    asks: Vec<(Call, Ask)>,
    then: Option<Choosing>,
}

impl Asking {
    pub(super) fn waits_for(&self, call: Call) -> bool {
        self.asks.iter().any(|(it, _)| *it == call)
    }
}

impl Con {
    /// Chooses; asks first if that is needed.
    pub(super) fn choose(&mut self, choosing: Choosing, context: &mut Context) {
        let Err(none) = self.look(&choosing) else {
            return self.go_on(choosing, context);
        };
        match (&self.cluster, none.open.is_empty()) {
            (Some(cluster), false) => {
                let asks = cluster.ask_now(none.open);
                self.ask(asks, Some(choosing), context);
            }
            _ => self.go_on(choosing, context),
        }
    }

    fn look(&self, choosing: &Choosing) -> Result<DomainId, NoDomain> {
        let none = || NoDomain {
            reason: "ε-CON is ending".to_owned(),
            open: BTreeMap::<DomainId, BTreeSet<Question>>::new(),
        };
        let cluster = self.cluster.as_ref().ok_or_else(none)?;
        match choosing {
            Choosing::First(begin) | Choosing::Next(begin) => {
                cluster.choose(&begin.record, &begin.tried)
            }
            Choosing::Move((record, domain_id), _) => {
                let possible = cluster.could_run(record, domain_id);
                possible.map(|()| domain_id.clone())
            }
        }
    }

    /// Nothing more is asked.
    fn go_on(&mut self, choosing: Choosing, context: &mut Context) {
        let choice = self.look(&choosing).map_err(|none| none.reason);
        match (choosing, choice) {
            (Choosing::First(begin), choice) => self.chosen(begin, choice, context),
            (Choosing::Next(begin), Err(_)) if begin.may_wait => accepted(&begin, context),
            (Choosing::Next(begin), choice) => self.begin_elsewhere(begin, choice.ok(), context),
            (Choosing::Move(there, caller), Ok(_)) => self.start_there(there, caller, context),
            (Choosing::Move(_, caller), Err(reason)) => {
                respond(caller, Reply::Refused(reason), context);
            }
        }
    }

    /// Asks domains; what waits for them goes on when all have answered, or could not.
    pub(super) fn ask(&mut self, asks: Vec<Ask>, then: Option<Choosing>, context: &mut Context) {
        let (mut under_way, mut unasked) = (Vec::new(), Vec::new());
        for ask in asks {
            match self.links.get(&ask.domain_id) {
                Some(link) => {
                    let request = Request::Lookup(ask.questions.clone());
                    let call = context.call(Place::Con, link.to, DEADLINE, request);
                    under_way.push((call, ask));
                }
                None => unasked.push(ask),
            }
        }
        let asks = under_way;
        let is_asked = !asks.is_empty();
        let mut then = then;
        if is_asked {
            let then = then.take();
            self.asking.push(Asking { asks, then });
        }
        for ask in unasked {
            self.answered(&ask, &Reply::Broken, context);
        }
        if let Some(choosing) = then {
            self.go_on(choosing, context);
        }
    }

    /// A domain has answered, or could not.
    pub(super) fn on_looked(&mut self, call: Call, reply: &Reply, context: &mut Context) {
        let waiting = self.asking.iter().position(|it| it.waits_for(call));
        let Some(index) = waiting else {
            return;
        };
        let asks = &mut self.asking[index].asks;
        let place = asks.iter().position(|(it, _)| *it == call);
        let asked = place.map(|place| asks.swap_remove(place));
        let then = match asks.is_empty() {
            true => self.asking.swap_remove(index).then,
            false => None,
        };
        if let Some((_, ask)) = asked {
            self.answered(&ask, reply, context);
        }
        if let Some(choosing) = then {
            self.go_on(choosing, context);
        }
    }

    fn answered(&mut self, ask: &Ask, reply: &Reply, context: &mut Context) {
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        let answer = match reply {
            Reply::Looked(lookup) => Some(lookup.clone()),
            _ => None,
        };
        let effects = cluster.on_answer(ask, answer);
        self.keep(effects, None, context);
    }
}
