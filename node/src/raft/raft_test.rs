//! Several nodes over loopback TLS: writes, leader changes, restarts, snapshots, founding, members.

use std::time::Duration;

use mainstay_core::{
    control::Renewal,
    ids::{Incarnation, Index, NodeId, NodeSet, Position},
    replica::Replica,
};

use super::{
    Role,
    testing::{DEADLINE, Node, Nodes, entry, eventually},
};

/// Elections of 400 to 600 ms and a lease: two of them pass in this time.
const TWO_ELECTIONS: Duration = Duration::from_millis(2_500);

fn split(nodes: &[Node], leader: NodeId) -> (usize, Vec<usize>) {
    let leads = nodes
        .iter()
        .position(|node| node.handle.node() == leader)
        .unwrap();
    (leads, (0..nodes.len()).filter(|at| *at != leads).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_when_the_leader_is_lost_and_it_catches_up_from_its_disk() {
    let cluster = Nodes::new("leader-lost", 3, |_| {}).await;
    let mut nodes: Vec<Option<Node>> = cluster.start_all().await.into_iter().map(Some).collect();
    let first = nodes[0].as_ref().unwrap().leader().await;
    let at = |nodes: &[Option<Node>], id| {
        nodes
            .iter()
            .position(|n| n.as_ref().is_some_and(|n| n.handle.node() == id))
            .unwrap()
    };
    let leads = at(&nodes, first);
    let follower = (leads + 1) % 3;
    let index = nodes[follower].as_ref().unwrap().write(1).await;
    for node in nodes.iter().flatten() {
        let seen = node.seen("the write", |seen| seen.index >= index).await;
        assert_eq!(seen.state.nodes().count(), 1);
    }

    nodes[leads].take().unwrap().stop().await;
    let left = nodes[follower].as_ref().unwrap();
    let index = left.write(2).await;
    assert!(
        left.leadership(|now| now.leader.is_some_and(|id| id != first))
            .await
            .term
            > 1
    );

    let back = cluster.start(leads).await;
    assert_eq!(back.handle.node(), first, "the folder keeps the node's id");
    let seen = back
        .seen("what it missed", |seen| seen.index >= index)
        .await;
    let other = left.seen("the write", |seen| seen.index >= index).await;
    let seven = |state: &Replica| state.node(NodeId(7)).unwrap().incarnation;
    assert_eq!(seven(&seen.state), seven(&other.state));
    back.stop().await;
    for node in nodes.into_iter().flatten() {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_come_back_after_they_ended_at_once() {
    let cluster = Nodes::new("all-at-once", 3, |_| {}).await;
    let nodes = cluster.start_all().await;
    let index = nodes[1].write(1).await;
    let home = nodes[0].file.home().cluster();
    for node in nodes {
        node.stop().await;
    }
    let nodes = cluster.start_all().await;
    for node in &nodes {
        node.seen("the log of before", |seen| seen.index >= index)
            .await;
        assert_eq!(node.file.home().cluster(), home);
    }
    assert!(nodes[2].write(2).await > index);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lags_behind_the_purged_log_gets_a_snapshot() {
    let cluster = Nodes::new("snapshot", 3, |settings| {
        settings.snapshot_entries = 20;
        settings.keep_entries = 0;
    })
    .await;
    let mut nodes = cluster.start_all().await;
    let leader = nodes[0].leader().await;
    let (leads, others) = split(&nodes, leader);
    nodes[leads].write(0).await;
    let lagging = others[0];
    nodes[lagging]
        .seen("the first write", |seen| seen.index > Index(0))
        .await;
    let behind = nodes.remove(lagging);
    let before = behind.handle.status().last_log;
    behind.stop().await;

    let mut last = Index(0);
    for nonce in 1..=60 {
        last = nodes[0].write(nonce).await;
    }
    eventually("the purge", || {
        nodes.iter().any(|n| {
            let status = n.handle.status();
            status.leader == Some(n.handle.node()) && status.purged > before
        })
    })
    .await;

    let back = cluster.start(lagging).await;
    let seen = back
        .seen("the snapshot", |seen| {
            seen.index >= last && seen.installs == 1
        })
        .await;
    let other = nodes[0]
        .seen("the last write", |seen| seen.index >= last)
        .await;
    assert_eq!(seen.state.hash(), other.state.hash());
    assert!(back.write(99).await > last);

    // What was installed is on its own disk too.
    back.stop().await;
    let back = cluster.start(lagging).await;
    let seen = back.seen("its own disk", |seen| seen.index >= last).await;
    assert_eq!(seen.installs, 0);
    back.stop().await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_of_three_asks_before_it_raises_the_term() {
    let cluster = Nodes::new("pre-vote", 3, |_| {}).await;
    let mut nodes = cluster.start_all().await;
    nodes[0].write(1).await;
    let alone = nodes.remove(0);
    for node in nodes {
        node.stop().await;
    }
    let term = alone.leadership(|now| now.leader.is_some()).await.term;
    for _ in 0..3 {
        alone
            .handle
            .shared
            .raft
            .trigger()
            .elect(true)
            .await
            .unwrap();
    }
    let mut leadership = alone.handle.leadership();
    let raised = tokio::time::timeout(TWO_ELECTIONS, leadership.wait_for(|now| now.term > term));
    assert!(
        raised.await.is_err(),
        "the term was raised without a majority's pre-vote"
    );
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_is_founded_only_when_the_last_seed_is_there() {
    let cluster = Nodes::new("late-third", 3, |_| {}).await;
    let (first, second) = (cluster.start(0).await, cluster.start(1).await);
    let mut leadership = first.handle.leadership();
    let founded = tokio::time::timeout(TWO_ELECTIONS, leadership.wait_for(|now| now.term > 0));
    assert!(founded.await.is_err(), "two of three founded a cluster");
    assert_eq!(first.file.home().cluster(), None);

    let third = cluster.start(2).await;
    third.leader().await;
    let index = third.write(1).await;
    for node in [&first, &second, &third] {
        node.seen("the write", |seen| seen.index >= index).await;
        assert!(
            node.handle
                .members()
                .iter()
                .all(|member| member.role == Role::Voter)
        );
        assert_eq!(node.file.home().cluster(), first.file.home().cluster());
        assert!(node.file.home().cluster().is_some());
    }
    for node in [first, second, third] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_serves_at_once_and_again_after_a_restart() {
    let cluster = Nodes::new("alone", 1, |_| {}).await;
    let node = cluster.start(0).await;
    let index = node.write(1).await;
    assert!(node.handle.read_index().await.unwrap() >= index);
    assert!(node.handle.confirm().await);
    node.stop().await;
    let node = cluster.start(0).await;
    node.seen("the replay", |seen| seen.index >= index).await;
    assert!(node.write(2).await > index);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fourth_node_learns_and_the_lowest_three_vote() {
    let cluster = Nodes::new("learner", 4, |_| {}).await;
    let nodes = cluster.start_all().await;
    nodes[3].leader().await;
    let index = nodes[3].write(1).await;
    nodes[3].seen("the write", |seen| seen.index >= index).await;
    let mut members = nodes[0].handle.members();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    let roles: Vec<Role> = members.iter().map(|member| member.role).collect();
    assert_eq!(
        roles,
        [Role::Voter, Role::Voter, Role::Voter, Role::Learner]
    );
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_read_renew_and_hand_the_leadership_over() {
    let cluster = Nodes::new("calls", 3, |_| {}).await;
    let nodes = cluster.start_all().await;
    let leader = nodes[0].leader().await;
    let (leads, others) = split(&nodes, leader);
    let (leads, follower) = (&nodes[leads], &nodes[others[0]]);
    let index = follower.write(1).await;
    assert!(follower.handle.read_index().await.unwrap() >= index);
    assert!(
        !follower.handle.confirm().await,
        "a follower confirms nothing"
    );
    assert!(leads.handle.confirm().await);
    let renewal = Renewal {
        node: follower.handle.node(),
        incarnation: Incarnation(Position(1)),
        applied: index,
        unreachable: NodeSet::default(),
    };
    assert!(follower.handle.renew(renewal).await);
    assert!(
        leads
            .handle
            .renew(Renewal {
                node: leader,
                ..renewal
            })
            .await
    );
    assert_eq!(leads.seen.borrow().renewals, 2);
    assert!(
        !follower
            .handle
            .renew(Renewal {
                node: leader,
                ..renewal
            })
            .await,
        "a false name"
    );

    assert!(leads.handle.transfer_leader().await);
    leads
        .leadership(|now| now.leader.is_some_and(|id| id != leader))
        .await;
    assert!(leads.write(2).await > index);
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_of_one_node_keep_their_order() {
    let cluster = Nodes::new("order", 3, |_| {}).await;
    let nodes = cluster.start_all().await;
    let leader = nodes[0].leader().await;
    let (leads, _) = split(&nodes, leader);
    nodes[leads].write(0).await;
    let mut asked = Vec::new();
    // No more than are queued: those that wait for room come in any order.
    for nonce in 1..30 {
        let handle = nodes[leads].handle.clone();
        let mut ask = Box::pin(async move { handle.propose(entry(nonce)).await });
        // Polled once, so that the proposals are queued in this order.
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(ask.as_mut().poll(cx))).await;
        assert!(first.is_pending());
        asked.push(tokio::spawn(ask));
    }
    let mut indexes = Vec::new();
    for ask in asked {
        let index = tokio::time::timeout(DEADLINE, ask).await.unwrap().unwrap();
        indexes.push(index.unwrap());
    }
    assert!(indexes.is_sorted(), "{indexes:?}");
    for node in nodes {
        node.stop().await;
    }
}
