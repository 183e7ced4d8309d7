//! The ID of a cluster, and this process's knowledge of it.
//!
//! `raft` sets it once, from the data folder, by founding the cluster or by the leader's first message;
//! every call carries it, and a call with another one is refused.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

/// Names one cluster, for as long as it exists: 32 hexadecimal digits, random.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(String);

/// A text that is no [`ClusterId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cluster id is not 32 hexadecimal digits")]
pub struct BadClusterId;

impl ClusterId {
    /// Makes an ID of 128 random bits.
    pub fn from_random(random: u128) -> Self {
        Self(format!("{random:032x}"))
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterId {
    type Err = BadClusterId;

    fn from_str(text: &str) -> Result<Self, BadClusterId> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 32 && digits {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadClusterId)
        }
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The cluster that this node belongs to, once it does. A clone shares the one knowledge.
#[derive(Clone, Debug, Default)]
pub struct Home(Arc<OnceLock<ClusterId>>);

impl Home {
    /// The cluster, or `None` as long as the node belongs to none.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.0.get().cloned()
    }

    /// Says to which cluster this node belongs; whether that is the one from now on. It never changes.
    pub fn join(&self, cluster: &ClusterId) -> bool {
        *self.0.get_or_init(|| cluster.clone()) == *cluster
    }
}
