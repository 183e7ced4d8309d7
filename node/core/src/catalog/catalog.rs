//! The catalog: every resource by ID, and IDs by name.
//!
//! Changed by the replica alone; a clone is O(1), and logins, shards and the seed command read clones. It
//! refuses, it never repairs: a resource whose parent is missing cannot be in it.

use std::sync::Arc;

use imbl::OrdMap;

use crate::{
    catalog::{Credential, Password, Resource, resource::Kind},
    ids::{Actor, Principal, ResourceId, SpaceId},
};

/// Folders, registries, devices and brokers with their credentials.
///
/// - Each resource's parent is in it.
/// - `names` holds exactly the resources that have a name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    resources: OrdMap<ResourceId, Resource>,
    names: OrdMap<Named, ResourceId>,
}

/// What a name is unique in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Named {
    kind: Kind,
    parent: ResourceId,
    name: Arc<str>,
}

/// What became of a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The resource is new.
    Created,
    /// The very same resource is there; its passwords stay as they are.
    Unchanged,
}

/// Why a resource was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The ID belongs to another resource.
    #[error("create {id}: the ID is taken by another resource")]
    IdTaken {
        /// The ID.
        id: ResourceId,
    },
    /// The name belongs to another resource of the kind and parent.
    #[error("create {id}: the name is taken by {by}")]
    NameTaken {
        /// The ID of what was to be created.
        id: ResourceId,
        /// Whose name it is.
        by: ResourceId,
    },
    /// The folder or registry does not exist.
    #[error("create {id}: the parent {parent} does not exist")]
    NoParent {
        /// The ID of what was to be created.
        id: ResourceId,
        /// What should be there.
        parent: ResourceId,
    },
}

impl Catalog {
    /// Adds a resource.
    ///
    /// # Errors
    /// When ID or name are taken, or the parent does not exist; nothing has changed then.
    pub fn create(&mut self, resource: Resource) -> Result<Creation, CreateError> {
        let id = resource.id();
        if let Some(present) = self.resources.get(&id) {
            let same = present.kind() == resource.kind()
                && present.parent() == resource.parent()
                && present.name() == resource.name();
            return if same {
                Ok(Creation::Unchanged)
            } else {
                Err(CreateError::IdTaken { id })
            };
        }
        if let (Some((kind, parent)), Some(name)) = (resource.parent(), resource.name()) {
            if self.resources.get(&parent).map(Resource::kind) != Some(kind) {
                return Err(CreateError::NoParent { id, parent });
            }
            let named = Named {
                kind: resource.kind(),
                parent,
                name: Arc::clone(name),
            };
            if let Some(by) = self.names.get(&named) {
                return Err(CreateError::NameTaken { id, by: *by });
            }
            self.names.insert(named, id);
        }
        self.resources.insert(id, resource);
        Ok(Creation::Created)
    }

    /// Who logs in with this username, and by which passwords.
    pub fn login(&self, username: &ResourceId) -> Option<(Principal, &[Password])> {
        let resource = self.resources.get(username)?;
        let principal = match resource {
            Resource::Folder { .. } => return None,
            Resource::Registry { id, .. } => Principal {
                space: SpaceId::Registry(*id),
                actor: Actor::Registry,
            },
            Resource::Device { id, registry, .. } => Principal {
                space: SpaceId::Registry(*registry),
                actor: Actor::Device(*id),
            },
            Resource::Broker { id, .. } => Principal {
                space: SpaceId::Broker(*id),
                actor: Actor::Broker,
            },
        };
        Some((principal, resource.passwords()))
    }

    /// Whether the principal exists and the credential is one of its own.
    pub fn has_credential(&self, principal: &Principal, credential: Credential) -> bool {
        let username = match (principal.actor, principal.space) {
            (Actor::Device(id), _) => id,
            (_, SpaceId::Registry(id) | SpaceId::Broker(id)) => id,
        };
        let Credential::Password(wanted) = credential;
        self.login(&username).is_some_and(|(found, passwords)| {
            found == *principal && passwords.iter().any(|password| password.id == wanted)
        })
    }

    /// Whether the device belongs to the registry.
    pub fn device_in(&self, registry: &ResourceId, device: &ResourceId) -> bool {
        self.device_registry(device) == Some(*registry)
    }

    /// The registry of a device; none if there is no such device.
    pub fn device_registry(&self, device: &ResourceId) -> Option<ResourceId> {
        match self.resources.get(device)? {
            Resource::Device { registry, .. } => Some(*registry),
            _ => None,
        }
    }

    /// Whether the ID is a folder's.
    pub fn has_folder(&self, id: &ResourceId) -> bool {
        matches!(self.resources.get(id), Some(Resource::Folder { .. }))
    }

    /// The registry of this name in the folder.
    pub fn registry_named(&self, folder: ResourceId, name: &str) -> Option<ResourceId> {
        self.named(Kind::Registry, folder, name)
    }

    /// The device of this name in the registry.
    pub fn device_named(&self, registry: ResourceId, name: &str) -> Option<ResourceId> {
        self.named(Kind::Device, registry, name)
    }

    /// The broker of this name in the folder.
    pub fn broker_named(&self, folder: ResourceId, name: &str) -> Option<ResourceId> {
        self.named(Kind::Broker, folder, name)
    }

    /// All resources, each after its parent: created again in this order they make the same catalog.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        [
            &[Kind::Folder][..],
            &[Kind::Registry, Kind::Broker],
            &[Kind::Device],
        ]
        .into_iter()
        .flat_map(|kinds| {
            self.resources
                .values()
                .filter(|r| kinds.contains(&r.kind()))
        })
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.resources.len()
    }

    /// Whether there is no resource.
    pub fn is_empty(&self) -> bool {
        self.resources.is_empty()
    }

    fn named(&self, kind: Kind, parent: ResourceId, name: &str) -> Option<ResourceId> {
        self.names
            .get(&Named {
                kind,
                parent,
                name: name.into(),
            })
            .copied()
    }
}
