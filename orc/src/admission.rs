//! What of a call of ε-CON is carried out: all but the vertices of which it has decided something newer, which are
//! left as they are. Pure.

use edgeless_types::{Epoch, LogicalId};

use crate::{
    domain::{Command, Domain, StartOutcome, VertexRequest},
    fence::{Fence, Newer, Overtaken},
    journal::Difference,
};

/// What of a start is carried out.
#[derive(Debug)]
pub struct Admitted {
    /// These vertices are started.
    pub vertices: Vec<VertexRequest>,
    /// This is kept.
    pub difference: Difference,
    /// What else it was about.
    pub left: Left,
}

/// Vertices that a start leaves as they are, with their places in it.
#[derive(Debug, Default)]
pub struct Left(Vec<(usize, LogicalId)>);

/// These vertices are desired as well; what is to be kept of all of them is known.
///
/// # Errors
/// A reconciliation has come first.
pub fn start(
    fence: &mut Fence,
    (vertices, difference): (Vec<VertexRequest>, Difference),
    epoch: Epoch,
) -> Result<Admitted, Overtaken> {
    let newer = fence.admit(epoch, vertices.iter().map(|it| it.logical_id))?;
    if newer.is_empty() {
        return Ok(all(vertices, difference));
    }
    let (vertices, left) = split(vertices, &newer);
    Ok(Admitted {
        difference: Difference::start(&vertices),
        vertices,
        left,
    })
}

/// Exactly these vertices are desired, and those of which something newer was decided are as the domain has them.
///
/// # Errors
/// A newer reconciliation has come first.
pub fn reconcile(
    fence: &mut Fence,
    domain: &Domain,
    (vertices, difference): (Vec<VertexRequest>, Difference),
    epoch: Epoch,
) -> Result<Admitted, Overtaken> {
    let newer = fence.admit_all(epoch)?;
    if newer.is_empty() {
        return Ok(all(vertices, difference));
    }
    let (mut vertices, left) = split(vertices, &newer);
    vertices.extend(newer.iter().filter_map(|&it| domain.request(it)));
    Ok(Admitted {
        difference: Difference::reconcile(&vertices),
        vertices,
        left,
    })
}

/// Something else is to change; what of it is carried out, and kept. A reset is never too late.
///
/// # Errors
/// A reconciliation has come first.
pub fn change(
    fence: &mut Fence,
    (command, difference): (Command, Difference),
    epoch: Epoch,
) -> Result<(Command, Difference), Overtaken> {
    match command {
        Command::Stop(mut logical_ids) => {
            let newer = fence.admit(epoch, logical_ids.iter().copied())?;
            logical_ids.retain(|it| !newer.contains(it));
            let difference = match newer.is_empty() {
                true => difference,
                false => Difference::stop(&logical_ids),
            };
            Ok((Command::Stop(logical_ids), difference))
        }
        Command::Patch(mut patches) => {
            let newer = fence.admit(epoch, patches.iter().map(|(id, _)| *id))?;
            patches.retain(|(id, _)| !newer.contains(id));
            let difference = match newer.is_empty() {
                true => difference,
                false => Difference::patch(&patches),
            };
            Ok((Command::Patch(patches), difference))
        }
        Command::Reset => {
            fence.reset(epoch.life);
            Ok((command, difference))
        }
        Command::Start { .. }
        | Command::Reconcile { .. }
        | Command::Scale { .. }
        | Command::Cordoned(_)
        | Command::Drained(_)
        | Command::Asleep(_)
        | Command::Outcome { .. }
        | Command::Tick => fence.admit(epoch, []).map(|_| (command, difference)),
    }
}

impl Left {
    /// The outcomes of all vertices of the start, from those of the vertices that were started.
    pub fn fill(self, outcomes: Vec<StartOutcome>, domain: &Domain) -> Vec<StartOutcome> {
        let mut all = outcomes;
        for (place, logical_id) in self.0 {
            let stopped = || StartOutcome::Waiting("ε-CON has stopped it meanwhile".to_owned());
            let outcome = domain.outcome(logical_id).unwrap_or_else(stopped);
            all.insert(place.min(all.len()), outcome);
        }
        all
    }
}

fn all(vertices: Vec<VertexRequest>, difference: Difference) -> Admitted {
    Admitted {
        vertices,
        difference,
        left: Left::default(),
    }
}

fn split(vertices: Vec<VertexRequest>, newer: &Newer) -> (Vec<VertexRequest>, Left) {
    let mut left = Left::default();
    let mut going = Vec::with_capacity(vertices.len());
    for (place, vertex) in vertices.into_iter().enumerate() {
        match newer.contains(&vertex.logical_id) {
            true => left.0.push((place, vertex.logical_id)),
            false => going.push(vertex),
        }
    }
    (going, left)
}
