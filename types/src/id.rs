//! One newtype per kind of identifier, so that one cannot be passed for another.

use std::{fmt, str::FromStr};

use rand::RngCore;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

macro_rules! uuid_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID of this kind.
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Draws a fresh id (version 4) from the given generator.
            pub fn random(rng: &mut (impl RngCore + ?Sized)) -> Self {
                let mut bytes = [0; 16];
                rng.fill_bytes(&mut bytes);
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    };
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a free-text identifier of this kind.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

uuid_id! {
    /// A host that runs the agent. Kept across restarts of the agent.
    NodeId
}
uuid_id! {
    /// A vertex of a submitted workflow (`lid`). Drawn by ε-CON; never reused.
    LogicalId
}
uuid_id! {
    /// A running copy of a vertex (`pid`). Drawn by ε-ORC; never reused.
    PhysicalId
}
uuid_id! {
    /// A submitted workflow.
    WorkflowId
}
uuid_id! {
    /// An accepted order. Drawn by ε-CON; never reused; ids that were drawn later sort after those before them, to the
    /// millisecond.
    OrderId
}
text_id! {
    /// The nodes under one ε-ORC, as its configuration names them.
    DomainId
}
text_id! {
    /// A provider of one class of resources on one node; unique in the domain.
    ProviderId
}

impl OrderId {
    /// An id for an order that is accepted at `now` (version 7).
    pub fn at(now: Timestamp, rng: &mut (impl RngCore + ?Sized)) -> Self {
        let mut bytes = [0; 10];
        rng.fill_bytes(&mut bytes);
        let millis = now.as_nanos() / 1_000_000;
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }

    /// The id as two numbers, as rows and records have it.
    pub fn to_pair(self) -> (u64, u64) {
        self.0.as_u64_pair()
    }

    /// The id of such a pair.
    pub fn from_pair((high, low): (u64, u64)) -> Self {
        Self(Uuid::from_u64_pair(high, low))
    }
}

/// Where a running copy of a vertex is: its node and its physical id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId {
    /// The node it runs on.
    pub node_id: NodeId,
    /// Which copy it is.
    pub physical_id: PhysicalId,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.physical_id, self.node_id)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn ids_are_drawn_from_the_given_generator_and_survive_text() {
        let first = NodeId::random(&mut StdRng::seed_from_u64(1));
        let again = NodeId::random(&mut StdRng::seed_from_u64(1));
        assert_eq!(first, again);
        assert_eq!(first.to_string().parse::<NodeId>().unwrap(), first);
        assert_eq!(first.uuid().get_version_num(), 4);
    }

    #[test]
    fn ids_of_orders_sort_by_the_time_of_their_acceptance() {
        let mut rng = StdRng::seed_from_u64(1);
        let at = |second| Timestamp::from_unix(std::time::Duration::from_secs(second));
        let ids = [1, 2, 1_700_000_000].map(|second| OrderId::at(at(second), &mut rng));
        assert!(ids.is_sorted());
        assert_eq!(OrderId::from_pair(ids[2].to_pair()), ids[2]);
        assert_eq!(ids[2].uuid().get_version_num(), 7);
    }
}
