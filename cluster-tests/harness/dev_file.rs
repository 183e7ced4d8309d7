//! `dev.json`, as a user's script would read it.

use std::path::Path;

use serde::Deserialize;

use super::Login;

/// The file's content; a field that goes missing fails every test.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevFile {
    /// The CA of the server certificates.
    pub ca_file: String,
    /// For the API, later.
    pub api_token: String,
    /// The folder of all below.
    pub folder_id: String,
    /// The registry.
    pub registry: Account,
    /// A device in it.
    pub device: Account,
    /// The broker.
    pub broker: Account,
    /// The nodes in order.
    pub nodes: Vec<Node>,
}

/// A resource with its password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its ID, which is its user name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: String,
}

/// A node with its doors.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// `n0`, `n1`, …
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// Plain MQTT.
    pub mqtt: String,
    /// MQTT over TLS.
    pub mqtts: String,
    /// The API.
    pub api: String,
    /// Probes and metrics.
    pub admin: String,
    /// Other nodes.
    pub peer: String,
}

impl DevFile {
    /// Reads the file of a `dev` folder, if it is there.
    ///
    /// # Panics
    /// If it is there and has not the promised form.
    pub fn read(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("dev.json")).ok()?;
        Some(
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("dev.json: {error}\n{text}")),
        )
    }

    /// A topic of the device, such as `events/a`.
    pub fn device_topic(&self, rest: &str) -> String {
        format!("$devices/{}/{rest}", self.device.id)
    }
}

impl Account {
    /// As a client logs in.
    pub fn login(&self) -> Login {
        Login {
            username: self.id.clone(),
            password: self.password.clone(),
        }
    }
}
