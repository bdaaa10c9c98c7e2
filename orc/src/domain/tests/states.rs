//! Saved states, and what nodes say beside what they run.

use edgeless_types::{ProviderId, ResourceProvider};

use super::late::{BEGIN, domain, update};
use crate::{
    change::What,
    domain::{Effect, simulation::node_id},
};

#[test]
fn observers_learn_of_a_provider_that_its_node_does_not_have_any_more() {
    let mut domain = domain(true);
    let mut first = update(0, 1, Some(Vec::new()));
    let profile = first.profile.as_mut().unwrap();
    profile.providers.push(ResourceProvider {
        provider_id: ProviderId::new("p"),
        class_type: "file-log".to_owned(),
        node_id: node_id(0),
        outputs: Vec::new(),
    });
    domain.on_node_update(first, BEGIN);
    let (_, effects) = domain.on_node_update(update(0, 2, Some(Vec::new())), BEGIN);
    let is_gone = |effect: &Effect| match effect {
        Effect::Change(change) => change.what == What::ProviderGone(ProviderId::new("p")),
        _ => false,
    };
    assert!(effects.iter().any(is_gone));
}
