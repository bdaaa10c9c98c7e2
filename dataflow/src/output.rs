//! Where a vertex's output channels lead, and which of several instances gets the next message.

use std::hash::Hasher;

use edgeless_types::{
    InstanceId, PhysicalId,
    message::Message,
    routing::{HashKey, Routing, least_loaded},
};
use rand::Rng;
use rustc_hash::FxHasher;
use smallvec::SmallVec;

use crate::{names::mix, operator::OUT, stats::ChannelView};

/// The name of an output channel, inline where it is short.
pub type ChannelName = SmallVec<[u8; 24]>;

/// All output channels of one operator. Channels that are not in here lead nowhere.
#[derive(Debug, Default)]
pub struct Outputs {
    channels: Vec<Channel>,
    /// Whether messages on some channel go to all of several.
    broadcasts: bool,
    /// The channel `out`, where it leads to one instance.
    out: Option<usize>,
}

#[derive(Debug)]
struct Channel {
    name: String,
    routing: Routing,
    /// Whose turn it is, and who the last one was.
    next: usize,
    last: Option<PhysicalId>,
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
    /// One of several, see [`Outputs::choose`].
    Several,
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
            routing: Routing::default(),
            next: 0,
            last: None,
            targets: instances
                .into_iter()
                .map(|instance| Target { instance, sent: 0 })
                .collect(),
        };
        let channels: Vec<Channel> = channels.into_iter().map(channel).collect();
        let mut all = channels.iter();
        let out = all.position(|it| it.name == OUT && it.targets.len() == 1);
        Self {
            out,
            channels,
            broadcasts: false,
        }
    }

    /// Says which instance gets the next message on a channel.
    pub fn set_routing(&mut self, name: &str, routing: Routing) {
        let broadcasts = routing == Routing::Broadcast;
        if let Some(channel) = self.channel_mut(name.as_bytes()) {
            channel.routing = routing;
            self.broadcasts |= broadcasts;
        }
    }

    /// Leads elsewhere from now on. Who is still there goes on as before.
    pub(crate) fn become_those(&mut self, mut others: Self) {
        for channel in &mut others.channels {
            let Some(before) = self.channel_mut(channel.name.as_bytes()) else {
                continue;
            };
            channel.routing = std::mem::take(&mut before.routing);
            (channel.next, channel.last) = (before.next, before.last);
            for target in &mut channel.targets {
                let mut known = before.targets.iter();
                let known = known.find(|it| it.instance == target.instance);
                target.sent = known.map_or(0, |it| it.sent);
            }
        }
        others.broadcasts = self.broadcasts;
        *self = others;
    }

    fn channel(&self, name: &[u8]) -> Option<&Channel> {
        let mut channels = self.channels.iter();
        channels.find(|channel| channel.name.as_bytes() == name)
    }

    fn channel_mut(&mut self, name: &[u8]) -> Option<&mut Channel> {
        let mut channels = self.channels.iter_mut();
        channels.find(|channel| channel.name.as_bytes() == name)
    }

    /// To how many instances a channel leads now.
    pub fn number(&self, name: &str) -> usize {
        let channel = self.channel(name.as_bytes());
        channel.map_or(0, |channel| channel.targets.len())
    }

    /// What a channel would say about a message now, without choosing.
    pub fn peek(&self, name: &[u8]) -> Route {
        match self.channel(name).map(|channel| channel.targets.first()) {
            None => Route::Unmapped,
            Some(None) => Route::Hold,
            Some(Some(target)) => Route::To(target.instance),
        }
    }

    /// Whether messages on a channel go to every instance.
    pub fn is_broadcast(&self, name: &[u8]) -> bool {
        let channel = self.channel(name);
        channel.is_some_and(|channel| channel.routing == Routing::Broadcast)
    }

    /// All instances that some channel leads to.
    pub(crate) fn instances(&self) -> impl Iterator<Item = InstanceId> {
        let targets = self.channels.iter().flat_map(|channel| &channel.targets);
        targets.map(|target| target.instance)
    }

    /// All instances of a channel whose messages go to every one of several.
    pub fn broadcast(&self, name: &[u8]) -> Option<SmallVec<[InstanceId; 4]>> {
        let channel = self.channel(name).filter(|_| self.broadcasts)?;
        let several = channel.routing == Routing::Broadcast && channel.targets.len() > 1;
        several.then(|| channel.targets.iter().map(|it| it.instance).collect())
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

    /// The instance of that id that a channel leads to.
    pub fn target(&self, name: &[u8], target: PhysicalId) -> Option<InstanceId> {
        let mut targets = self.channel(name)?.targets.iter();
        let target = targets.find(|it| it.instance.physical_id == target);
        target.map(|target| target.instance)
    }

    /// A message went to an instance by name, past the choice of its channel.
    pub fn sent(&mut self, name: &[u8], instance: InstanceId) {
        if let Some(target) = self.target_mut(name, instance) {
            target.sent += 1;
        }
    }

    /// A message that was to go to an instance did not.
    pub fn unsent(&mut self, name: &[u8], instance: InstanceId) {
        if let Some(target) = self.target_mut(name, instance) {
            target.sent = target.sent.saturating_sub(1);
        }
    }

    fn target_mut(&mut self, name: &[u8], instance: InstanceId) -> Option<&mut Target> {
        let channel = self.channel_mut(name)?;
        let mut targets = channel.targets.iter_mut();
        targets.find(|target| target.instance == instance)
    }

    /// The one instance to which the channel `out` leads.
    pub(crate) fn only_out(&self) -> Option<InstanceId> {
        let channel = &self.channels[self.out?];
        channel.targets.first().map(|target| target.instance)
    }

    /// A message went there.
    pub(crate) fn count_out(&mut self) {
        if let Some(out) = self.out
            && let Some(target) = self.channels[out].targets.first_mut()
        {
            target.sent += 1;
        }
    }

    /// Where the next message on a channel goes.
    pub fn route(&mut self, name: &[u8]) -> Route {
        let Some(channel) = self.channel_mut(name) else {
            return Route::Unmapped;
        };
        match channel.targets.as_mut_slice() {
            [] => Route::Hold,
            [target] => {
                target.sent += 1;
                Route::To(target.instance)
            }
            _ => Route::Several,
        }
    }

    /// Chooses one of the several instances that a channel leads to. `waiting` says how much
    /// waits for an instance or is in its hands.
    pub fn choose(
        &mut self,
        name: &[u8],
        message: &Message,
        rng: &mut impl Rng,
        waiting: impl Fn(InstanceId) -> usize,
    ) -> Option<InstanceId> {
        let channel = self.channel_mut(name)?;
        let chosen = match channel.targets.len() {
            0 => return None,
            1 => 0,
            _ => channel.choose(message, rng, waiting),
        };
        let target = &mut channel.targets[chosen];
        target.sent += 1;
        Some(target.instance)
    }
}

impl Channel {
    /// Chooses one of at least two.
    fn choose(
        &mut self,
        message: &Message,
        rng: &mut impl Rng,
        waiting: impl Fn(InstanceId) -> usize,
    ) -> usize {
        let number = self.targets.len();
        let chosen = match &self.routing {
            Routing::LeastOutstanding | Routing::Broadcast => {
                let load = |at: usize| {
                    let target = &self.targets[at];
                    (waiting(target.instance), target.sent)
                };
                least_loaded(number, rng, load)
            }
            Routing::RoundRobin => {
                self.next = (self.next + 1) % number;
                self.next
            }
            Routing::Hash(key) => {
                let key = hash(key_of(key, message));
                let weight = |&at: &usize| {
                    let target = self.targets[at].instance.physical_id;
                    let (high, low) = target.uuid().as_u64_pair();
                    mix(mix(key ^ high) ^ low)
                };
                (0..number).max_by_key(weight).unwrap_or(0)
            }
            Routing::Sticky => {
                let mut targets = self.targets.iter();
                let stuck = targets.position(|it| Some(it.instance.physical_id) == self.last);
                stuck.unwrap_or_else(|| rng.random_range(0..number))
            }
        };
        self.last = Some(self.targets[chosen].instance.physical_id);
        chosen
    }
}

fn key_of<'a>(key: &HashKey, message: &'a Message) -> &'a [u8] {
    match key {
        HashKey::Payload => &message.payload,
        HashKey::Header(name) => {
            let mut headers = message.envelope.headers().iter();
            let header = headers.find(|(it, _)| it.as_ref() == name);
            header.map_or(&[], |(_, value)| value)
        }
    }
}

/// The same for the same bytes on every node.
fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    mix(hasher.finish())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use edgeless_types::{
        NodeId,
        message::{Envelope, MessageId, MessageKind},
    };
    use rand::{SeedableRng, rngs::SmallRng};
    use uuid::Uuid;

    use super::*;

    fn id(number: u128) -> InstanceId {
        InstanceId {
            node_id: NodeId::new(Uuid::nil()),
            physical_id: PhysicalId::new(Uuid::from_u128(number)),
        }
    }

    fn message(payload: &str) -> Message {
        Message {
            id: MessageId::default(),
            source: id(0),
            target: id(0).physical_id,
            kind: MessageKind::Cast,
            ticket: None,
            envelope: Envelope::default(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        }
    }

    fn outputs(routing: Routing, targets: &[u128]) -> Outputs {
        let targets = targets.iter().copied().map(id).collect();
        let mut outputs = Outputs::new(vec![("out".to_owned(), targets)]);
        outputs.set_routing("out", routing);
        outputs
    }

    /// How many of so many messages go to each instance.
    fn shares(outputs: &mut Outputs, number: usize) -> BTreeMap<u128, usize> {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut shares = BTreeMap::new();
        for at in 0..number {
            let message = message(&at.to_string());
            let to = outputs.choose(b"out", &message, &mut rng, |_| 0).unwrap();
            *shares.entry(to.physical_id.uuid().as_u128()).or_default() += 1;
        }
        shares
    }

    #[test]
    fn messages_go_where_fewer_wait() {
        let mut outputs = outputs(Routing::LeastOutstanding, &[1, 2, 3]);
        let mut rng = SmallRng::seed_from_u64(1);
        let waiting = |to: InstanceId| usize::from(to == id(2)) * 10;
        for _ in 0..100 {
            let to = outputs.choose(b"out", &message(""), &mut rng, waiting);
            assert_ne!(to, Some(id(2)));
        }
        assert_eq!(outputs.route(b"out"), Route::Several);
        assert_eq!(outputs.route(b"no"), Route::Unmapped);
    }

    #[test]
    fn turns_are_taken_evenly_and_whoever_is_stuck_to_stays() {
        let mut turns = outputs(Routing::RoundRobin, &[1, 2, 3]);
        assert_eq!(
            shares(&mut turns, 300),
            [(1, 100), (2, 100), (3, 100)].into()
        );
        let mut sticky = outputs(Routing::Sticky, &[1, 2, 3]);
        let first = shares(&mut sticky, 100);
        assert_eq!(first.len(), 1);
        let (&stuck, _) = first.iter().next().unwrap();
        sticky.become_those(outputs(Routing::Sticky, &[3, 1, 2, 4]));
        assert_eq!(shares(&mut sticky, 100).keys().next(), Some(&stuck));
        let others: Vec<u128> = (1..4).filter(|&other| other != stuck).collect();
        sticky.become_those(outputs(Routing::default(), &others));
        assert!(!shares(&mut sticky, 100).contains_key(&stuck));
    }

    #[test]
    fn a_key_keeps_its_instance_and_few_keys_change_theirs() {
        let lanes = |targets: &[u128]| {
            let mut outputs = outputs(Routing::Hash(HashKey::Payload), targets);
            let mut rng = SmallRng::seed_from_u64(1);
            (0..1_000)
                .map(|key| {
                    let message = message(&format!("key {key}"));
                    outputs.choose(b"out", &message, &mut rng, |_| 0).unwrap()
                })
                .collect::<Vec<_>>()
        };
        let (before, after) = (lanes(&[1, 2, 3, 4]), lanes(&[1, 2, 3, 4, 5]));
        assert_eq!(before, lanes(&[4, 3, 2, 1]));
        for target in 1..=4 {
            let share = before.iter().filter(|&&to| to == id(target));
            assert!((150..350).contains(&share.count()));
        }
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before != after);
        for (_, after) in moved.clone() {
            assert_eq!(*after, id(5));
        }
        assert!((120..280).contains(&moved.count()));
    }

    #[test]
    fn a_broadcast_names_all_where_there_are_several() {
        let several = outputs(Routing::Broadcast, &[1, 2]);
        assert_eq!(
            several.broadcast(b"out").unwrap().as_slice(),
            [id(1), id(2)]
        );
        assert_eq!(outputs(Routing::Broadcast, &[1]).broadcast(b"out"), None);
        assert_eq!(outputs(Routing::Sticky, &[1, 2]).broadcast(b"out"), None);
    }
}
