//! Services that are wanted and could not be started: they are tried again, and the reason is said when it changes.

use std::{collections::BTreeMap, sync::Arc};

use crate::problem::Refusal;

/// Those services, by name, and why.
#[derive(Debug, Default)]
pub(super) struct Unstarted(BTreeMap<Arc<str>, String>);

impl Unstarted {
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn names(&self) -> Vec<Arc<str>> {
        self.0.keys().cloned().collect()
    }

    /// Somebody has tried to start a service.
    pub(super) fn follow(&mut self, name: &Arc<str>, outcome: Result<(), Refusal>) {
        if let Some(reason) = self.news(name, outcome) {
            tracing::warn!(service = %name, reason, "a service that is wanted cannot be started");
        }
    }

    /// What is to be said of it.
    fn news(&mut self, name: &Arc<str>, outcome: Result<(), Refusal>) -> Option<String> {
        let Err(refusal) = outcome else {
            self.0.remove(name);
            return None;
        };
        let reason = refusal.to_string();
        let before = self.0.insert(Arc::clone(name), reason.clone());
        (before.as_ref() != Some(&reason)).then_some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_until_it_changes() {
        let mut unstarted = Unstarted::default();
        let name = "A".into();
        let mut told = |reason: &str| {
            let outcome = match reason {
                "" => Ok(()),
                reason => Err(Refusal::Conflict(reason.to_owned())),
            };
            unstarted.news(&name, outcome).is_some()
        };
        let said = ["no", "no", "not yet", "not yet", "no", "", "no"].map(&mut told);
        assert_eq!(said, [true, false, true, false, true, false, true]);
        assert_eq!(unstarted.names(), [name]);
    }
}
