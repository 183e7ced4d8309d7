//! Logins against a catalog with real hashes.

use mainstay_core::{
    catalog::{Catalog, Credential, Password, Resource},
    ids::{Actor, ResourceId, SpaceId},
};
use tokio::runtime::Handle;

use super::*;
use crate::tasks::Tasks;

fn id(number: u8) -> ResourceId {
    ResourceId::from_random([number; 17])
}

fn password(number: u8, text: &str) -> Password {
    Password {
        id: id(number),
        phc: hash_password(text.as_bytes()).unwrap().into(),
    }
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let resources = [
        Resource::Folder { id: id(1) },
        Resource::Registry {
            id: id(2),
            folder: id(1),
            name: "fleet".into(),
            passwords: vec![password(10, "old"), password(11, "new")],
        },
        Resource::Device {
            id: id(3),
            registry: id(2),
            name: "d".into(),
            passwords: vec![password(12, "dev")],
        },
        Resource::Broker {
            id: id(4),
            folder: id(1),
            name: "b".into(),
            passwords: Vec::new(),
        },
    ];
    for resource in resources {
        catalog.create(resource).unwrap();
    }
    catalog
}

#[tokio::test]
async fn the_right_password_says_who_it_is_and_by_which_credential() {
    let tasks = Tasks::new(Handle::current());
    let auth = Authenticator::spawn(&tasks).unwrap();
    let catalog = catalog();
    for _ in 0..2 {
        let login = auth
            .check(&catalog, Some(id(2).as_str()), Some(b"new"))
            .await;
        let (principal, credential) = login.unwrap();
        assert_eq!(principal.space, SpaceId::Registry(id(2)));
        assert_eq!(principal.actor, Actor::Registry);
        assert_eq!(credential, Credential::Password(id(11)));
    }
    let (principal, _) = auth
        .check(&catalog, Some(id(3).as_str()), Some(b"dev"))
        .await
        .unwrap();
    assert_eq!(principal.actor, Actor::Device(id(3)));
    tasks.stop().cancel();
    assert!(tasks.ended(std::time::Duration::from_secs(10)).await);
}

#[tokio::test]
async fn all_else_is_denied_alike() {
    let tasks = Tasks::new(Handle::current());
    let auth = Authenticator::spawn(&tasks).unwrap();
    let catalog = catalog();
    let registry = id(2);
    let (unknown, bare) = (id(99), id(4));
    let cases: [(Option<&str>, Option<&[u8]>); 7] = [
        (Some(registry.as_str()), Some(b"wrong")),
        (Some(registry.as_str()), None),
        (Some(registry.as_str()), Some(b"")),
        (Some(unknown.as_str()), Some(b"new")),
        (Some(bare.as_str()), Some(b"new")),
        (Some("not an id"), Some(b"new")),
        (None, None),
    ];
    for (username, password) in cases {
        let login = auth.check(&catalog, username, password).await;
        assert_eq!(login, Err(Denied::BadCredentials), "{username:?}");
    }
}

#[tokio::test]
async fn a_removed_credential_is_denied_although_it_was_verified_before() {
    let tasks = Tasks::new(Handle::current());
    let auth = Authenticator::spawn(&tasks).unwrap();
    let registry = id(2);
    assert!(
        auth.check(&catalog(), Some(registry.as_str()), Some(b"old"))
            .await
            .is_ok()
    );
    let empty = Catalog::default();
    let login = auth
        .check(&empty, Some(registry.as_str()), Some(b"old"))
        .await;
    assert_eq!(login, Err(Denied::BadCredentials));
}

#[tokio::test]
async fn many_at_once_with_one_credential_share_its_hash() {
    let tasks = Tasks::new(Handle::current());
    let auth = Authenticator::spawn(&tasks).unwrap();
    let catalog = catalog();
    let mut logins = tokio::task::JoinSet::new();
    for _ in 0..5_000 {
        let (auth, catalog) = (auth.clone(), catalog.clone());
        logins.spawn(async move {
            auth.check(&catalog, Some(id(3).as_str()), Some(b"dev"))
                .await
        });
    }
    // Each with a hash of its own they would wait longer than they may.
    for login in logins.join_all().await {
        assert!(login.is_ok());
    }
}
