//! `dev.json`: what a person or a test needs to use a running `dev` cluster.

use serde::{Deserialize, Serialize};

use crate::dev::secrets::{Account, Secrets};

/// The file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) ca_file: String,
    pub(super) api_token: String,
    pub(super) folder_id: String,
    pub(super) registry: Account,
    pub(super) device: Account,
    pub(super) broker: Account,
    pub(super) nodes: Vec<Node>,
}

/// One node with its doors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) pid: u32,
    pub(super) mqtt: String,
    pub(super) mqtts: String,
    pub(super) api: String,
    pub(super) admin: String,
    pub(super) peer: String,
}

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) mqtt: u16,
    pub(super) mqtts: u16,
    pub(super) api: u16,
    pub(super) admin: u16,
    pub(super) peer: u16,
}

impl Ports {
    /// Node `index` listens at base + 10 x index; without a base a lone node has the usual ports.
    pub(super) fn of(port_base: Option<u16>, index: u16) -> Option<Self> {
        let Some(base) = port_base else {
            return Some(Self {
                mqtt: 1883,
                mqtts: 8883,
                api: 8443,
                admin: 9464,
                peer: 7400,
            });
        };
        let first = base.checked_add(index.checked_mul(10)?)?;
        let last = first.checked_add(4)?;
        (first > 0).then_some(Self {
            mqtt: first,
            mqtts: first + 1,
            api: first + 2,
            admin: first + 3,
            peer: last,
        })
    }
}

impl Manifest {
    /// Puts the file together; `pids` are the nodes' process IDs in order.
    pub(super) fn new(ca_file: String, secrets: &Secrets, pids: &[u32]) -> Self {
        let nodes = (0..secrets.nodes).zip(pids).filter_map(|(index, pid)| {
            let ports = Ports::of(secrets.port_base, index)?;
            Some(Node {
                name: format!("n{index}"),
                pid: *pid,
                mqtt: format!("127.0.0.1:{}", ports.mqtt),
                mqtts: format!("localhost:{}", ports.mqtts),
                api: format!("localhost:{}", ports.api),
                admin: format!("127.0.0.1:{}", ports.admin),
                peer: format!("127.0.0.1:{}", ports.peer),
            })
        });
        Self {
            ca_file,
            api_token: secrets.api_token.clone(),
            folder_id: secrets.folder_id.to_string(),
            registry: secrets.registry.clone(),
            device: secrets.device.clone(),
            broker: secrets.broker.clone(),
            nodes: nodes.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_base() {
        let ports = Ports::of(Some(20_000), 2).unwrap();
        assert_eq!((ports.mqtt, ports.peer), (20_020, 20_024));
        assert_eq!(Ports::of(Some(65_530), 1), None);
        assert_eq!(Ports::of(None, 0).unwrap().mqtts, 8883);
    }
}
