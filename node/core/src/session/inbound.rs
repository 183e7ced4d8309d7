//! The publishes of one client that have no answer yet, in the order in which they came.

use std::collections::VecDeque;

use crate::codec::PacketId;

/// Room for so many entries stays when nothing waits; more is given back, so that idle clients are small.
const KEEP: usize = 64;

/// What a publish waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing: it waits for those before it.
    Done,
    /// Every receiver's `taken`; the shard's name for the wait.
    Taken(u64),
    /// `Stored`; the ticket of the request.
    Stored(u64),
}

#[derive(Debug)]
struct Entry {
    /// Its packet identifier; none at QoS 0, which is here only while it is being stored.
    packet_id: Option<PacketId>,
    state: State,
}

/// A publish whose answer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered(pub Option<PacketId>);

/// The unanswered publishes of a client. PUBACKs leave in the order of the PUBLISHes [MQTT-4.6.0-2], so a later
/// one that is done waits for the earlier. The shard bounds them by `max_inbound_inflight`.
#[derive(Debug, Default)]
pub struct Inbound {
    waiting: VecDeque<Entry>,
    /// The number of the front entry.
    first: u32,
}

impl Inbound {
    /// How many have no answer.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether every publish is answered.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The number that the next one gets.
    pub fn next_number(&self) -> u32 {
        self.first.wrapping_add(self.waiting.len() as u32)
    }

    /// Adds a publish under [`Self::next_number`].
    pub fn push(&mut self, packet_id: Option<PacketId>, state: State) {
        self.waiting.push_back(Entry { packet_id, state });
    }

    /// The publish of this number waits for nothing but those before it.
    pub fn complete(&mut self, number: u32) {
        let at = number.wrapping_sub(self.first) as usize;
        if let Some(entry) = self.waiting.get_mut(at) {
            entry.state = State::Done;
        }
    }

    /// Takes the oldest publish out if its answer is due.
    pub fn pop(&mut self) -> Option<Answered> {
        if self.waiting.front()?.state != State::Done {
            return None;
        }
        let entry = self.waiting.pop_front()?;
        self.first = self.first.wrapping_add(1);
        if self.waiting.is_empty() && self.waiting.capacity() > KEEP {
            self.waiting = VecDeque::new();
        }
        Some(Answered(entry.packet_id))
    }

    /// Forgets all, and says what each waited for.
    pub fn clear(&mut self) -> impl Iterator<Item = State> {
        self.first = self.next_number();
        std::mem::take(&mut self.waiting)
            .into_iter()
            .map(|entry| entry.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_6_0_2_answers_leave_in_the_order_of_the_publishes() {
        let mut inbound = Inbound {
            first: u32::MAX,
            ..Inbound::default()
        };
        let ids: Vec<_> = (1..=3)
            .map(|id| PacketId::new(id).expect("not zero"))
            .collect();
        for id in &ids {
            inbound.push(Some(*id), State::Taken(7));
        }
        inbound.complete(u32::MAX.wrapping_add(1));
        assert_eq!(inbound.pop(), None);
        inbound.complete(u32::MAX);
        assert_eq!(inbound.pop(), Some(Answered(Some(ids[0]))));
        assert_eq!(inbound.pop(), Some(Answered(Some(ids[1]))));
        assert_eq!(inbound.pop(), None);
        assert_eq!(inbound.next_number(), 2);
    }
}
