//! The file that says who this node is: `node.toml` in the data folder.
//!
//! Written when the folder is first used, and once more when the node comes to belong to a cluster. A new
//! file replaces the old one as a whole and is durable before anything is said on the strength of it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use mainstay_core::ids::NodeId;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::types::Peer;
use crate::link::{ClusterId, Home};

const NAME: &str = "node.toml";

/// A node file that cannot be used; the node does not start, or does not join.
#[derive(Debug, thiserror::Error)]
pub enum NodeFileError {
    /// It could not be read or written.
    #[error("{operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes for a node id")]
    Random,
    /// The folder belongs to another cluster.
    #[error("this node belongs to cluster {ours}, not to {theirs}")]
    OtherCluster {
        /// What the file says.
        ours: ClusterId,
        /// What was asked.
        theirs: ClusterId,
    },
}

/// The members that this node founded the cluster with; kept so that founding can be finished after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Founder {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) address: String,
}

impl Founder {
    pub(super) fn new(id: NodeId, peer: &Peer) -> Self {
        Self {
            id: id.to_string(),
            name: peer.name.clone(),
            address: peer.addr.clone(),
        }
    }

    pub(super) fn member(&self) -> Option<(u64, Peer)> {
        let id = u64::from_str_radix(&self.id, 16).ok()?;
        Some((
            id,
            Peer {
                name: self.name.clone(),
                addr: self.address.clone(),
            },
        ))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    node_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    founders: Vec<Founder>,
}

/// The file, with the node's knowledge of its cluster.
#[derive(Debug)]
pub struct NodeFile {
    path: PathBuf,
    node: NodeId,
    home: Home,
    content: Mutex<Content>,
}

impl NodeFile {
    /// Reads the file of a data folder, or makes one with a new random ID. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or written, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, NodeFileError> {
        let path = folder.join(NAME);
        let content = match fs::read_to_string(&path) {
            Ok(text) => parse(&path, &text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let node = NodeId(random_u64()?);
                let content = Content {
                    node_id: node.to_string(),
                    cluster_id: None,
                    founders: Vec::new(),
                };
                write(&path, &content)?;
                content
            }
            Err(source) => {
                return Err(NodeFileError::Io {
                    operation: "read",
                    path,
                    source,
                });
            }
        };
        let damaged = |what: &str| NodeFileError::Damaged {
            path: path.clone(),
            what: what.into(),
        };
        let node = u64::from_str_radix(&content.node_id, 16).map_err(|_| damaged("node_id"))?;
        let home = Home::default();
        if let Some(cluster) = &content.cluster_id {
            home.join(cluster.parse().map_err(|_| damaged("cluster_id"))?);
        }
        Ok(Self {
            node: NodeId(node),
            home,
            content: Mutex::new(content),
            path,
        })
    }

    /// This node's ID, for as long as the folder exists.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The cluster that it belongs to, shared with the links.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The members of a cluster that this node founded.
    pub(super) fn founders(&self) -> Vec<(u64, Peer)> {
        let content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        content
            .founders
            .iter()
            .filter_map(Founder::member)
            .collect()
    }

    /// Makes the node one of this cluster for good. Blocks on the disk.
    pub(super) fn join(&self, cluster: &ClusterId) -> Result<(), NodeFileError> {
        self.change(cluster, |_| {})
    }

    /// Makes the node the founder of a cluster. Blocks on the disk.
    pub(super) fn found(
        &self,
        cluster: &ClusterId,
        founders: Vec<Founder>,
    ) -> Result<(), NodeFileError> {
        self.change(cluster, |content| content.founders = founders)
    }

    fn change(
        &self,
        cluster: &ClusterId,
        change: impl FnOnce(&mut Content),
    ) -> Result<(), NodeFileError> {
        let mut content = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ours) = self.home.cluster() {
            let theirs = cluster.clone();
            return if ours == theirs {
                Ok(())
            } else {
                Err(NodeFileError::OtherCluster { ours, theirs })
            };
        }
        let mut next = content.clone();
        next.cluster_id = Some(cluster.as_str().to_owned());
        change(&mut next);
        write(&self.path, &next)?;
        *content = next;
        self.home.join(cluster.clone());
        tracing::info!(node = %self.node, %cluster, "this node belongs to a cluster");
        Ok(())
    }
}

/// A cluster ID that nobody has.
pub(super) fn random_cluster() -> Result<ClusterId, NodeFileError> {
    let (high, low) = (random_u64()?, random_u64()?);
    Ok(ClusterId::from_random(
        u128::from(high) << 64 | u128::from(low),
    ))
}

fn random_u64() -> Result<u64, NodeFileError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NodeFileError::Random)?;
    Ok(u64::from_le_bytes(bytes))
}

fn parse(path: &Path, text: &str) -> Result<Content, NodeFileError> {
    toml::from_str(text).map_err(|error| NodeFileError::Damaged {
        path: path.to_owned(),
        what: error.message().to_owned(),
    })
}

fn write(path: &Path, content: &Content) -> Result<(), NodeFileError> {
    let io = |operation| {
        move |source| NodeFileError::Io {
            operation,
            path: path.to_owned(),
            source,
        }
    };
    let text = toml::to_string(content).map_err(|error| NodeFileError::Damaged {
        path: path.to_owned(),
        what: error.to_string(),
    })?;
    let part = path.with_extension("toml.part");
    let mut file = File::create(&part).map_err(io("create"))?;
    file.write_all(text.as_bytes()).map_err(io("write"))?;
    file.sync_all().map_err(io("sync"))?;
    fs::rename(&part, path).map_err(io("replace"))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync the folder of"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::testing::Folder;

    #[test]
    fn a_folder_keeps_its_node_and_its_cluster() {
        let folder = Folder::new("node-file");
        let file = NodeFile::open(folder.path()).unwrap();
        assert_eq!(file.home().cluster(), None);
        let (ours, theirs) = (random_cluster().unwrap(), random_cluster().unwrap());
        let peer = Peer {
            name: "node-0".into(),
            addr: "127.0.0.1:1".into(),
        };
        file.found(&ours, vec![Founder::new(file.node(), &peer)])
            .unwrap();
        assert!(matches!(
            file.join(&theirs),
            Err(NodeFileError::OtherCluster { .. })
        ));

        let again = NodeFile::open(folder.path()).unwrap();
        assert_eq!(again.node(), file.node());
        assert_eq!(again.home().cluster(), Some(ours.clone()));
        assert_eq!(again.founders(), [(file.node().0, peer)]);
        again.join(&ours).unwrap();
        assert!(again.join(&theirs).is_err());
    }

    #[test]
    fn a_damaged_file_is_no_new_node() {
        let folder = Folder::new("node-file-damaged");
        for text in [
            "",
            "node_id = 7",
            "node_id = \"x\"",
            "node_id = \"1\"\ncluster_id = \"1\"",
        ] {
            fs::write(folder.path().join(NAME), text).unwrap();
            let opened = NodeFile::open(folder.path());
            assert!(
                matches!(opened, Err(NodeFileError::Damaged { .. })),
                "{text:?}"
            );
        }
    }
}
