//! The task around core's `Control`.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_core::{
    control::{Config, Control, Output},
    ids::{Incarnation, Index, NodeSlot},
    lease::Window,
    proposer,
    replica::{Outcome, Replica},
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    control::{
        Handle, Inbox,
        handle::Shared,
        inbox::{ASKS, Ask},
    },
    peer::{HubHandle, PeerEvent},
    raft,
    shards::Shards,
    tasks::{Kind, Tasks, clock},
};

/// Results of proposals, read indexes, renewals and confirmations on their way back; each of these is bounded by
/// core (lanes, one read round, one renewal, one confirmation), so the channel never holds its senders for long.
const RESULTS: usize = 256;
/// Inputs of one kind handled in one go before others get their turn.
const RUN: usize = 256;

/// Runs of applied entries handled in one go; each is up to 64 entries of 512 commands.
const APPLIED_RUNS: usize = 8;
/// A shard with a full mailbox is looked at again after this.
const CONGESTED_PAUSE: Duration = Duration::from_millis(2);

/// What the driver works with.
#[derive(Debug)]
pub struct Parts {
    /// Carries proposals, reads and renewals.
    pub raft: raft::Handle,
    /// The shards' mailboxes.
    pub shards: Shards,
    /// The links.
    pub hub: HubHandle,
    /// The shared end of the lease.
    pub window: Window,
    /// Where everything comes from.
    pub inbox: Inbox,
    /// Starts the requests' tasks …
    pub tasks: Tasks,
    /// … on this runtime.
    pub runtime: runtime::Handle,
}

/// A room that control cannot go on without is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{room} has ended")]
pub struct Ended {
    room: &'static str,
}

/// Owns core's control and its channels.
#[derive(Debug)]
pub struct Driver {
    control: Control,
    parts: Parts,
    asks: mpsc::Receiver<Ask>,
    results: mpsc::Receiver<Done>,
    result_sender: mpsc::Sender<Done>,
    shared: Arc<Shared>,
    drained: watch::Sender<bool>,
    grants: HashMap<u64, oneshot::Sender<bool>>,
    answers: HashMap<u64, oneshot::Sender<Option<Outcome>>>,
    readers: Vec<(Index, oneshot::Sender<Arc<Replica>>)>,
    install: Option<raft::PrepareInstall>,
    next: u64,
    state: Arc<Replica>,
    incarnation: Option<Incarnation>,
}

/// What became of something that the driver started.
#[derive(Debug)]
enum Done {
    Proposed(u64, Result<Index, proposer::ProposeError>),
    ReadIndex(u64, Option<Index>),
    Renewed(u64, bool),
    Confirmed(u64, bool),
    Reader(Option<Index>, oneshot::Sender<Arc<Replica>>),
}

impl Driver {
    /// Makes the driver and its handle; nothing happens before [`Driver::run`].
    pub fn new(config: Config, seed: u64, parts: Parts) -> (Self, Handle) {
        let (ask_sender, asks) = mpsc::channel(ASKS);
        let (result_sender, results) = mpsc::channel(RESULTS);
        let (drained, drained_receiver) = watch::channel(false);
        let state = Arc::new(Replica::default());
        let shared = Arc::new(Shared {
            window: parts.window.clone(),
            timing: config.timing,
            serving: AtomicBool::new(false),
            served_once: AtomicBool::new(false),
            state: ArcSwap::new(state.clone()),
            reports: [const { AtomicU64::new(0) }; NodeSlot::MAX as usize],
        });
        let handle = Handle {
            asks: ask_sender,
            shared: shared.clone(),
            drained: drained_receiver,
        };
        let control = Control::new(config, parts.window.clone(), seed);
        let driver = Self {
            control,
            parts,
            asks,
            results,
            result_sender,
            shared,
            drained,
            grants: HashMap::new(),
            answers: HashMap::new(),
            readers: Vec::new(),
            install: None,
            next: 0,
            state,
            incarnation: None,
        };
        (driver, handle)
    }

    /// Runs until the channels of the node's other rooms are closed.
    pub async fn run(mut self) -> Result<(), Ended> {
        let leadership = self.parts.inbox.leadership.borrow_and_update().clone();
        self.control
            .handle_leadership(clock::now(), leadership.leads, leadership.term);
        loop {
            self.carry_out().await;
            let wait = self.control.next_deadline().since(clock::now());
            // A deadline that is due gives a millisecond to whatever else is ready.
            let mut wait = wait.max(Duration::from_millis(1));
            // Deliveries wait in the log while a shard is far behind; the lease ends a node that stays so.
            let has_room = !self.parts.shards.is_congested();
            if !has_room {
                wait = wait.min(CONGESTED_PAUSE);
            }
            let inbox = &mut self.parts.inbox;
            let mut applied = Vec::new();
            let mut requests = Vec::new();
            let mut peers = Vec::new();
            // No branch is preferred: whichever is always ready would starve renewals, reports or a drain.
            tokio::select! {
                count = inbox.applied.recv_many(&mut applied, APPLIED_RUNS), if has_room => {
                    if count == 0 { return self.ended("the consensus") }
                    self.handle_applied(applied);
                }
                Some(result) = self.results.recv() => self.handle_result(result),
                changed = inbox.leadership.changed() => {
                    if changed.is_err() { return self.ended("the consensus") }
                    let now = inbox.leadership.borrow_and_update().clone();
                    self.control.handle_leadership(clock::now(), now.leads, now.term);
                }
                Some((renewal, reply)) = inbox.renewals.recv() => {
                    let name = self.name();
                    self.grants.insert(name, reply);
                    self.control.handle_renewal(clock::now(), name, renewal);
                }
                count = inbox.requests.recv_many(&mut requests, RUN), if !inbox.requests.is_closed() => {
                    if count == 0 { return self.ended("a shard") }
                    let now = clock::now();
                    for (shard, request) in requests {
                        self.control.handle_request(now, shard, request);
                    }
                }
                count = inbox.peers.recv_many(&mut peers, RUN) => {
                    if count == 0 { return self.ended("the owner of the links") }
                    for event in peers {
                        self.handle_peer(event);
                    }
                }
                Some(install) = inbox.installs.recv() => {
                    self.install = Some(install);
                    self.control.handle_snapshot_request(clock::now());
                }
                Some(ask) = self.asks.recv() => self.handle_ask(ask),
                () = tokio::time::sleep(wait) => {}
            }
            // Leases are measured by what is committed, also where this node's own apply lags. At least each
            // renewal comes through here, so it is looked at some times within `stall_after`.
            self.control.handle_committed(self.parts.raft.committed());
            self.control.handle_tick(clock::now());
        }
    }

    /// A closed channel is the end of its room: expected when the node stops, a failure at any other time.
    fn ended(&self, room: &'static str) -> Result<(), Ended> {
        if self.parts.tasks.stop().is_cancelled() {
            Ok(())
        } else {
            Err(Ended { room })
        }
    }

    fn name(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn handle_applied(&mut self, runs: Vec<raft::AppliedRun>) {
        for mut run in runs {
            run.state.pass(run.index);
            self.state = Arc::new(run.state.clone());
            self.control
                .handle_applied(clock::now(), run.applied, run.state);
        }
        self.shared.state.store(self.state.clone());
        let applied = self.state.applied();
        let state = &self.state;
        for (_, reader) in self.readers.extract_if(.., |(index, _)| *index <= applied) {
            // A reader that went away needs no answer.
            let _gone = reader.send(state.clone());
        }
    }

    fn handle_result(&mut self, result: Done) {
        let now = clock::now();
        match result {
            Done::Proposed(ticket, outcome) => self.control.handle_proposed(now, ticket, outcome),
            Done::ReadIndex(ticket, index) => self.control.handle_read_index(now, ticket, index),
            Done::Renewed(ticket, granted) => self.control.handle_renewed(now, ticket, granted),
            Done::Confirmed(ticket, yes) => self.control.handle_confirmed(now, ticket, yes),
            Done::Reader(Some(index), reader) => {
                if index <= self.state.applied() {
                    let _gone = reader.send(self.state.clone());
                } else {
                    self.readers.push((index, reader));
                }
            }
            Done::Reader(None, _) => {}
        }
    }

    fn handle_peer(&mut self, event: PeerEvent) {
        let now = clock::now();
        match event {
            PeerEvent::Report {
                slot,
                incarnation,
                index,
            } => {
                self.shared.reports[usize::from(slot.0)].store(index.0, Ordering::Relaxed);
                self.control.handle_report(now, slot, incarnation, index);
            }
            PeerEvent::Link {
                slot,
                incarnation,
                state,
            } => {
                self.control.handle_link(now, slot, incarnation, state);
            }
        }
    }

    fn handle_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Propose { command, reply } => {
                let name = self.name();
                if self.control.handle_command(clock::now(), name, command) {
                    self.answers.insert(name, reply);
                } else {
                    // A caller that went away needs no answer.
                    let _gone = reply.send(None);
                }
            }
            Ask::Read { reply } => {
                let raft = self.parts.raft.clone();
                self.start(async move { Done::Reader(raft.read_index().await, reply) });
            }
            Ask::Drain => self.control.handle_drain(clock::now()),
        }
    }

    async fn carry_out(&mut self) {
        while let Some(output) = self.control.poll_output() {
            self.carry_out_one(output).await;
        }
        if self.control.incarnation() != self.incarnation {
            self.incarnation = self.control.incarnation();
            // Commands of the ended incarnation are never answered; their callers must not wait for it.
            self.answers.clear();
            if let Some(incarnation) = self.incarnation {
                self.parts.raft.set_incarnation(incarnation);
            }
        }
        if self.control.may_install()
            && let Some(install) = self.install.take()
        {
            // The state machine waits for this; if it is gone, the node is ending.
            let _gone = install.answer.send(());
        }
        let serving = self.control.is_serving(clock::now());
        self.shared.serving.store(serving, Ordering::Relaxed);
        if serving {
            self.shared.served_once.store(true, Ordering::Relaxed);
        }
    }

    async fn carry_out_one(&mut self, output: Output) {
        let raft = self.parts.raft.clone();
        match output {
            Output::Shard(shard, event) => self.parts.shards.push_event(shard, event),
            Output::Propose { ticket, entry } => {
                // Handed over here, in order; only its fate is awaited in a task.
                let fate = raft.propose(&entry);
                self.start(async move {
                    let fate = fate.await.map_err(|error| match error {
                        raft::ProposeError::NotLeader => proposer::ProposeError::NotLeader,
                        raft::ProposeError::Unknown => proposer::ProposeError::Unknown,
                    });
                    Done::Proposed(ticket, fate)
                });
            }
            Output::ReadIndex { ticket } => {
                self.start(async move { Done::ReadIndex(ticket, raft.read_index().await) });
            }
            Output::Renew { ticket, renewal } => {
                self.start(async move { Done::Renewed(ticket, raft.renew(renewal).await) });
            }
            Output::Confirm { ticket } => {
                self.start(async move { Done::Confirmed(ticket, raft.confirm().await) });
            }
            Output::Grant { reply, granted } => {
                if let Some(reply) = self.grants.remove(&reply) {
                    let _gone = reply.send(granted);
                }
            }
            Output::Answer { reply, outcome } => {
                if let Some(reply) = self.answers.remove(&reply) {
                    let _gone = reply.send(Some(outcome));
                }
            }
            Output::Links { links } => self.parts.hub.set_links(links).await,
            Output::Report(index) => self.parts.hub.report(index),
            Output::Drained => {
                self.drained.send_replace(true);
            }
        }
    }

    fn start(&self, work: impl Future<Output = Done> + Send + 'static) {
        let results = self.result_sender.clone();
        self.parts
            .tasks
            .spawn_on(&self.parts.runtime, Kind::Request, async move {
                // The driver is gone only when the node is.
                let _gone = results.send(work.await).await;
                Ok::<(), std::convert::Infallible>(())
            });
    }
}
