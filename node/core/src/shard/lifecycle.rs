//! The life of a connection: login, its session's claim, its end.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    access,
    catalog::Credential,
    codec::{self, Connack, ConnackCode, Kind, QoS},
    ids::{ClientId, ConnId, Epoch, Principal, SessionKey},
    message::Request,
    reason::{Close, Drop},
    replica::{Claim, Will},
    session::State,
    shard::{
        Shard,
        connection::{Connection, Hold, Phase},
    },
    time::Moment,
    topic::TopicName,
};

/// A connection whose credential was proven; its CONNECT has been read.
#[derive(Clone, Debug)]
pub struct Login {
    /// Who it is.
    pub principal: Principal,
    /// What it proved it by.
    pub credential: Credential,
    /// Its client identifier; where the client gave none, one that is unique.
    pub client_id: ClientId,
    /// Its keep-alive; zero for none.
    pub keep_alive: Duration,
    /// What is published if it ends without DISCONNECT.
    pub will: Option<LoginWill>,
}

/// The will of a CONNECT, without rights yet.
#[derive(Clone, Debug)]
pub struct LoginWill {
    /// The topic as the client wrote it; a checked topic name.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// The QoS; 2 is taken as 1.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
}

impl Shard {
    /// Takes over a connection. Its CONNACK and all else wait for its session ([`crate::message::Event::Claimed`]).
    ///
    /// # Errors
    /// Why it is not taken: the node does not serve (CONNACK 3).
    pub fn handle_login(&mut self, now: Moment, login: Login) -> Result<ConnId, Close> {
        if self.draining {
            return Err(Close::Drain);
        }
        // A node that was paused may hear `Serve` when the lease that it came with has run out.
        if !self.serving || !self.may_flush(now) {
            return Err(Close::NoQuorum);
        }
        let will = login
            .will
            .and_then(|will| self.permitted(&login.principal, &will));
        let key = SessionKey {
            principal: login.principal,
            client_id: login.client_id,
        };
        let space = self.locals.enter(key.principal.space);
        // Zero turns it off (section 3.1.2.10); a dead peer is then left to TCP's own keep-alive.
        let silence = match login.keep_alive {
            Duration::ZERO => u32::MAX,
            asked => u32::try_from(asked.as_millis() * 3 / 2).unwrap_or(u32::MAX),
        };
        let connection = Connection::new(key.clone(), space, silence, now);
        let (slot, generation) = self.connections.insert(connection);
        let conn = ConnId {
            shard: self.id,
            slot,
            generation,
        };
        self.counters.connections += 1;
        let claim = Claim {
            key,
            conn,
            credential: login.credential,
            will,
        };
        self.request(Request::Claim { claim });
        Ok(conn)
    }

    /// The socket ended or failed. The slot stays until [`Self::forget`].
    pub fn handle_lost(&mut self, now: Moment, slot: u32, why: Close) {
        self.latest = now;
        self.close(now, slot, why);
        self.settle(now);
    }

    /// Why a connection is to be closed, if it is: at once if its write buffer is empty, else after that is written.
    pub fn closing(&self, slot: u32) -> Option<Close> {
        match self.connections.get(slot)?.phase {
            Phase::Closing(why) => Some(why),
            _ => None,
        }
    }

    /// The driver closed the socket; the slot is free from here on.
    pub fn forget(&mut self, slot: u32) {
        // Only a closing one has given back all that others count.
        self.close(self.latest, slot, Close::IoError);
        self.settle(self.latest);
        if let Some(mut connection) = self.connections.remove(slot) {
            connection.outbound.out().clear(&mut self.pool);
            self.locals.leave(connection.space);
            self.drained();
        }
    }

    /// A will that its owner may publish.
    fn permitted(&mut self, principal: &Principal, will: &LoginWill) -> Option<Arc<Will>> {
        let table = self.table.as_ref()?;
        let mut scratch = std::mem::take(&mut self.scratch.topic);
        let permit = access::publish(principal, &will.topic, &table.catalog, &mut scratch);
        let permitted = permit.filter(|_| will.payload.len() <= self.limits.max_payload);
        let resolved = permitted.and_then(|permit| {
            Some(Arc::new(Will {
                topic: TopicName::new(permit.topic()).ok()?,
                payload: will.payload.clone(),
                qos: will.qos.min(QoS::AtLeastOnce),
                stores: permit.keeps(will.retain),
            }))
        });
        self.scratch.topic = scratch;
        if resolved.is_none() {
            self.counters.denied_publish += 1;
        }
        resolved
    }

    pub(super) fn claimed(&mut self, now: Moment, conn: ConnId, epoch: Epoch) {
        if let Some((key, fire)) = self.orphans.remove(&conn) {
            self.request(Request::Release { key, epoch, fire });
            return;
        }
        let Some(connection) = self.connections.of_mut(conn.slot, conn.generation) else {
            return;
        };
        if connection.phase != Phase::Claiming {
            return;
        }
        connection.phase = Phase::Live;
        connection.epoch = epoch;
        connection.last_input = now;
        self.connack(now, conn.slot, ConnackCode::Accepted);
        self.outbox.resume.push(conn.slot);
        self.watch(now, conn.slot);
    }

    pub(super) fn claim_failed(&mut self, now: Moment, conn: ConnId, why: Close) {
        if self.orphans.remove(&conn).is_some() {
            return;
        }
        let waits = self
            .connections
            .of_mut(conn.slot, conn.generation)
            .is_some_and(|connection| connection.phase == Phase::Claiming);
        if waits {
            let code = match why {
                Close::AuthRevoked => ConnackCode::BadUsernameOrPassword,
                _ => ConnackCode::ServerUnavailable,
            };
            self.connack(now, conn.slot, code);
            self.end(now, conn.slot, why);
        }
    }

    pub(super) fn ended(&mut self, now: Moment, conn: ConnId, epoch: Epoch, why: Close) {
        let Some(connection) = self.connections.of_mut(conn.slot, conn.generation) else {
            return;
        };
        if connection.epoch != epoch {
            return;
        }
        match connection.phase {
            Phase::Live | Phase::Draining => self.lose(now, conn.slot, why),
            // What a drain left to be written must not go on beside the new owner (P5).
            Phase::Closing(_) => self.give_up_output(conn.slot),
            Phase::Claiming => {}
        }
    }

    /// Closes a connection that no longer owns its session, so that there is nothing to give up.
    pub(super) fn lose(&mut self, now: Moment, slot: u32, why: Close) {
        self.discard_output(slot);
        self.end(now, slot, why);
    }

    /// Closes a connection for a reason that arose here: its session is given up, and what was to be written is
    /// forgotten.
    pub(super) fn close(&mut self, now: Moment, slot: u32, why: Close) {
        if self
            .connections
            .get(slot)
            .is_none_or(Connection::is_closing)
        {
            return;
        }
        self.discard_output(slot);
        self.release_and_end(now, slot, why);
    }

    /// As [`Self::close`], but what is in the write buffer is still to be written.
    pub(super) fn release_and_end(&mut self, now: Moment, slot: u32, why: Close) {
        let generation = self.connections.generation(slot);
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let (key, epoch, fire) = (connection.key.clone(), connection.epoch, why.fires_will());
        if connection.phase == Phase::Claiming {
            let conn = ConnId {
                shard: self.id,
                slot,
                generation,
            };
            self.orphans.insert(conn, (key, fire));
        } else {
            self.request(Request::Release { key, epoch, fire });
        }
        self.end(now, slot, why);
    }

    /// Ends a connection whose session is given up or was lost: everyone that waits for it is answered, and all that
    /// waits for its sake is forgotten.
    pub(super) fn end(&mut self, now: Moment, slot: u32, why: Close) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.phase = Phase::Closing(why);
        if connection.hold == Hold::Link {
            self.waiting_for_link.retain(|waiting| *waiting != slot);
        }
        connection.hold = Hold::None;
        connection.paths = None;
        let held = std::mem::take(&mut connection.held);
        let lost = connection.outbound.clear_queue();
        self.counters.inflight_out -= connection.outbound.unacked() as u64;
        self.counters.inflight_in -= connection.inbound.len() as u64;
        let waits: Vec<State> = connection.inbound.clear().collect();
        Self::mark(&mut self.outbox, slot, connection);
        for wait in waits {
            match wait {
                State::Done => {}
                State::Taken(key) => drop(self.pendings.remove(key)),
                State::Stored(key) => drop(self.tickets.remove(key)),
            }
        }
        self.unsubscribe_all(slot);
        self.counters.dropped(Drop::SessionEnded, lost);
        self.counters.closed(why);
        self.counters.connections -= 1;
        self.timers.disarm(slot);
        for answer in held {
            self.give_answer(now, answer);
        }
        // A refusal or a drain leaves bytes to be written; a client that does not read them must not keep its slot.
        self.watch(now, slot);
    }

    pub(super) fn connack(&mut self, now: Moment, slot: u32, code: ConnackCode) {
        let connack = Connack {
            session_present: false,
            code,
        };
        self.answer(now, slot, Kind::Connack, |buffer| {
            codec::encode_connack(buffer, connack)
        });
    }

    fn discard_output(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.outbound.out().clear(&mut self.pool);
        }
    }
}
