//! `fixed`: always `min_instances` copies, and at least one.

use super::{Decision, Reason, Settings, View};

pub(super) fn decide(settings: &Settings, _view: &View) -> Decision {
    Decision {
        copies: settings.min_instances.max(1),
        why: Reason::Fixed,
        bound: None,
        next: None,
    }
}
