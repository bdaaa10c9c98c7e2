//! What a message came of: nothing, one message, or several.

use super::OpenKey;

/// The messages that a message came of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Parents {
    /// It comes of no message that is being handled.
    #[default]
    None,
    /// Of one, as most do.
    One(OpenKey),
    /// Of several: a batch.
    Several(Box<[OpenKey]>),
}

impl Parents {
    /// Comes of the others only, where there are others.
    pub(crate) fn forget(&mut self, key: OpenKey) {
        if let Self::Several(keys) = self
            && keys.contains(&key)
        {
            *self = keys.iter().copied().filter(|&it| it != key).collect();
        }
    }

    pub(crate) fn as_slice(&self) -> &[OpenKey] {
        match self {
            Self::None => &[],
            Self::One(key) => std::slice::from_ref(key),
            Self::Several(keys) => keys,
        }
    }
}

impl From<Option<OpenKey>> for Parents {
    fn from(key: Option<OpenKey>) -> Self {
        key.map_or(Self::None, Self::One)
    }
}

impl FromIterator<OpenKey> for Parents {
    fn from_iter<I: IntoIterator<Item = OpenKey>>(keys: I) -> Self {
        let keys: Box<[OpenKey]> = keys.into_iter().collect();
        match *keys {
            [] => Self::None,
            [key] => Self::One(key),
            _ => Self::Several(keys),
        }
    }
}
