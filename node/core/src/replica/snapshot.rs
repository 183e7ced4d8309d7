//! The state as bytes, record by record, and its hash.
//!
//! A version byte, then postcard records: written and read one at a time, so that neither needs the state
//! twice in memory. New kinds of record go to the end of the enum; a changed one is a new kind. What is read
//! is checked against what came before it: bytes from elsewhere never make a state that apply could not.

use std::{convert::Infallible, io, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Creation, Resource},
    codec::QoS,
    ids::{Epoch, Incarnation, Index, NodeId, NodeSlot, SessionKey, SpaceId},
    interest::Added,
    replica::{
        Error, Replica, Session,
        nodes::{Node, Running},
    },
    stored::Value,
    topic::{TopicFilter, TopicName},
};

/// The version that this build writes, and the newest that it reads.
const VERSION: u8 = 1;

/// Bytes that are written at once: few system calls, little memory.
const PIECE_BYTES: usize = 64 * 1024;

/// A fold over the whole state: equal states have equal hashes. Two nodes may compare them only if both
/// write the same version of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StateHash(pub u64);

/// Parents before children: each record can be checked when it is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Record {
    Applied(Index),
    Resource(Resource),
    Node {
        id: NodeId,
        name: Arc<str>,
        slot: NodeSlot,
        running: Option<(Incarnation, u64, [u64; 2])>,
    },
    Ended {
        incarnation: Incarnation,
        slot: NodeSlot,
    },
    Session {
        key: SessionKey,
        session: Session,
    },
    Interest {
        space: SpaceId,
        filter: TopicFilter,
        slot: NodeSlot,
        incarnation: Incarnation,
    },
    Value {
        space: SpaceId,
        topic: TopicName,
        payload: Bytes,
        qos: QoS,
    },
    /// Without it the snapshot is cut.
    End,
}

impl Replica {
    /// The state as bytes, all at once.
    pub fn write_snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Ok(()) = self.pieces(|piece| {
            bytes.extend_from_slice(piece);
            Ok::<_, Infallible>(())
        });
        bytes
    }

    /// The state as bytes, in pieces of about 64 KiB.
    ///
    /// # Errors
    /// The writer's first one.
    pub fn write_snapshot_to(&self, writer: &mut impl io::Write) -> io::Result<()> {
        self.pieces(|piece| writer.write_all(piece))
    }

    /// A hash of the state; costs as much as a snapshot.
    pub fn hash(&self) -> StateHash {
        // FNV-1a: the same in every build, which the standard library's hasher does not promise
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let Ok(()) = self.pieces(|piece| {
            for byte in piece {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
            Ok::<_, Infallible>(())
        });
        StateHash(hash)
    }

    /// Reads what [`Replica::write_snapshot`] wrote, in this version or an earlier one.
    ///
    /// # Errors
    /// When the bytes are no snapshot of a known version, are cut, or hold a state that cannot be.
    pub fn read_snapshot(bytes: &[u8]) -> Result<Self, Error> {
        let Some((&VERSION, mut rest)) = bytes.split_first() else {
            return Err(Error::SnapshotVersion {
                found: bytes.first().copied(),
            });
        };
        let mut replica = Self::default();
        loop {
            let offset = bytes.len() - rest.len();
            let (record, after) = postcard::take_from_bytes::<Record>(rest)
                .map_err(|source| Error::SnapshotRecord { offset, source })?;
            rest = after;
            let last = matches!(record, Record::End);
            replica
                .read(record)
                .map_err(|what| Error::SnapshotContradiction { offset, what })?;
            if last {
                break;
            }
        }
        if !rest.is_empty() {
            return Err(Error::SnapshotTail { bytes: rest.len() });
        }
        Ok(replica)
    }

    fn pieces<E>(&self, mut sink: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut piece = vec![VERSION];
        for record in self.records() {
            piece = postcard::to_extend(&record, piece)
                .expect("a Vec takes all bytes, and every length in a record is known");
            if piece.len() >= PIECE_BYTES {
                sink(&piece)?;
                piece.clear();
            }
        }
        sink(&piece)
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        let resources = self.catalog.iter().cloned().map(Record::Resource);
        let nodes = self.nodes.iter().map(|(id, node)| Record::Node {
            id,
            name: Arc::clone(&node.name),
            slot: node.slot,
            running: node.running.map(|r| (r.incarnation, r.nonce, r.lanes)),
        });
        let ended = self
            .nodes
            .ended()
            .map(|(incarnation, slot)| Record::Ended { incarnation, slot });
        let sessions = self.sessions.iter().map(|(key, session)| Record::Session {
            key: key.clone(),
            session: session.clone(),
        });
        let interest = self
            .interest
            .entries()
            .map(|(space, filter, slot, incarnation)| Record::Interest {
                space,
                filter: filter.clone(),
                slot,
                incarnation,
            });
        let values = self
            .stored
            .iter()
            .map(|(space, topic, value)| Record::Value {
                space,
                topic: topic.clone(),
                payload: value.payload.clone(),
                qos: value.qos,
            });
        std::iter::once(Record::Applied(self.applied))
            .chain(resources)
            .chain(nodes)
            .chain(ended)
            .chain(sessions)
            .chain(interest)
            .chain(values)
            .chain(std::iter::once(Record::End))
    }

    /// Adds a record, or names the rule that it breaks.
    fn read(&mut self, record: Record) -> Result<(), &'static str> {
        match record {
            Record::Applied(index) => {
                check(self.applied == Index::default(), "the index comes once")?;
                self.applied = index;
            }
            Record::Resource(resource) => {
                let created = self.catalog.create(resource) == Ok(Creation::Created);
                check(
                    created,
                    "resources have their own IDs and names, and parents",
                )?;
            }
            Record::Node {
                id,
                name,
                slot,
                running,
            } => self.read_node(id, name, slot, running)?,
            Record::Ended { incarnation, slot } => {
                self.read_incarnation(incarnation)?;
                let known = self.nodes.iter().any(|(_, node)| node.slot == slot);
                check(known, "an ended incarnation is of a node")?;
                self.nodes.keep_ended(incarnation, slot);
            }
            Record::Session { key, session } => {
                let Session {
                    incarnation, epoch, ..
                } = session;
                check(
                    self.slot(incarnation).is_some(),
                    "a session is of a known incarnation",
                )?;
                check(epoch.0.index() <= self.applied, "an epoch was applied")?;
                let used = self.sessions.owned(incarnation, epoch).is_some();
                check(
                    epoch != Epoch::default() && !used,
                    "an epoch is of one session",
                )?;
                let before = self.sessions.insert(key, session);
                check(before.is_none(), "a session has one owner")?;
            }
            Record::Interest {
                space,
                filter,
                slot,
                incarnation,
            } => {
                let own = self.slot(incarnation) == Some(slot);
                check(own, "interest is of a known incarnation in its slot")?;
                let added = self.interest.add(space, &filter, slot, incarnation);
                check(
                    matches!(added, Added::Node(_)),
                    "interest has one entry a slot",
                )?;
            }
            Record::Value {
                space,
                topic,
                payload,
                qos,
            } => {
                check(!payload.is_empty(), "a stored value is not empty")?;
                let before = self.stored.store(space, &topic, Value { payload, qos });
                check(before.is_none(), "a topic has one value")?;
            }
            Record::End => {
                let left = |(incarnation, _)| {
                    self.sessions.has(incarnation) || self.interest.has(incarnation)
                };
                check(
                    self.nodes.ended().all(left),
                    "an ended incarnation has left something",
                )?;
            }
        }
        Ok(())
    }

    fn read_node(
        &mut self,
        id: NodeId,
        name: Arc<str>,
        slot: NodeSlot,
        running: Option<(Incarnation, u64, [u64; 2])>,
    ) -> Result<(), &'static str> {
        check(slot.0 < NodeSlot::MAX, "a slot is below 64")?;
        let new = self
            .nodes
            .iter()
            .all(|(other, node)| other != id && node.slot != slot);
        check(new, "a node has one entry and one slot")?;
        if let Some((incarnation, _, _)) = running {
            self.read_incarnation(incarnation)?;
        }
        let running = running.map(|(incarnation, nonce, lanes)| Running {
            incarnation,
            nonce,
            lanes,
        });
        self.nodes.insert(
            id,
            Node {
                name,
                slot,
                running,
            },
        );
        Ok(())
    }

    fn read_incarnation(&self, incarnation: Incarnation) -> Result<(), &'static str> {
        check(
            self.slot(incarnation).is_none(),
            "an incarnation is of one node",
        )?;
        check(
            incarnation.0.index() <= self.applied,
            "an incarnation was applied",
        )
    }

    /// The slot of a running or ended incarnation.
    fn slot(&self, incarnation: Incarnation) -> Option<NodeSlot> {
        self.nodes
            .running_slot(incarnation)
            .or_else(|| self.nodes.ended_slot(incarnation))
    }
}

fn check(holds: bool, rule: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(rule) }
}
