//! The catalog, rule by rule.

use crate::{
    catalog::{Catalog, CreateError, Creation, Credential, Password, Resource},
    ids::{Actor, Principal, ResourceId, SpaceId},
};

fn id(text: &str) -> ResourceId {
    format!("{text:0<20}").parse().unwrap()
}

fn passwords(name: &str) -> Vec<Password> {
    vec![Password {
        id: id(name),
        phc: "$argon2id$".into(),
    }]
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
        Err(CreateError::NameTaken {
            id: id("other"),
            by: id("aadev")
        })
    );
    assert_eq!(
        catalog.create(device("other", "regb", "pump")),
        Ok(Creation::Created)
    );
    assert_eq!(
        catalog.create(broker("bro2", "regb")),
        Ok(Creation::Created)
    );
}

#[test]
fn a_parent_must_exist_and_be_of_the_right_kind() {
    let mut catalog = filled();
    for parent in ["nothing", "folder", "broker", "aadev"] {
        assert_eq!(
            catalog.create(device("other", parent, "fan")),
            Err(CreateError::NoParent {
                id: id("other"),
                parent: id(parent)
            })
        );
    }
    assert_eq!(catalog.device_named(id("folder"), "fan"), None);
}

#[test]
fn login_names_the_principal_of_each_kind() {
    let catalog = filled();
    let principal = |name| catalog.login(&id(name)).map(|(principal, _)| principal);
    let space = SpaceId::Registry(id("rega"));
    assert_eq!(
        principal("rega"),
        Some(Principal {
            space,
            actor: Actor::Registry
        })
    );
    assert_eq!(
        principal("aadev"),
        Some(Principal {
            space,
            actor: Actor::Device(id("aadev"))
        })
    );
    let space = SpaceId::Broker(id("broker"));
    assert_eq!(
        principal("broker"),
        Some(Principal {
            space,
            actor: Actor::Broker
        })
    );
    assert_eq!(principal("folder"), None);
    assert_eq!(principal("nothing"), None);
}

#[test]
fn a_credential_counts_for_its_own_principal_in_its_own_space_only() {
    let catalog = filled();
    let space = SpaceId::Registry(id("rega"));
    let device = Principal {
        space,
        actor: Actor::Device(id("aadev")),
    };
    let of = |principal: &Principal, password: &str| {
        catalog.has_credential(principal, Credential::Password(id(password)))
    };
    assert!(of(&device, "pwdev"));
    assert!(!of(&device, "pwreg"));
    assert!(of(
        &Principal {
            space,
            actor: Actor::Registry
        },
        "pwreg"
    ));
    assert!(!of(
        &Principal {
            space,
            actor: Actor::Broker
        },
        "pwreg"
    ));
    let elsewhere = SpaceId::Registry(id("regb"));
    assert!(!of(
        &Principal {
            space: elsewhere,
            ..device
        },
        "pwdev"
    ));
    let gone = Principal {
        space,
        actor: Actor::Device(id("nothing")),
    };
    assert!(!of(&gone, "pwdev"));
}

#[test]
fn names_and_devices_are_found() {
    let catalog = filled();
    assert_eq!(
        catalog.registry_named(id("folder"), "rega"),
        Some(id("rega"))
    );
    assert_eq!(
        catalog.broker_named(id("folder"), "rega"),
        Some(id("broker"))
    );
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
