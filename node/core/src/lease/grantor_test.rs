//! The leader's book on its list of verdicts.

use super::grantor::*;
use crate::{
    ids::{Incarnation, Index, NodeId, NodeSet, NodeSlot, Position},
    time::{Moment, Timing},
};

fn incarnation(n: u64) -> Incarnation {
    Incarnation(Position::new(Index(n), 0))
}

/// Nodes 1 to 3 in slots 0 to 2 with incarnations at 11 to 13; node 1 leads since 1 000.
fn leader() -> Grantor {
    let mut grantor = Grantor::new(NodeId(1), Timing::default());
    grantor.handle_nodes(Moment(0), up(&[1, 2, 3]));
    grantor.became_leader(Moment(1_000), 5);
    grantor
}

fn up(nodes: &[u8]) -> impl Iterator<Item = (NodeId, NodeSlot, Incarnation)> + use<'_> {
    nodes.iter().map(|n| {
        (
            NodeId((*n).into()),
            NodeSlot(n - 1),
            incarnation(10 + u64::from(*n)),
        )
    })
}

fn ask(node: u64) -> Ask {
    Ask {
        node: NodeId(node),
        incarnation: incarnation(10 + node),
        applied: Index(100),
        unreachable: NodeSet::default(),
    }
}

fn drain(grantor: &mut Grantor, now: u64) -> Vec<Verdict> {
    std::iter::from_fn(|| grantor.poll(Moment(now))).collect()
}

fn grant(reply: u64, granted: bool) -> Verdict {
    Verdict::Grant { reply, granted }
}

fn renew(grantor: &mut Grantor, now: u64, ask: Ask) -> bool {
    grantor.handle_renewal(Moment(now), now, ask);
    for verdict in drain(grantor, now) {
        if let Verdict::Confirm { ticket } = verdict {
            grantor.handle_confirmed(Moment(now), ticket, true);
        }
    }
    drain(grantor, now).contains(&grant(now, true))
}

#[test]
fn a_renewal_waits_for_a_round_that_began_after_it_came() {
    let mut grantor = leader();
    grantor.handle_renewal(Moment(1_100), 1, ask(1));
    assert_eq!(drain(&mut grantor, 1_100), [Verdict::Confirm { ticket: 1 }]);
    grantor.handle_renewal(Moment(1_110), 2, ask(2));
    grantor.handle_renewal(Moment(1_110), 3, ask(3));
    assert_eq!(drain(&mut grantor, 1_110), [], "one round at a time");
    grantor.handle_confirmed(Moment(1_120), 1, true);
    assert_eq!(
        drain(&mut grantor, 1_120),
        [grant(1, true), Verdict::Confirm { ticket: 2 }]
    );
    grantor.handle_confirmed(Moment(1_130), 2, false);
    assert_eq!(
        drain(&mut grantor, 1_130),
        [grant(2, false), grant(3, false)]
    );
}

/// Whether a leader that nobody confirms grants a lease.
fn lone_leader_grants(grantor: &mut Grantor) -> bool {
    grantor.handle_renewal(Moment(1_100), 1, ask(1));
    let mut verdicts = drain(grantor, 1_100);
    verdicts.extend(drain(grantor, 1_700));
    verdicts.contains(&grant(1, true))
}

#[test]
fn a_leader_without_a_majority_grants_nothing() {
    let mut grantor = leader();
    assert!(!lone_leader_grants(&mut grantor));
    let mut grantor = leader();
    grantor.plant_unconfirmed();
    assert!(lone_leader_grants(&mut grantor), "planted bug not seen");
}

#[test]
fn a_round_without_an_answer_is_asked_again_and_its_late_answer_counts() {
    let mut grantor = leader();
    grantor.handle_renewal(Moment(1_100), 1, ask(1));
    assert_eq!(drain(&mut grantor, 1_100), [Verdict::Confirm { ticket: 1 }]);
    assert_eq!(drain(&mut grantor, 1_599), []);
    assert_eq!(drain(&mut grantor, 1_600), [Verdict::Confirm { ticket: 2 }]);
    grantor.handle_renewal(Moment(1_610), 2, ask(2));
    grantor.handle_confirmed(Moment(1_620), 1, true);
    assert_eq!(drain(&mut grantor, 1_620), [grant(1, true)]);
    grantor.handle_confirmed(Moment(1_630), 2, true);
    assert_eq!(drain(&mut grantor, 1_630), [Verdict::Confirm { ticket: 3 }]);
}

#[test]
fn no_lease_for_another_incarnation_a_node_that_is_down_or_a_follower_asked() {
    let mut grantor = leader();
    assert!(!renew(
        &mut grantor,
        1_100,
        Ask {
            incarnation: incarnation(5),
            ..ask(1)
        }
    ));
    grantor.handle_nodes(Moment(1_200), up(&[1, 2]));
    assert!(!renew(&mut grantor, 1_300, ask(3)));
    grantor.handle_renewal(Moment(1_400), 7, ask(1));
    let _ = grantor.poll(Moment(1_400));
    grantor.lost_leadership();
    assert_eq!(drain(&mut grantor, 1_400), [grant(7, false)]);
    assert!(!renew(&mut grantor, 1_500, ask(1)));
}

#[test]
fn a_node_that_lags_behind_what_was_committed_stall_after_ago_gets_no_lease() {
    let mut grantor = leader();
    for t in 0..60 {
        grantor.handle_applied(Moment(1_000 + t * 100), Index(100 + t));
    }
    // At 6 900 the sample of about 4 900 (139) counts.
    assert!(renew(
        &mut grantor,
        6_900,
        Ask {
            applied: Index(139),
            ..ask(1)
        }
    ));
    assert!(!renew(
        &mut grantor,
        6_900,
        Ask {
            applied: Index(130),
            ..ask(2)
        }
    ));
}

#[test]
fn a_leader_whose_own_replica_lags_behind_what_is_committed_gets_no_lease() {
    let mut grantor = leader();
    grantor.handle_committed(Index(100));
    grantor.handle_applied(Moment(1_000), Index(100));
    grantor.handle_committed(Index(101));
    grantor.handle_applied(Moment(1_200), Index(100));
    assert!(renew(&mut grantor, 3_100, ask(1)));
    assert!(!renew(&mut grantor, 3_300, ask(1)));
}

#[test]
fn a_new_leader_requires_what_was_committed_when_it_was_elected() {
    let mut grantor = leader();
    grantor.handle_committed(Index(101));
    grantor.handle_committed(Index(150));
    assert!(!renew(&mut grantor, 1_100, ask(2)));
    let caught_up = Ask {
        applied: Index(101),
        ..ask(2)
    };
    assert!(renew(&mut grantor, 1_200, caught_up));
}

#[test]
fn due_when_unanswered_for_down_after_counted_anew_from_the_election() {
    let mut grantor = leader();
    assert!(renew(&mut grantor, 1_100, ask(1)) && renew(&mut grantor, 3_000, ask(2)));
    assert_eq!(grantor.due(Moment(5_499)), []);
    assert_eq!(grantor.due(Moment(5_500)), [(NodeId(3), incarnation(13))]);
    assert_eq!(grantor.due(Moment(5_600)).len(), 2);
    grantor.became_leader(Moment(6_000), 6);
    assert_eq!(grantor.due(Moment(10_499)), []);
    assert_eq!(grantor.due(Moment(10_500)).len(), 3);
}

#[test]
fn a_node_that_came_up_lately_is_given_its_time() {
    let mut grantor = leader();
    grantor.handle_nodes(Moment(5_000), up(&[1, 2, 3, 4]));
    assert!(
        grantor
            .due(Moment(5_500))
            .iter()
            .all(|(node, _)| *node != NodeId(4))
    );
}

#[test]
fn a_node_found_due_gets_no_lease_while_its_end_is_on_its_way() {
    let mut grantor = leader();
    assert!(renew(&mut grantor, 1_100, ask(2)));
    grantor.handle_hint(incarnation(12), true);
    assert_eq!(grantor.due(Moment(1_200)), [(NodeId(2), incarnation(12))]);
    assert!(!renew(&mut grantor, 1_300, ask(2)));
}

#[test]
fn a_refused_connection_counts_for_that_incarnation_and_never_for_oneself() {
    let mut grantor = leader();
    grantor.handle_hint(incarnation(99), true);
    grantor.handle_hint(incarnation(11), true);
    assert_eq!(grantor.due(Moment(1_100)), []);
    grantor.handle_hint(incarnation(13), true);
    grantor.handle_hint(incarnation(13), false);
    assert_eq!(grantor.due(Moment(1_100)), []);
}

#[test]
fn of_a_pair_that_cannot_reach_each_other_the_one_with_fewer_links_ends() {
    let cut = |slots: &[u8]| {
        slots
            .iter()
            .fold(NodeSet::default(), |s, n| s.with(NodeSlot(*n)))
    };
    let mut grantor = leader();
    renew(
        &mut grantor,
        1_100,
        Ask {
            unreachable: cut(&[1]),
            ..ask(1)
        },
    );
    assert_eq!(
        grantor.due(Moment(1_100)),
        [],
        "only one of them reports it"
    );
    renew(
        &mut grantor,
        1_200,
        Ask {
            unreachable: cut(&[0]),
            ..ask(2)
        },
    );
    assert_eq!(
        grantor.due(Moment(1_200)),
        [(NodeId(2), incarnation(12))],
        "equal: higher slot"
    );

    let mut grantor = leader();
    renew(
        &mut grantor,
        1_100,
        Ask {
            unreachable: cut(&[1, 2]),
            ..ask(1)
        },
    );
    renew(
        &mut grantor,
        1_100,
        Ask {
            unreachable: cut(&[0]),
            ..ask(2)
        },
    );
    assert_eq!(
        grantor.due(Moment(1_100)),
        [(NodeId(1), incarnation(11))],
        "fewer links"
    );
}
