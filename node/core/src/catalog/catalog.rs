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
            return if same { Ok(Creation::Unchanged) } else { Err(CreateError::IdTaken { id }) };
        }
        if let (Some((kind, parent)), Some(name)) = (resource.parent(), resource.name()) {
            if self.resources.get(&parent).map(Resource::kind) != Some(kind) {
                return Err(CreateError::NoParent { id, parent });
            }
            let named = Named { kind: resource.kind(), parent, name: Arc::clone(name) };
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
            Resource::Registry { id, .. } => {
                Principal { space: SpaceId::Registry(*id), actor: Actor::Registry }
            }
            Resource::Device { id, registry, .. } => {
                Principal { space: SpaceId::Registry(*registry), actor: Actor::Device(*id) }
            }
            Resource::Broker { id, .. } => {
                Principal { space: SpaceId::Broker(*id), actor: Actor::Broker }
            }
        };
        Some((principal, resource.passwords()))
    }

    /// Whether the principal exists and the credential is one of its own.
    pub fn has_credential(&self, principal: &Principal, credential: Credential) -> bool {
        let username = match (principal.space, principal.actor) {
            (SpaceId::Registry(_), Actor::Device(id))
            | (SpaceId::Registry(id), Actor::Registry)
            | (SpaceId::Broker(id), Actor::Broker) => id,
            _ => return false,
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
        [&[Kind::Folder][..], &[Kind::Registry, Kind::Broker], &[Kind::Device]]
            .into_iter()
            .flat_map(|kinds| self.resources.values().filter(|r| kinds.contains(&r.kind())))
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
        self.names.get(&Named { kind, parent, name: name.into() }).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ResourceId {
        format!("{text:0<20}").parse().unwrap()
    }

    fn passwords(name: &str) -> Vec<Password> {
        vec![Password { id: id(name), phc: "$argon2id$".into() }]
    }

    fn registry(name: &str) -> Resource {
        Resource::Registry {
            id: id(name),
            folder: id("folder"),
            name: name.into(),
            passwords: passwords("pwreg"),
        }
    }

    fn device(own: &str, registry: &str, name: &str) -> Resource {
        Resource::Device {
            id: id(own),
            registry: id(registry),
            name: name.into(),
            passwords: passwords("pwdev"),
        }
    }

    fn broker(own: &str, name: &str) -> Resource {
        Resource::Broker {
            id: id(own),
            folder: id("folder"),
            name: name.into(),
            passwords: passwords("pwbro"),
        }
    }

    fn filled() -> Catalog {
        let mut catalog = Catalog::default();
        for resource in [
            Resource::Folder { id: id("folder") },
            registry("rega"),
            registry("regb"),
            device("aadev", "rega", "pump"),
            broker("broker", "rega"),
        ] {
            assert_eq!(catalog.create(resource), Ok(Creation::Created));
        }
        catalog
    }

    #[test]
    fn the_same_again_is_unchanged_whatever_its_passwords() {
        let mut catalog = filled();
        let mut again = device("aadev", "rega", "pump");
        if let Resource::Device { passwords, .. } = &mut again {
            passwords.clear();
        }
        assert_eq!(catalog.create(again), Ok(Creation::Unchanged));
        let (_, passwords) = catalog.login(&id("aadev")).unwrap();
        assert_eq!(passwords.len(), 1);
    }

    #[test]
    fn an_id_is_unique_over_all_kinds() {
        let mut catalog = filled();
        let taken = Err(CreateError::IdTaken { id: id("aadev") });
        assert_eq!(catalog.create(device("aadev", "rega", "fan")), taken);
        assert_eq!(catalog.create(device("aadev", "regb", "pump")), taken);
        assert_eq!(catalog.create(broker("aadev", "pump")), taken);
        assert_eq!(catalog.create(Resource::Folder { id: id("aadev") }), taken);
    }

    #[test]
    fn a_name_is_unique_in_its_parent_and_kind() {
        let mut catalog = filled();
        assert_eq!(
            catalog.create(device("other", "rega", "pump")),
            Err(CreateError::NameTaken { id: id("other"), by: id("aadev") })
        );
        assert_eq!(catalog.create(device("other", "regb", "pump")), Ok(Creation::Created));
        assert_eq!(catalog.create(broker("bro2", "regb")), Ok(Creation::Created));
    }

    #[test]
    fn a_parent_must_exist_and_be_of_the_right_kind() {
        let mut catalog = filled();
        for parent in ["nothing", "folder", "broker", "aadev"] {
            assert_eq!(
                catalog.create(device("other", parent, "fan")),
                Err(CreateError::NoParent { id: id("other"), parent: id(parent) })
            );
        }
        assert_eq!(catalog.device_named(id("folder"), "fan"), None);
    }

    #[test]
    fn login_names_the_principal_of_each_kind() {
        let catalog = filled();
        let principal = |name| catalog.login(&id(name)).map(|(principal, _)| principal);
        let space = SpaceId::Registry(id("rega"));
        assert_eq!(principal("rega"), Some(Principal { space, actor: Actor::Registry }));
        assert_eq!(
            principal("aadev"),
            Some(Principal { space, actor: Actor::Device(id("aadev")) })
        );
        let space = SpaceId::Broker(id("broker"));
        assert_eq!(principal("broker"), Some(Principal { space, actor: Actor::Broker }));
        assert_eq!(principal("folder"), None);
        assert_eq!(principal("nothing"), None);
    }

    #[test]
    fn a_credential_counts_for_its_own_principal_in_its_own_space_only() {
        let catalog = filled();
        let space = SpaceId::Registry(id("rega"));
        let device = Principal { space, actor: Actor::Device(id("aadev")) };
        let of = |principal: &Principal, password: &str| {
            catalog.has_credential(principal, Credential::Password(id(password)))
        };
        assert!(of(&device, "pwdev"));
        assert!(!of(&device, "pwreg"));
        assert!(of(&Principal { space, actor: Actor::Registry }, "pwreg"));
        assert!(!of(&Principal { space, actor: Actor::Broker }, "pwreg"));
        let elsewhere = SpaceId::Registry(id("regb"));
        assert!(!of(&Principal { space: elsewhere, ..device }, "pwdev"));
        let gone = Principal { space, actor: Actor::Device(id("nothing")) };
        assert!(!of(&gone, "pwdev"));
    }

    #[test]
    fn names_and_devices_are_found() {
        let catalog = filled();
        assert_eq!(catalog.registry_named(id("folder"), "rega"), Some(id("rega")));
        assert_eq!(catalog.broker_named(id("folder"), "rega"), Some(id("broker")));
        assert_eq!(catalog.device_named(id("rega"), "pump"), Some(id("aadev")));
        assert_eq!(catalog.device_named(id("regb"), "pump"), None);
        assert!(catalog.device_in(&id("rega"), &id("aadev")));
        assert!(!catalog.device_in(&id("regb"), &id("aadev")));
        assert_eq!(catalog.device_registry(&id("rega")), None);
        assert!(catalog.has_folder(&id("folder")) && !catalog.has_folder(&id("rega")));
    }

    #[test]
    fn iteration_gives_parents_first() {
        let catalog = filled();
        let mut copy = Catalog::default();
        for resource in catalog.iter() {
            assert_eq!(copy.create(resource.clone()), Ok(Creation::Created));
        }
        assert_eq!(copy.len(), catalog.len());
    }
}
