//! Whom the answer to a command is for, and Claims until they have theirs.
//!
//! Part of a running incarnation. A Claim without an answer for `fence_after` fails at the client; should it
//! be applied later, the session is given up again.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    control::{Desk, local::Generation},
    ids::{ConnId, Epoch, Incarnation, SessionKey, ShardId},
    message::{Event, Ticket},
    proposer::Full,
    reason::Close,
    replica::{Claim, Command, Lane, Outcome, Refusal, Store},
    time::Moment,
};

/// Whom the answer to a command is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tag {
    /// A connection, by the number of its Claim.
    Claim(u64),
    /// A connection's message.
    Store { shard: ShardId, ticket: Ticket },
    /// Whoever waits for this interest.
    Interest(Generation),
    /// The leader's duty to end it.
    EndNode(Incarnation),
    /// The leader's duty to sweep it.
    Sweep(Incarnation),
    /// A command of the node's own doors.
    Command(u64),
    /// Nobody.
    Unanswered,
}

/// Claims without an answer; as many as fit the proposer's lanes.
#[derive(Debug, Default)]
pub(super) struct Claims {
    waiting: BTreeMap<u64, Waiting>,
    deadlines: VecDeque<(Moment, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    conn: ConnId,
    key: SessionKey,
    has_failed: bool,
}

impl Claims {
    pub(super) fn add(&mut self, desk: &mut Desk<'_>, claim: Claim) {
        let (conn, key) = (claim.conn, claim.key.clone());
        let id = self.next;
        if desk
            .proposer
            .submit(Lane::Work, Command::Claim(claim), Tag::Claim(id))
            .is_err()
        {
            desk.tell(
                conn.shard,
                Event::ClaimFailed {
                    conn,
                    why: Close::NoQuorum,
                },
            );
            return;
        }
        self.next += 1;
        self.waiting.insert(
            id,
            Waiting {
                conn,
                key,
                has_failed: false,
            },
        );
        self.deadlines
            .push_back((desk.now + desk.config.timing.fence_after, id));
    }

    /// # Errors
    /// [`Full`]: a session that nobody has could not be given up.
    pub(super) fn handle_outcome(
        &mut self,
        desk: &mut Desk<'_>,
        id: u64,
        outcome: Outcome,
    ) -> Result<(), Full> {
        let Some(Waiting {
            conn,
            key,
            has_failed,
        }) = self.waiting.remove(&id)
        else {
            return Ok(());
        };
        match (outcome, has_failed) {
            (Outcome::Done(position), false) => {
                desk.tell(
                    conn.shard,
                    Event::Claimed {
                        conn,
                        epoch: Epoch(position),
                    },
                );
            }
            (Outcome::Done(position), true) => {
                // Its client was told that it failed, so it never had a will either.
                let command = Command::Release {
                    key,
                    epoch: Epoch(position),
                    fire: false,
                };
                desk.owe(Lane::Work, command, Tag::Unanswered)?;
            }
            (_, true) => {}
            (Outcome::Refused(Refusal::CredentialGone), false) => {
                desk.tell(
                    conn.shard,
                    Event::ClaimFailed {
                        conn,
                        why: Close::AuthRevoked,
                    },
                );
            }
            (Outcome::Refused(_) | Outcome::Unchanged, false) => {
                desk.tell(
                    conn.shard,
                    Event::ClaimFailed {
                        conn,
                        why: Close::NoQuorum,
                    },
                );
            }
        }
        Ok(())
    }

    /// Fails those that wait too long.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>) {
        while let Some((_, id)) = self.deadlines.pop_front_if(|(at, _)| *at <= desk.now) {
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.has_failed = true;
                let conn = waiting.conn;
                desk.tell(
                    conn.shard,
                    Event::ClaimFailed {
                        conn,
                        why: Close::NoQuorum,
                    },
                );
            }
        }
        let waiting = &self.waiting;
        while self
            .deadlines
            .pop_front_if(|(_, id)| !waiting.contains_key(id))
            .is_some()
        {}
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.deadlines.front().map(|(at, _)| *at)
    }
}

/// Proposes a message to a topic that stores; refuses it if the lanes are full.
pub(super) fn store(desk: &mut Desk<'_>, shard: ShardId, ticket: Ticket, store: Store) {
    let tag = Tag::Store { shard, ticket };
    if desk
        .proposer
        .submit(Lane::Work, Command::Store(store), tag)
        .is_err()
    {
        let outcome = Outcome::Refused(Refusal::Overloaded);
        desk.tell(shard, Event::Stored { ticket, outcome });
    }
}
