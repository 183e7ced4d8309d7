//! The leader's duties, on the outputs and the log.

use super::{testing::*, *};
use crate::replica::Command;

fn ends(world: &World) -> usize {
    world
        .commands()
        .iter()
        .filter(|c| matches!(c, Command::EndNode { .. }))
        .count()
}

#[test]
fn a_node_without_a_lease_for_down_after_is_ended_once_and_swept() {
    let mut world = World::serving(3, None);
    world.subscribe(2, 0, 1, &["a"]);
    let gone = world.incarnation(2);
    world.nodes[2].does.renew = false;
    world.nodes[2].does.apply = false;
    world.nodes[2].does.propose = false;
    world.advance(4_400);
    assert_eq!(ends(&world), 0);
    world.advance(400);
    assert_eq!(ends(&world), 1);
    let state = &world.nodes[0].replica;
    assert!(state.up().0.count_ones() == 2 && state.ended().count() == 0);
    assert_eq!(state.interest_count(), 0, "what it left is swept");
    let sweeps = world.commands();
    let sweeps = sweeps
        .iter()
        .filter(|c| matches!(c, Command::Sweep { incarnation } if *incarnation == gone));
    assert_eq!(sweeps.count(), 1);
    let last = world.nodes[0]
        .outputs
        .iter()
        .rev()
        .find_map(|output| match output {
            Output::Links {
                links: Some((_, peers)),
            } => Some(peers.len()),
            _ => None,
        });
    assert_eq!(last, Some(1));
}

#[test]
fn a_new_leader_takes_up_what_the_old_one_did_not_finish() {
    let mut world = World::serving(3, None);
    world.subscribe(2, 0, 1, &["a"]);
    world.nodes[0].does.propose = false;
    for n in [2, 0] {
        world.nodes[n].does.renew = false;
    }
    world.nodes[2].does.propose = false;
    world.nodes[2].does.apply = false;
    world.advance(2_000);
    let now = world.now;
    world.nodes[0].control.handle_leadership(now, false, 2);
    world.nodes[1].control.handle_leadership(now, true, 2);
    world.leader = 1;
    world.nodes[0].does.renew = true;
    world.settle();
    world.advance(4_400);
    assert_eq!(ends(&world), 0, "counted anew from the election");
    world.advance(500);
    assert_eq!(ends(&world), 1);
    assert_eq!(world.nodes[1].replica.interest_count(), 0);
}

#[test]
fn a_refused_connection_ends_that_incarnation_early_also_if_seen_before_the_election() {
    let mut world = World::serving(3, None);
    let now = world.now;
    let (slot, incarnation) = (world.slot(0), world.incarnation(0));
    world.nodes[0].does.apply = false;
    world.nodes[0].does.propose = false;
    for state in [LinkState::Connected, LinkState::Refused] {
        world.nodes[1]
            .control
            .handle_link(now, slot, incarnation, state);
    }
    world.settle();
    assert_eq!(ends(&world), 0, "only the leader ends");
    world.leader = 1;
    world.nodes[1].control.handle_leadership(now, true, 2);
    world.settle();
    assert_eq!(ends(&world), 1);
}

/// Whether a leader that no majority confirms still serves after a fence.
fn lone_leader_serves(plant: Option<Plant>) -> bool {
    let mut world = World::serving(3, plant);
    world.has_majority = false;
    world.advance(3_001);
    world.nodes[0].control.is_serving(world.now)
}

#[test]
fn a_leader_without_a_majority_loses_its_own_lease() {
    assert!(!lone_leader_serves(None));
    assert!(
        lone_leader_serves(Some(Plant::UnconfirmedLeader)),
        "planted bug not seen"
    );
}

#[test]
fn peers_that_could_not_be_reached_for_down_after_are_in_the_renewal() {
    let mut world = World::new(2);
    world.nodes[0].does.link = false;
    world.start();
    world.advance(10_000);
    let unreachable = |world: &World, n: usize| {
        world.nodes[n]
            .outputs
            .iter()
            .rev()
            .find_map(|output| match output {
                Output::Renew { renewal, .. } => Some(renewal.unreachable),
                _ => None,
            })
    };
    assert_eq!(unreachable(&world, 1), Some(Default::default()));
    assert!(
        unreachable(&world, 0).unwrap().contains(world.slot(1)),
        "its own link never stood"
    );
}
