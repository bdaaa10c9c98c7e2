//! Where a vertex's output channels lead, and which of several instances gets the next message.

use edgeless_types::{InstanceId, PhysicalId};
use rand::Rng;
use smallvec::SmallVec;

use crate::stats::ChannelView;

/// The name of an output channel, inline where it is short.
pub type ChannelName = SmallVec<[u8; 24]>;

/// All output channels of one operator. Channels that are not in here lead nowhere.
#[derive(Debug, Default)]
pub struct Outputs {
    channels: Vec<Channel>,
}

#[derive(Debug)]
struct Channel {
    name: String,
    targets: SmallVec<[Target; 1]>,
}

/// An instance a channel leads to.
#[derive(Clone, Copy, Debug)]
struct Target {
    instance: InstanceId,
    /// How many messages were sent to it.
    sent: u64,
}

/// What a channel says about the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It goes to this instance.
    To(InstanceId),
    /// No instance yet: it is held.
    Hold,
    /// The channel leads nowhere.
    Unmapped,
}

impl Outputs {
    /// Outputs from channels and the instances each leads to now.
    pub fn new(channels: Vec<(String, Vec<InstanceId>)>) -> Self {
        let channel = |(name, instances): (String, Vec<InstanceId>)| Channel {
            name,
            targets: instances
                .into_iter()
                .map(|instance| Target { instance, sent: 0 })
                .collect(),
        };
        Self {
            channels: channels.into_iter().map(channel).collect(),
        }
    }

    /// What a channel would say about a message now, without choosing.
    pub fn peek(&self, name: &[u8]) -> Route {
        match self
            .channels
            .iter()
            .find(|channel| channel.name.as_bytes() == name)
        {
            None => Route::Unmapped,
            Some(channel) => channel
                .targets
                .first()
                .map_or(Route::Hold, |target| Route::To(target.instance)),
        }
    }

    /// Where all channels lead.
    pub fn views(&self) -> Vec<ChannelView> {
        let channels = self.channels.iter();
        let view = |channel: &Channel| ChannelView {
            name: channel.name.clone(),
            targets: channel
                .targets
                .iter()
                .map(|target| (target.instance, target.sent))
                .collect(),
            held: 0,
        };
        channels.map(view).collect()
    }

    /// Whether a channel leads to an instance.
    pub fn leads_to(&self, name: &[u8], target: PhysicalId) -> bool {
        let mut channels = self.channels.iter();
        let channel = channels.find(|channel| channel.name.as_bytes() == name);
        channel.is_some_and(|channel| {
            let mut targets = channel.targets.iter();
            targets.any(|it| it.instance.physical_id == target)
        })
    }

    /// A message that was to go to an instance did not.
    pub fn unsent(&mut self, name: &[u8], instance: InstanceId) {
        let channels = self.channels.iter_mut();
        let mut channels = channels.filter(|channel| channel.name.as_bytes() == name);
        let mut targets = channels.next().into_iter().flat_map(|it| &mut it.targets);
        if let Some(target) = targets.find(|target| target.instance == instance) {
            target.sent = target.sent.saturating_sub(1);
        }
    }

    /// Chooses the instance for the next message on a channel: of two random ones the one that was
    /// sent fewer.
    pub fn route(&mut self, name: &[u8], rng: &mut impl Rng) -> Route {
        let found = self
            .channels
            .iter_mut()
            .find(|channel| channel.name.as_bytes() == name);
        let Some(channel) = found else {
            return Route::Unmapped;
        };
        let target = match channel.targets.len() {
            0 => return Route::Hold,
            1 => &mut channel.targets[0],
            number => {
                let first = rng.random_range(0..number);
                let second = (first + rng.random_range(1..number)) % number;
                let fewer = if channel.targets[second].sent < channel.targets[first].sent {
                    second
                } else {
                    first
                };
                &mut channel.targets[fewer]
            }
        };
        target.sent += 1;
        Route::To(target.instance)
    }
}
