//! Entries and snapshots as bytes: round trips, versions, damage.

use std::sync::Arc;

use super::testing::*;
use crate::{
    catalog::Resource,
    ids::{Epoch, Incarnation, NodeId, Position},
    limits::BATCH_COMMANDS,
    replica::{Command, Entry, Error, Lane, Replica},
};

/// A state with at least one record of each kind.
fn filled() -> Log {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, epoch) = log.claim(one, claim("a", 1, Some("will")));
    log.claim(two, claim("b", 1, None));
    log.one(one, store(epoch, "t", b"value"));
    log.one(one, add("a/#"));
    log.one(two, add("a/#"));
    log.one(one, Command::Create(Resource::Folder { id: id("zfolder") }));
    log.one(
        one,
        Command::EndNode {
            node: NodeId(2),
            incarnation: two,
        },
    );
    log
}

fn every_command() -> Entry {
    let epoch = Epoch(Position(77));
    let incarnation = Incarnation(Position(1 << 40));
    let commands = vec![
        Command::Create(Resource::Folder { id: id("folder") }),
        Command::Claim(claim("client", 3, Some("will"))),
        Command::Release {
            key: key("client"),
            epoch,
            fire: true,
        },
        add("a/+/#"),
        remove("#"),
        store(epoch, "t", b"value"),
        Command::EndNode {
            node: NodeId(u64::MAX),
            incarnation,
        },
        Command::Sweep { incarnation },
    ];
    Entry::Batch {
        incarnation,
        lane: Lane::Liveness,
        first: u64::MAX,
        commands,
    }
}

#[test]
fn entries_come_back_as_they_went() {
    let up = Entry::NodeUp {
        node: NodeId(1),
        name: "node-1".into(),
        nonce: 5,
    };
    for entry in filled().entries.into_iter().chain([every_command(), up]) {
        assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
    }
}

#[test]
fn the_bytes_of_version_1_stay_what_they_are() {
    let up = Entry::NodeUp {
        node: NodeId(300),
        name: "n".into(),
        nonce: 5,
    };
    assert_eq!(&up.encode()[..], b"\x01\x00\xac\x02\x01n\x05");
    let incarnation = Incarnation(Position(1));
    let commands = vec![Command::Sweep { incarnation }, add("a")];
    let batch = Entry::Batch {
        incarnation,
        lane: Lane::Work,
        first: 2,
        commands,
    };
    let expected = b"\x01\x01\x01\x01\x02\x02\x07\x01\x03\x00\x14registry000000000000\x01a";
    assert_eq!(&batch.encode()[..], expected);
}

#[test]
fn damaged_entries_are_refused() {
    let good = every_command().encode();
    assert_eq!(Entry::decode(&[]), Err(Error::EntryVersion { found: None }));
    assert_eq!(
        Entry::decode(&[9, 0]),
        Err(Error::EntryVersion { found: Some(9) })
    );
    for end in 1..good.len() {
        assert!(
            matches!(Entry::decode(&good[..end]), Err(Error::Entry { .. })),
            "cut at {end}"
        );
    }
    let longer = [&good[..], b"x"].concat();
    assert_eq!(Entry::decode(&longer), Err(Error::EntryTail { bytes: 1 }));
    let incarnation = Incarnation::default();
    let commands = vec![Command::Sweep { incarnation }; BATCH_COMMANDS + 1];
    let long = Entry::Batch {
        incarnation,
        lane: Lane::Work,
        first: 1,
        commands,
    };
    let commands = BATCH_COMMANDS + 1;
    assert_eq!(
        Entry::decode(&long.encode()),
        Err(Error::EntryLength { commands })
    );
}

#[test]
fn a_snapshot_comes_back_as_it_went() {
    for log in [Log::default(), filled()] {
        let bytes = log.replica.write_snapshot();
        let read = Replica::read_snapshot(&bytes).unwrap();
        assert_eq!(read.write_snapshot(), bytes);
        assert_eq!(read.hash(), log.replica.hash());
        assert_eq!(read.applied(), log.replica.applied());
        assert!(read.nodes().eq(log.replica.nodes()));
        assert!(read.ended().eq(log.replica.ended()));
        assert!(read.interest().eq(log.replica.interest()));
        assert_eq!(read.session(&key("a")), log.replica.session(&key("a")));
        assert_eq!(read.session_count(), log.replica.session_count());
        assert_eq!(read.stored_bytes(), log.replica.stored_bytes());
        let mut written = Vec::new();
        log.replica.write_snapshot_to(&mut written).unwrap();
        assert_eq!(written, bytes);
    }
}

#[test]
fn a_large_snapshot_is_written_in_pieces() {
    struct Pieces(Vec<usize>);
    impl std::io::Write for Pieces {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (mut log, one) = Log::start();
    for n in 0..3000 {
        log.claim(one, claim(&format!("client-{n:013}"), n, None));
    }
    let mut pieces = Pieces(Vec::new());
    log.replica.write_snapshot_to(&mut pieces).unwrap();
    assert!(pieces.0.len() > 2 && pieces.0.iter().all(|bytes| *bytes < 70 * 1024));
    let bytes = log.replica.write_snapshot();
    assert_eq!(bytes.len(), pieces.0.iter().sum::<usize>());
    assert_eq!(
        Replica::read_snapshot(&bytes).unwrap().hash(),
        log.replica.hash()
    );
}

#[test]
fn damaged_snapshots_are_refused() {
    let good = filled().replica.write_snapshot();
    let read = |bytes: &[u8]| Replica::read_snapshot(bytes).unwrap_err();
    assert_eq!(read(&[]), Error::SnapshotVersion { found: None });
    assert_eq!(read(&[0]), Error::SnapshotVersion { found: Some(0) });
    for end in 1..good.len() {
        assert!(
            matches!(read(&good[..end]), Error::SnapshotRecord { .. }),
            "cut at {end}"
        );
    }
    assert_eq!(
        read(&[&good[..], b"x"].concat()),
        Error::SnapshotTail { bytes: 1 }
    );
    // a length that no memory could hold
    assert!(matches!(
        read(b"\x01\x01\x01\x14folder00000000000000\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        Error::SnapshotRecord { .. }
    ));
}

#[test]
fn a_snapshot_of_a_state_that_cannot_be_is_refused() {
    let mut cases: Vec<(&str, Replica)> = Vec::new();
    let mut replica = filled().replica;
    let one = replica.node(NodeId(1)).unwrap().incarnation.unwrap();
    replica.nodes.keep_ended(one, crate::ids::NodeSlot(0));
    cases.push(("running and ended", replica));
    let mut replica = filled().replica;
    replica.applied = crate::ids::Index(1);
    cases.push(("not yet applied", replica));
    let mut replica = filled().replica;
    let mut node = replica.nodes.get(NodeId(2)).unwrap().clone();
    node.slot = crate::ids::NodeSlot(0);
    replica.nodes.insert(NodeId(2), node);
    cases.push(("slot of two nodes", replica));
    let mut replica = filled().replica;
    let node = replica.nodes.get(NodeId(2)).unwrap().clone();
    let name = Arc::clone(&node.name);
    let ended = replica.ended().next().unwrap();
    replica.nodes.forget_ended(ended);
    cases.push(("session of nobody", replica));
    let mut replica = Replica::default();
    let slot = crate::ids::NodeSlot(64);
    replica.nodes.insert(
        NodeId(1),
        super::nodes::Node {
            name,
            slot,
            running: None,
        },
    );
    cases.push(("slot above all", replica));
    for (case, replica) in cases {
        let read = Replica::read_snapshot(&replica.write_snapshot());
        assert!(
            matches!(read, Err(Error::SnapshotContradiction { .. })),
            "{case}: {read:?}"
        );
    }
}
