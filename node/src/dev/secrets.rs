//! What `dev` makes once and keeps: IDs, passwords, the API token, the shape of the cluster.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use mainstay_core::ids::ResourceId;
use serde::{Deserialize, Serialize};

use crate::random;

/// The second 0600 file of a `dev` folder, `secrets.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Secrets {
    /// How many nodes the folder is for.
    pub(super) nodes: u16,
    /// The first port; absent: one node with the usual ports.
    pub(super) port_base: Option<u16>,
    pub(super) api_token: String,
    pub(super) folder_id: ResourceId,
    pub(super) registry: Account,
    pub(super) device: Account,
    pub(super) broker: Account,
}

/// A resource with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) id: ResourceId,
    pub(super) name: String,
    pub(super) password: String,
}

impl Secrets {
    /// Makes new ones.
    pub(super) fn make(nodes: u16, port_base: Option<u16>) -> io::Result<Self> {
        Ok(Self {
            nodes,
            port_base,
            api_token: format!("mainstay_{}", random::text(40)?),
            folder_id: random::resource_id()?,
            registry: Account::make("demo")?,
            device: Account::make("device-1")?,
            broker: Account::make("demo-broker")?,
        })
    }

    /// The file that `node seed` takes.
    pub(super) fn seed(&self) -> String {
        let Self {
            folder_id,
            registry,
            device,
            broker,
            ..
        } = self;
        format!(
            "folder = \"{folder_id}\"\n\n\
             [[registry]]\nid = \"{}\"\nname = \"{}\"\npassword = \"{}\"\n\n\
             [[registry.device]]\nid = \"{}\"\nname = \"{}\"\npassword = \"{}\"\n\n\
             [[broker]]\nid = \"{}\"\nname = \"{}\"\npassword = \"{}\"\n",
            registry.id,
            registry.name,
            registry.password,
            device.id,
            device.name,
            device.password,
            broker.id,
            broker.name,
            broker.password,
        )
    }
}

impl Account {
    fn make(name: &str) -> io::Result<Self> {
        // Letters of both cases and digits: three of the four classes that the service asks for.
        Ok(Self {
            id: random::resource_id()?,
            name: name.to_owned(),
            password: format!("Dev1{}", random::text(20)?),
        })
    }
}

/// Writes a file that only its owner reads: a new file beside it, synced, then renamed over it.
pub(super) fn write_secret_file(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
