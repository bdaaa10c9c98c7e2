//! Which of several instances of a function gets the next message on a channel, and on which shard of a
//! node an instance runs: annotations that the node reads.

use std::{collections::BTreeMap, str::FromStr};

/// The annotation with the routing of channels, such as `out=round_robin, log=broadcast`. Channels
/// that are left out have the default.
pub const ROUTING: &str = "routing";

/// The annotation with the number of the shard an instance runs on, counted from 0 and again from 0
/// beyond the node's last. Without it, the vertices of a workflow stay together where they can.
pub const SHARD: &str = "shard";

/// Which of several instances gets the next message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// `least_outstanding`: of two random ones, the one with fewer messages waiting.
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

#[cfg(test)]
mod tests {
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
}
