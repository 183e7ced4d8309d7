//! What the catalog holds: resources as they are created, and their credentials.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::ResourceId;

/// A password of a principal, hashed before it was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Password {
    /// Its ID: the API shows it, and a Claim names it.
    pub id: ResourceId,
    /// The PHC string (argon2id).
    pub phc: Arc<str>,
}

/// The credential that a connection used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Credential {
    /// The password of this ID.
    Password(ResourceId),
}

/// A resource to create. IDs are unique over all kinds; names within their folder or registry and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// A folder: just an ID.
    Folder {
        /// Its ID.
        id: ResourceId,
    },
    /// A registry of a folder.
    Registry {
        /// Its ID, and the username of its own credentials.
        id: ResourceId,
        /// Its folder, which must exist.
        folder: ResourceId,
        /// Its name, unique among the folder's registries.
        name: Arc<str>,
        /// Its credentials.
        passwords: Vec<Password>,
    },
    /// A device of a registry.
    Device {
        /// Its ID, and its username.
        id: ResourceId,
        /// Its registry, which must exist.
        registry: ResourceId,
        /// Its name, unique in the registry.
        name: Arc<str>,
        /// Its credentials.
        passwords: Vec<Password>,
    },
    /// A broker of a folder.
    Broker {
        /// Its ID, and its username.
        id: ResourceId,
        /// Its folder, which must exist.
        folder: ResourceId,
        /// Its name, unique among the folder's brokers.
        name: Arc<str>,
        /// Its credentials.
        passwords: Vec<Password>,
    },
}

/// The kinds of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Folder,
    Registry,
    Device,
    Broker,
}

impl Resource {
    /// Its ID.
    pub fn id(&self) -> ResourceId {
        match self {
            Self::Folder { id }
            | Self::Registry { id, .. }
            | Self::Device { id, .. }
            | Self::Broker { id, .. } => *id,
        }
    }

    /// Its name; a folder has none.
    pub fn name(&self) -> Option<&Arc<str>> {
        match self {
            Self::Folder { .. } => None,
            Self::Registry { name, .. } | Self::Device { name, .. } | Self::Broker { name, .. } => {
                Some(name)
            }
        }
    }

    /// Its passwords; a folder has none.
    pub fn passwords(&self) -> &[Password] {
        match self {
            Self::Folder { .. } => &[],
            Self::Registry { passwords, .. }
            | Self::Device { passwords, .. }
            | Self::Broker { passwords, .. } => passwords,
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Folder { .. } => Kind::Folder,
            Self::Registry { .. } => Kind::Registry,
            Self::Device { .. } => Kind::Device,
            Self::Broker { .. } => Kind::Broker,
        }
    }

    /// The kind that its parent must be of, and its ID.
    pub(super) fn parent(&self) -> Option<(Kind, ResourceId)> {
        match self {
            Self::Folder { .. } => None,
            Self::Registry { folder, .. } | Self::Broker { folder, .. } => {
                Some((Kind::Folder, *folder))
            }
            Self::Device { registry, .. } => Some((Kind::Registry, *registry)),
        }
    }
}
