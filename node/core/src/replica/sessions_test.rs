//! Apply of what connections do: sessions, wills, stored values, interest, and sweeps after an end.

use bytes::Bytes;

use super::testing::*;
use crate::{
    catalog::Credential,
    codec::QoS,
    ids::{Epoch, Incarnation, NodeSet, NodeSlot, SpaceId},
    limits::SWEEP_BATCH,
    reason::Close,
    replica::{Command, Effect, Outcome, Refusal, Replica, Will},
    topic::TopicFilter,
};

#[test]
fn a_claim_takes_over_with_the_will_before_the_end() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (effects, first) = log.claim(one, claim("client", 1, Some("will/first")));
    assert_eq!(effects, []);
    let (effects, second) = log.claim(two, claim("client", 2, None));
    let ended = Effect::Ended {
        incarnation: one,
        conn: conn(1),
        epoch: first,
        why: Close::Takeover,
    };
    assert_eq!(effects, [deliver("will/first", b"gone"), ended]);
    let session = log.replica.session(&key("client")).unwrap();
    assert_eq!(
        (session.incarnation, session.epoch, session.conn),
        (two, second, conn(2))
    );
    assert_eq!(log.replica.session_count(), 1);
    // another client ID is another session
    assert_eq!(log.claim(two, claim("other", 3, None)).0, []);
    assert_eq!(log.replica.session_count(), 2);
}

#[test]
fn a_claim_with_a_credential_that_is_gone_is_refused() {
    let (mut log, one) = Log::start();
    let (_, epoch) = log.claim(one, claim("client", 1, Some("will")));
    let mut other = claim("client", 2, None);
    other.credential = Credential::Password(id("pwregistry"));
    let refused = Outcome::Refused(Refusal::CredentialGone);
    assert_eq!(log.one(one, Command::Claim(other)), (vec![], refused));
    assert_eq!(log.replica.session(&key("client")).unwrap().epoch, epoch);
}

#[test]
fn a_release_fires_the_will_if_it_says_so() {
    for fire in [false, true] {
        let (mut log, one) = Log::start();
        let (_, epoch) = log.claim(one, claim("client", 1, Some("will")));
        let release = Command::Release {
            key: key("client"),
            epoch,
            fire,
        };
        let (effects, outcome) = log.one(one, release.clone());
        let fired = if fire {
            vec![deliver("will", b"gone")]
        } else {
            vec![]
        };
        assert_eq!((effects, outcome), (fired, Outcome::Done(log.position())));
        assert_eq!(log.replica.session_count(), 0);
        let stale = Outcome::Refused(Refusal::StaleEpoch);
        assert_eq!(log.one(one, release), (vec![], stale));
    }
}

#[test]
fn a_release_of_an_older_epoch_or_another_node_is_refused() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, first) = log.claim(one, claim("client", 1, Some("will")));
    let (_, second) = log.claim(one, claim("client", 2, Some("will")));
    let (_, other) = log.claim(one, claim("other", 3, Some("will")));
    let stale = Outcome::Refused(Refusal::StaleEpoch);
    for (incarnation, epoch) in [(one, first), (two, second), (one, other)] {
        let release = Command::Release {
            key: key("client"),
            epoch,
            fire: true,
        };
        assert_eq!(log.one(incarnation, release), (vec![], stale));
    }
    assert_eq!(log.replica.session(&key("client")).unwrap().epoch, second);
}

#[test]
fn a_will_that_stores_sets_the_value_at_qos_1_at_most() {
    let (mut log, one) = Log::start();
    let mut with_will = claim("client", 1, Some("will"));
    let will = with_will.will.take().unwrap();
    with_will.will = Some(
        Will {
            stores: true,
            ..(*will).clone()
        }
        .into(),
    );
    let (_, epoch) = log.claim(one, with_will);
    let release = Command::Release {
        key: key("client"),
        epoch,
        fire: true,
    };
    assert_eq!(log.one(one, release).0, [deliver("will", b"gone")]);
    let values = log.replica.values(space());
    let value = values.get(&will.topic).unwrap();
    assert_eq!(
        (&value.payload[..], value.qos),
        (&b"gone"[..], QoS::AtLeastOnce)
    );
}

#[test]
fn a_store_sets_and_clears_the_value_for_a_live_owner_only() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, epoch) = log.claim(one, claim("client", 1, None));
    let (effects, outcome) = log.one(one, store(epoch, "t", b"value"));
    assert_eq!(effects, [deliver("t", b"value")]);
    assert_eq!(outcome, Outcome::Done(log.position()));
    assert_eq!(
        (log.replica.stored_count(), log.replica.stored_bytes()),
        (1, 6)
    );

    let stale = Outcome::Refused(Refusal::StaleEpoch);
    assert_eq!(
        log.one(two, store(epoch, "t", b"other node")),
        (vec![], stale)
    );
    assert_eq!(
        log.one(one, store(Epoch::default(), "t", b"no epoch")),
        (vec![], stale)
    );
    let mut elsewhere = store(epoch, "t", b"other space");
    if let Command::Store(store) = &mut elsewhere {
        store.space = SpaceId::Broker(id("registry"));
    }
    assert_eq!(log.one(one, elsewhere), (vec![], stale));

    assert_eq!(log.one(one, store(epoch, "t", b"")).0, [deliver("t", b"")]);
    assert_eq!(
        (log.replica.stored_count(), log.replica.stored_bytes()),
        (0, 0)
    );
    log.claim(two, claim("client", 2, None));
    assert_eq!(
        log.one(one, store(epoch, "t", b"after takeover")),
        (vec![], stale)
    );
}

#[test]
fn interest_changes_once_for_each_node() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (effects, outcome) = log.one(one, add("a/#"));
    assert_eq!(effects, [interest("a/#", &[0])]);
    assert_eq!(outcome, Outcome::Done(log.position()));
    assert_eq!(log.one(one, add("a/#")), (vec![], Outcome::Unchanged));
    assert_eq!(log.one(two, add("a/#")).0, [interest("a/#", &[0, 1])]);
    assert_eq!(log.one(one, remove("a/#")).0, [interest("a/#", &[1])]);
    assert_eq!(log.one(one, remove("a/#")), (vec![], Outcome::Unchanged));
    assert_eq!(log.one(two, remove("a/#")).0, [interest("a/#", &[])]);
    assert_eq!(log.replica.interest().count(), 0);
}

#[test]
fn a_sweep_of_what_runs_or_is_unknown_changes_nothing() {
    let (mut log, one) = Log::start();
    log.claim(one, claim("client", 1, Some("will")));
    for incarnation in [one, Incarnation::default()] {
        let sweep = Command::Sweep { incarnation };
        assert_eq!(log.one(one, sweep), (vec![], Outcome::Unchanged));
    }
    assert_eq!(log.replica.session_count(), 1);
}

#[test]
fn a_sweep_fires_the_wills_and_then_ends_the_interest() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    log.claim(two, claim("z", 1, Some("will/1")));
    log.claim(two, claim("a", 2, Some("will/2")));
    log.claim(two, claim("m", 3, None));
    log.run(two, vec![add("b"), add("a")]);
    log.one(one, add("a"));
    assert_eq!(log.one(one, end(2, two)).0, [down(2, 1, two)]);
    assert_eq!(log.replica.session_count(), 3, "an end is O(1)");
    assert_eq!(log.replica.ended().collect::<Vec<_>>(), [two]);

    let (effects, outcome) = log.one(one, Command::Sweep { incarnation: two });
    assert_eq!(
        effects,
        [
            deliver("will/1", b"gone"),
            deliver("will/2", b"gone"),
            interest("a", &[0]),
            interest("b", &[])
        ]
    );
    assert_eq!(outcome, Outcome::Done(log.position()));
    assert_eq!(log.replica.ended().count(), 0);
    let again = Command::Sweep { incarnation: two };
    assert_eq!(log.one(one, again), (vec![], Outcome::Unchanged));
}

#[test]
fn a_sweep_is_bounded() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    for n in 0..SWEEP_BATCH as u32 + 10 {
        log.claim(two, claim(&format!("client-{n}"), n, Some("will")));
    }
    for n in 0..SWEEP_BATCH {
        log.one(two, add(&format!("filter/{n}")));
    }
    log.one(one, end(2, two));
    let mut sweep = || {
        let (effects, _) = log.one(one, Command::Sweep { incarnation: two });
        let wills = effects
            .iter()
            .filter(|e| matches!(e, Effect::Deliver(_)))
            .count();
        (wills, effects.len() - wills)
    };
    assert_eq!(sweep(), (SWEEP_BATCH, 0));
    assert_eq!(sweep(), (10, SWEEP_BATCH - 10));
    assert_eq!(sweep(), (0, 10));
    assert_eq!(
        (log.replica.session_count(), log.replica.interest_count()),
        (0, 0)
    );
    assert_eq!(log.replica.ended().count(), 0);
}

#[test]
fn a_claim_of_what_an_ended_incarnation_left_fires_the_will_once() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, epoch) = log.claim(two, claim("client", 1, Some("will")));
    log.claim(two, claim("other", 2, Some("other/will")));
    log.one(one, end(2, two));
    let (effects, _) = log.claim(one, claim("client", 3, Some("new/will")));
    let ended = Effect::Ended {
        incarnation: two,
        conn: conn(1),
        epoch,
        why: Close::Takeover,
    };
    assert_eq!(effects, [deliver("will", b"gone"), ended]);
    let (effects, _) = log.one(one, Command::Sweep { incarnation: two });
    assert_eq!(effects, [deliver("other/will", b"gone")]);
    assert!(log.replica.session(&key("client")).is_some());
}

#[test]
fn an_ended_incarnation_is_forgotten_when_others_took_all_that_it_left() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    log.claim(two, claim("client", 1, None));
    log.one(two, add("a"));
    let new = log.up(2, 2);
    assert_eq!(log.replica.ended().collect::<Vec<_>>(), [two]);
    log.claim(one, claim("client", 2, None));
    assert_eq!(log.replica.ended().count(), 1);
    let (effects, outcome) = log.one(new, add("a"));
    assert_eq!((effects, outcome), (vec![], Outcome::Done(log.position())));
    assert_eq!(log.replica.ended().count(), 0);
    let nodes = log
        .replica
        .interest_nodes(space(), &TopicFilter::new("a").unwrap());
    assert_eq!(nodes, NodeSet::of(NodeSlot(1)));
}

#[test]
fn a_clone_stays_as_it_was() {
    let (mut log, one) = Log::start();
    let (_, epoch) = log.claim(one, claim("client", 1, None));
    let view: Replica = log.replica.clone();
    let before = view.hash();
    log.one(one, store(epoch, "t", b"x"));
    log.one(one, add("a"));
    log.up(1, 2);
    assert_eq!(view.hash(), before);
    assert_ne!(log.replica.hash(), before);
    assert_eq!(
        Replica::read_snapshot(&view.write_snapshot())
            .unwrap()
            .hash(),
        before
    );
    let payload = log
        .replica
        .values(space())
        .iter()
        .next()
        .map(|(_, v)| v.payload.clone());
    assert_eq!(payload, Some(Bytes::from_static(b"x")));
}
