//! A cluster's log for the tests of this room: names of things, and a replica that is fed entry by entry.

use bytes::Bytes;

use crate::{
    catalog::{Credential, Password, Resource},
    codec::QoS,
    ids::{
        Actor, ClientId, ConnId, Epoch, Incarnation, Index, NodeId, NodeSet, NodeSlot, Position,
        Principal, ResourceId, SessionKey, ShardId, SpaceId,
    },
    replica::{Claim, Command, Delivery, Effect, Entry, Lane, Outcome, Replica, Store, Will},
    topic::{TopicFilter, TopicName},
};

/// A replica and what it was fed.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) replica: Replica,
    pub(super) entries: Vec<Entry>,
    sequences: std::collections::BTreeMap<(Incarnation, Lane), u64>,
}

impl Log {
    /// A log with the catalog of these tests, and node 1 up.
    pub(super) fn start() -> (Self, Incarnation) {
        let mut log = Self::default();
        let one = log.up(1, 1);
        let created = log.run(one, catalog().into_iter().map(Command::Create).collect());
        assert!(created.iter().all(|effect| match effect {
            Effect::Answer { outcome, .. } => matches!(outcome, Outcome::Done(_)),
            other => *other == Effect::Catalog,
        }));
        (log, one)
    }

    /// Appends an entry and applies it.
    pub(super) fn push(&mut self, entry: Entry) -> Vec<Effect> {
        self.entries.push(entry);
        let index = self.index();
        let applied = self.replica.apply(index, self.entries.last().unwrap());
        assert_eq!(applied.index, index);
        applied.effects
    }

    /// The index of the last entry.
    pub(super) fn index(&self) -> Index {
        Index(self.entries.len() as u64)
    }

    /// The place of the last entry's first command.
    pub(super) fn position(&self) -> Position {
        Position::new(self.index(), 0)
    }

    pub(super) fn up(&mut self, node: u64, nonce: u64) -> Incarnation {
        let name = format!("node-{node}").into();
        self.push(Entry::NodeUp {
            node: NodeId(node),
            name,
            nonce,
        });
        Incarnation(self.position())
    }

    /// Applies commands in a batch of their own, in order after the earlier ones.
    pub(super) fn run(&mut self, incarnation: Incarnation, commands: Vec<Command>) -> Vec<Effect> {
        let last = self.sequences.entry((incarnation, Lane::Work)).or_default();
        let first = *last + 1;
        *last += commands.len() as u64;
        self.push(Entry::Batch {
            incarnation,
            lane: Lane::Work,
            first,
            commands,
        })
    }

    /// Applies one command: what it did, and its outcome.
    pub(super) fn one(
        &mut self,
        incarnation: Incarnation,
        command: Command,
    ) -> (Vec<Effect>, Outcome) {
        let mut effects = self.run(incarnation, vec![command]);
        match effects.pop() {
            Some(Effect::Answer { outcome, .. }) => (effects, outcome),
            other => panic!("the last effect is no answer: {other:?}"),
        }
    }

    /// Claims a session and checks that it got it.
    pub(super) fn claim(&mut self, incarnation: Incarnation, claim: Claim) -> (Vec<Effect>, Epoch) {
        let (effects, outcome) = self.one(incarnation, Command::Claim(claim));
        assert_eq!(outcome, Outcome::Done(self.position()));
        (effects, Epoch(self.position()))
    }
}

pub(super) fn id(text: &str) -> ResourceId {
    format!("{text:0<20}").parse().unwrap()
}

pub(super) fn space() -> SpaceId {
    SpaceId::Registry(id("registry"))
}

fn catalog() -> [Resource; 3] {
    let password = |name| {
        vec![Password {
            id: id(name),
            phc: "$argon2id$".into(),
        }]
    };
    [
        Resource::Folder { id: id("folder") },
        Resource::Registry {
            id: id("registry"),
            folder: id("folder"),
            name: "registry".into(),
            passwords: password("pwregistry"),
        },
        Resource::Device {
            id: id("device"),
            registry: id("registry"),
            name: "device".into(),
            passwords: password("pwdevice"),
        },
    ]
}

pub(super) fn key(client: &str) -> SessionKey {
    let principal = Principal {
        space: space(),
        actor: Actor::Device(id("device")),
    };
    SessionKey {
        principal,
        client_id: ClientId(client.into()),
    }
}

pub(super) fn conn(slot: u32) -> ConnId {
    ConnId {
        shard: ShardId(0),
        slot,
        generation: 1,
    }
}

/// A claim of the device, with a will if a topic is given for it.
pub(super) fn claim(client: &str, slot: u32, will: Option<&str>) -> Claim {
    Claim {
        key: key(client),
        conn: conn(slot),
        credential: Credential::Password(id("pwdevice")),
        will: will.map(|topic| {
            let topic = TopicName::new(topic).unwrap();
            let payload = Bytes::from_static(b"gone");
            Will {
                topic,
                payload,
                qos: QoS::ExactlyOnce,
                stores: false,
            }
            .into()
        }),
    }
}

pub(super) fn store(epoch: Epoch, topic: &str, payload: &'static [u8]) -> Command {
    Command::Store(Store {
        space: space(),
        epoch,
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::from_static(payload),
        qos: QoS::AtLeastOnce,
    })
}

pub(super) fn add(filter: &str) -> Command {
    Command::AddInterest {
        space: space(),
        filter: TopicFilter::new(filter).unwrap(),
    }
}

pub(super) fn remove(filter: &str) -> Command {
    Command::RemoveInterest {
        space: space(),
        filter: TopicFilter::new(filter).unwrap(),
    }
}

/// The effect of a message at QoS 1.
pub(super) fn deliver(topic: &str, payload: &'static [u8]) -> Effect {
    Effect::Deliver(
        Delivery {
            space: space(),
            topic: TopicName::new(topic).unwrap(),
            payload: Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
        }
        .into(),
    )
}

pub(super) fn batch(
    incarnation: Incarnation,
    lane: Lane,
    first: u64,
    commands: Vec<Command>,
) -> Entry {
    Entry::Batch {
        incarnation,
        lane,
        first,
        commands,
    }
}

pub(super) fn end(node: u64, incarnation: Incarnation) -> Command {
    Command::EndNode {
        node: NodeId(node),
        incarnation,
    }
}

pub(super) fn down(node: u64, slot: u8, incarnation: Incarnation) -> Effect {
    Effect::NodeDown {
        node: NodeId(node),
        slot: NodeSlot(slot),
        incarnation,
    }
}

pub(super) fn interest(filter: &str, slots: &[u8]) -> Effect {
    let nodes = slots
        .iter()
        .fold(NodeSet::default(), |set, slot| set.with(NodeSlot(*slot)));
    Effect::Interest {
        space: space(),
        filter: TopicFilter::new(filter).unwrap(),
        nodes,
    }
}

pub(super) fn sequences(effects: &[Effect]) -> Vec<u64> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer { sequence, .. } => Some(*sequence),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}
