//! Which of several instances of a function gets the next message on a channel, and on which shard of a
//! node an instance runs: annotations that the node reads.

use std::{collections::BTreeMap, str::FromStr};

use rand::Rng;

/// The annotation with the routing of channels, such as `out=round_robin, log=broadcast`. Channels
/// that are left out have the default.
pub const ROUTING: &str = "routing";

/// The annotation with the number of the shard an instance runs on, counted from 0 and again from 0
/// beyond the node's last. Without it, the vertices of a workflow stay together where they can.
pub const SHARD: &str = "shard";

/// Which of several instances gets the next message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// `least_outstanding`: the one with the least waiting or in hand, see [`least_loaded`].
    #[default]
    LeastOutstanding,
    /// `round_robin`: one after the other.
    RoundRobin,
    /// `hash` or `hash:<header>`: messages of one key go to one instance, in their order. When an
    /// instance comes or goes, only the keys it takes or had change theirs.
    Hash(HashKey),
    /// `broadcast`: every one; of calls, one.
    Broadcast,
    /// `sticky`: always the same, as long as it is there.
    Sticky,
}

/// What of a message is the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// The whole payload.
    #[default]
    Payload,
    /// The value of a header; messages without it have one key.
    Header(String),
}

impl FromStr for Routing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "least_outstanding" => Self::LeastOutstanding,
            "round_robin" => Self::RoundRobin,
            "broadcast" => Self::Broadcast,
            "sticky" => Self::Sticky,
            "hash" => Self::Hash(HashKey::Payload),
            _ => match text.strip_prefix("hash:").map(str::trim) {
                Some(header) if !header.is_empty() => {
                    Self::Hash(HashKey::Header(header.to_owned()))
                }
                _ => {
                    return Err(format!(
                        "`{text}` is no routing; there are: least_outstanding, round_robin, hash, \
                         hash:<header>, broadcast, sticky"
                    ));
                }
            },
        })
    }
}

/// The routing of channels that annotations name.
///
/// # Errors
/// What is wrong with the annotation, in words.
pub fn routing(
    annotations: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Routing>, String> {
    let items = annotations.get(ROUTING).map(|text| text.split(','));
    let mut channels = BTreeMap::new();
    for item in items.into_iter().flatten() {
        let (channel, routing) = item
            .split_once('=')
            .ok_or_else(|| format!("`{}` is not `<channel>=<routing>`", item.trim()))?;
        let channel = channel.trim();
        let before = channels.insert(channel.to_owned(), routing.trim().parse()?);
        if before.is_some() {
            return Err(format!("`{channel}` stands there twice"));
        }
    }
    Ok(channels)
}

/// The shard that annotations name.
///
/// # Errors
/// What is wrong with the annotation, in words.
pub fn shard(annotations: &BTreeMap<String, String>) -> Result<Option<usize>, String> {
    let Some(text) = annotations.get(SHARD) else {
        return Ok(None);
    };
    let number = text.trim().parse().map(Some);
    number.map_err(|_| format!("`{text}` is not the number of a shard, counted from 0"))
}

/// Copies that are looked at before one is chosen.
const LOOKS: usize = 4;
/// So many where little waits: one may have nothing to do.
const MORE_LOOKS: usize = 32;
/// This much waiting is little.
const LITTLE: usize = 2;

/// Which of `number` copies gets the next message, counted from 0, where the one with the least waiting
/// is to get it: the first of some in turn from a random one on that has nothing waiting, else the one with
/// the least. `load` says what waits for a copy, and what was sent to it so far, which
/// decides between equal ones. `number` is at least 1.
///
/// A few looks are nearly as good as looking at all where much waits (Mitzenmacher, "The power of two choices
/// in randomized load balancing", 2001), and one is enough where little is to be done; between, whoever has
/// nothing to do is worth the search.
pub fn least_loaded(
    number: usize,
    rng: &mut impl Rng,
    load: impl Fn(usize) -> (usize, u64),
) -> usize {
    let first = rng.random_range(0..number);
    let (mut chosen, mut least) = (first, load(first));
    for step in 1..number.min(MORE_LOOKS) {
        if least.0 == 0 || step >= LOOKS && least.0 > LITTLE {
            break;
        }
        let at = (first + step) % number;
        let other = load(at);
        if other < least {
            (chosen, least) = (at, other);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn of(text: &str) -> Result<BTreeMap<String, Routing>, String> {
        routing(&[(ROUTING.to_owned(), text.to_owned())].into())
    }

    #[test]
    fn channels_have_routings_and_what_is_none_is_named() {
        let read = of("out=round_robin, log = hash:user").unwrap();
        assert_eq!(read["out"], Routing::RoundRobin);
        let header = HashKey::Header("user".to_owned());
        assert_eq!(read["log"], Routing::Hash(header));
        assert_eq!(routing(&BTreeMap::new()), Ok(BTreeMap::new()));
        assert!(of("out").unwrap_err().contains("<channel>=<routing>"));
        assert!(of("out=nearest").unwrap_err().contains("there are:"));
        assert!(of("out=hash:").unwrap_err().contains("`hash:`"));
        let twice = of("out=hash, out=sticky").unwrap_err();
        assert_eq!(twice, "`out` stands there twice");
    }

    #[test]
    fn a_shard_is_a_number() {
        let of = |text: &str| shard(&[(SHARD.to_owned(), text.to_owned())].into());
        assert_eq!(of("3"), Ok(Some(3)));
        assert!(of("-1").is_err());
        assert_eq!(shard(&BTreeMap::new()), Ok(None));
    }

    #[test]
    fn whoever_has_nothing_to_do_is_found_and_else_who_has_the_least() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..100 {
            assert_eq!(least_loaded(1, &mut rng, |_| (9, 9)), 0);
            assert_eq!(least_loaded(4, &mut rng, |at| (usize::from(at != 2), 0)), 2);
            assert_eq!(least_loaded(4, &mut rng, |at| (5 - at, 0)), 3);
            let idle = |at| (usize::from(at != 20), 0);
            assert_eq!(least_loaded(30, &mut rng, idle), 20);
            assert_eq!(
                least_loaded(3, &mut rng, |at| (7, 3 - at as u64)),
                2,
                "sent"
            );
        }
        let mut to = [0; 3];
        for _ in 0..3_000 {
            to[least_loaded(3, &mut rng, |_| (0, 0))] += 1;
        }
        assert!(to.iter().all(|it| (800..1_200).contains(it)), "{to:?}");
    }
}
