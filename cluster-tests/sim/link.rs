//! Links between nodes: the core's own [`Link`] at both ends, and streams between them that break and hang.
//!
//! The receiving end does what the real one does: messages go to one shard, always the same for a sender,
//! answers to the shard that their token names.

use std::{collections::VecDeque, sync::Arc};

use mainstay_core::{
    control::LinkState,
    ids::{Incarnation, Index, NodeSlot, ShardId},
    peering::{Batch, Frame, Link, LinkError, Message, Received, Token},
    router::Peer,
    shard::{Origin, Parcel},
};

use crate::{
    agenda::Ev,
    node::{ControlIn, NodeNo, Part},
    params::SHARDS,
    plant::Plant,
    shard::Item,
    trace::note,
    world::World,
};

/// Counts the streams of a run.
pub(crate) type StreamNo = u64;

/// A silent stream is given up after so long.
const SILENCE: u64 = 2_500;

/// One end of a link.
#[derive(Debug)]
pub(crate) struct LinkEnd {
    pub(crate) peer: NodeNo,
    life: Incarnation,
    pub(crate) link: Link,
    stream: Option<StreamNo>,
    /// It stood once, and was reset since.
    was_reset: bool,
    told: Index,
    inbox: VecDeque<(StreamNo, Vec<u8>)>,
}

/// A standing stream; `ends[0]` sends in direction 0.
#[derive(Debug)]
pub(crate) struct Stream {
    ends: [NodeNo; 2],
    slots: [NodeSlot; 2],
    lives: [u64; 2],
    ways: [VecDeque<(u64, Vec<u8>)>; 2],
    last: [u64; 2],
    cut_since: Option<u64>,
}

impl World {
    pub(crate) fn set_links(&mut self, n: NodeNo, links: Option<(Incarnation, Vec<Peer>)>) {
        let (me, peers) = match links {
            Some((me, peers)) => (Some(me), peers),
            None => (None, Vec::new()),
        };
        let keeps = self.nodes[n].me == me;
        self.nodes[n].me = me;
        let mut before = std::mem::take(&mut self.nodes[n].links);
        for peer in peers {
            let Some(no) = self.nodes.iter().position(|node| node.id == peer.node) else {
                continue;
            };
            let known = before.remove(&peer.slot);
            let end = match known {
                Some(end) if keeps && end.life == peer.incarnation => end,
                other => {
                    if let Some(LinkEnd {
                        stream: Some(stream),
                        ..
                    }) = other
                    {
                        self.reset_stream(stream);
                    }
                    let Some(me) = me else { continue };
                    LinkEnd {
                        peer: no,
                        life: peer.incarnation,
                        link: Link::new(me, peer.incarnation),
                        stream: None,
                        was_reset: false,
                        told: Index(0),
                        inbox: VecDeque::new(),
                    }
                }
            };
            self.nodes[n].links.insert(peer.slot, end);
        }
        for end in before.into_values() {
            if let Some(stream) = end.stream {
                self.reset_stream(stream);
            }
        }
        self.dial_soon(n);
    }

    pub(crate) fn report(&mut self, n: NodeNo, index: Index) {
        for end in self.nodes[n].links.values_mut() {
            end.link.set_report(index);
        }
        self.wake_soon(n, Part::Links);
    }

    /// What a shard has for another node.
    pub(crate) fn push_to_peer(
        &mut self,
        n: NodeNo,
        slot: NodeSlot,
        life: Incarnation,
        parcel: Parcel,
    ) {
        match self.nodes[n].links.get_mut(&slot) {
            Some(end) if end.life == life => {
                end.link.push(parcel.batch, &parcel.taken);
                self.wake_soon(n, Part::Links);
            }
            _ => self.counts.add("parcel without a link"),
        }
    }

    pub(crate) fn dial_soon(&mut self, n: NodeNo) {
        if self.nodes[n].is_alive && self.nodes[n].dial_at.is_none() {
            let at = self.now + self.rng.within(1, 60);
            self.nodes[n].dial_at = Some(at);
            let life = self.nodes[n].life;
            self.agenda.put(at, Ev::Dial(n, life));
        }
    }

    pub(crate) fn dial(&mut self, n: NodeNo, life: u64) {
        if !self.nodes[n].is_alive || self.nodes[n].life != life {
            return;
        }
        self.nodes[n].dial_at = None;
        let down: Vec<_> = self.nodes[n]
            .links
            .iter()
            .filter(|(_, end)| end.stream.is_none())
            .map(|(slot, end)| (*slot, end.peer, end.life, end.was_reset))
            .collect();
        if self.is_running(n) {
            for (slot, peer, of, was_reset) in &down {
                let is_open = self.net.links_open(n, *peer, self.now)
                    && self.net.links_open(*peer, n, self.now);
                if !is_open {
                    continue;
                }
                if !self.nodes[*peer].is_alive {
                    if self.p.hint && *was_reset {
                        self.counts.add("connection refused");
                        self.tell_control(n, ControlIn::Link(*slot, *of, LinkState::Refused));
                    }
                } else if n < *peer && self.is_running(*peer) {
                    self.connect(n, *slot, *peer, *of);
                }
            }
        }
        if !down.is_empty() {
            self.dial_soon(n);
        }
    }

    /// Makes a stream if both ends mean each other's running lives; both hellos go through at once.
    fn connect(&mut self, a: NodeNo, slot_of_b: NodeSlot, b: NodeNo, life_of_b: Incarnation) {
        let life_of_a = self.nodes[a].me;
        let fits = |end: &LinkEnd| end.peer == a && Some(end.life) == life_of_a;
        if self.nodes[b].me != Some(life_of_b) {
            return;
        }
        let number = self.next_stream;
        let Some((slot_of_a, expects_b)) = self.nodes[b]
            .links
            .iter()
            .find_map(|(slot, end)| fits(end).then(|| (*slot, end.link.expects())))
        else {
            return;
        };
        let Some(end) = self.nodes[a].links.get_mut(&slot_of_b) else {
            return;
        };
        let expects_a = end.link.expects();
        let first = end.link.handle_connected(expects_b);
        end.stream = Some(number);
        end.inbox.clear();
        let Some(end) = self.nodes[b].links.get_mut(&slot_of_a) else {
            return;
        };
        let second = end.link.handle_connected(expects_a);
        let old = end.stream.replace(number);
        end.inbox.clear();
        if let Some(old) = old {
            self.streams.remove(&old);
        }
        for result in [first, second] {
            if let Err(error) = result {
                self.violate("link", &format!("n{a} and n{b} cannot resume: {error}"));
            }
        }
        self.next_stream += 1;
        let stream = Stream {
            ends: [a, b],
            slots: [slot_of_b, slot_of_a],
            lives: [self.nodes[a].life, self.nodes[b].life],
            ways: Default::default(),
            last: [0; 2],
            cut_since: None,
        };
        self.streams.insert(number, stream);
        self.counts.add("stream connected");
        note!(self, "n{a} and n{b} are connected by stream {number}");
        self.tell_control(
            a,
            ControlIn::Link(slot_of_b, life_of_b, LinkState::Connected),
        );
        if let Some(life) = life_of_a {
            self.tell_control(b, ControlIn::Link(slot_of_a, life, LinkState::Connected));
        }
        self.wake_soon(a, Part::Links);
        self.wake_soon(b, Part::Links);
    }

    pub(crate) fn step_links(&mut self, n: NodeNo) {
        let slots: Vec<NodeSlot> = self.nodes[n].links.keys().copied().collect();
        for slot in slots {
            while let Some((stream, bytes)) = self.nodes[n]
                .links
                .get_mut(&slot)
                .and_then(|end| end.inbox.pop_front())
            {
                self.receive(n, slot, stream, &bytes);
            }
            self.send_frames(n, slot);
        }
    }

    fn send_frames(&mut self, n: NodeNo, slot: NodeSlot) {
        let mut sent = 0;
        while sent < 8 && self.is_open(n) {
            let Some(end) = self.nodes[n].links.get_mut(&slot) else {
                return;
            };
            let Some(number) = end.stream else { return };
            // The real driver waits a moment for content that the ack could ride on; here that moment is none.
            let frame = end.link.poll_frame().or_else(|| {
                end.link.force_ack();
                end.link.poll_frame()
            });
            let Some(frame) = frame else {
                return;
            };
            self.check_lease(n, "a frame");
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            let wait = self.rng.within(0, self.p.delay) + self.extra_delay();
            let Some(stream) = self.streams.get_mut(&number) else {
                continue;
            };
            let way = usize::from(stream.ends[0] != n);
            let at = stream.last[way].max(self.now + wait);
            stream.last[way] = at;
            stream.ways[way].push_back((at, bytes));
            self.agenda.put(at, Ev::Frame(number, way));
            self.counts.add("frame sent");
            sent += 1;
        }
        if sent == 8 {
            self.wake_soon(n, Part::Links);
        }
    }

    fn extra_delay(&mut self) -> u64 {
        let slow = if self.net.slow_until > self.now {
            self.net.slow_by
        } else {
            0
        };
        self.rng.within(0, slow)
    }

    /// The front frame of a way arrives, unless the way is silent.
    pub(crate) fn frame_arrives(&mut self, number: StreamNo, way: usize) {
        let now = self.now;
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let (from, to) = (stream.ends[way], stream.ends[1 - way]);
        if stream.ways[way].front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        if !self.net.links_open(from, to, now) {
            self.agenda.put(now + 20, Ev::Frame(number, way));
            return;
        }
        let Some((_, bytes)) = stream.ways[way].pop_front() else {
            return;
        };
        let (slot, life) = (stream.slots[1 - way], stream.lives[1 - way]);
        let node = &mut self.nodes[to];
        if !node.is_alive || node.life != life {
            return;
        }
        if let Some(end) = node.links.get_mut(&slot)
            && end.stream == Some(number)
        {
            end.inbox.push_back((number, bytes));
            self.wake_soon(to, Part::Links);
        }
    }

    fn receive(&mut self, n: NodeNo, slot: NodeSlot, stream: StreamNo, bytes: &[u8]) {
        let Some(end) = self.nodes[n].links.get_mut(&slot) else {
            return;
        };
        if end.stream != Some(stream) {
            return;
        }
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(error) => return self.violate("link", &format!("a frame cannot be read: {error}")),
        };
        let received = end.link.handle_frame(frame);
        let (report, life) = (end.link.peer_report(), end.life);
        let is_news = report > end.told;
        end.told = report;
        match received {
            Ok(Received::New(batch, taken)) => self.hand_over(n, slot, life, batch, &taken),
            Ok(Received::Duplicate) => self.counts.add("frame came twice"),
            Ok(Received::Nothing) => {}
            Err(LinkError::OtherIncarnation { .. }) => {
                self.counts.add("frame of another incarnation");
                self.reset_stream(stream);
                return;
            }
            Err(error) => return self.violate("link", &format!("n{n}: {error}")),
        }
        if is_news {
            self.tell_control(n, ControlIn::Report(slot, life, report));
        }
        self.wake_soon(n, Part::Links);
    }

    fn hand_over(
        &mut self,
        n: NodeNo,
        slot: NodeSlot,
        life: Incarnation,
        batch: Batch,
        taken: &[Token],
    ) {
        let origin = Origin::Node(slot, life);
        let mut batch = batch;
        if self.plant == Some(Plant::TakenOnReceipt) {
            batch = self.answer_on_receipt(n, slot, life, &batch);
        }
        if !batch.is_empty() {
            let shard = usize::from(slot.0 % SHARDS);
            self.give(n, shard, Item::Batch(origin, batch));
        }
        for shard in 0..SHARDS {
            let own: Vec<Token> = taken
                .iter()
                .copied()
                .filter(|token| token.shard() == ShardId(shard))
                .collect();
            if !own.is_empty() {
                self.give(n, usize::from(shard), Item::Taken(origin, own));
            }
        }
    }

    /// The planted bug: the same messages without tokens, which are answered already.
    fn answer_on_receipt(
        &mut self,
        n: NodeNo,
        slot: NodeSlot,
        life: Incarnation,
        batch: &Batch,
    ) -> Batch {
        let (mut rest, mut taken) = (Batch::default(), Vec::new());
        for message in batch.iter().flatten() {
            taken.extend(message.token);
            rest.push(&Message {
                token: None,
                ..message
            });
        }
        let parcel = Parcel {
            batch: Batch::default(),
            taken,
        };
        self.push_to_peer(n, slot, life, parcel);
        rest
    }

    /// Breaks a stream; what is on it is lost, and each end notices in its own time.
    pub(crate) fn reset_stream(&mut self, number: StreamNo) {
        let Some(stream) = self.streams.remove(&number) else {
            return;
        };
        self.counts.add("stream reset");
        note!(self, "stream {number} of {:?} is reset", stream.ends);
        for (n, life) in stream.ends.into_iter().zip(stream.lives) {
            let at = self.now + self.rng.within(0, 30);
            self.agenda.put(at, Ev::StreamLost(n, life, number));
        }
    }

    pub(crate) fn stream_lost(&mut self, n: NodeNo, life: u64, number: StreamNo) {
        let node = &mut self.nodes[n];
        if !node.is_alive || node.life != life {
            return;
        }
        let lost = node
            .links
            .iter_mut()
            .find(|(_, end)| end.stream == Some(number));
        if let Some((slot, end)) = lost {
            end.stream = None;
            end.was_reset = true;
            end.inbox.clear();
            let input = ControlIn::Link(*slot, end.life, LinkState::Reset);
            self.tell_control(n, input);
            self.dial_soon(n);
        }
    }

    pub(crate) fn reset_streams_of(&mut self, n: NodeNo) {
        let all: Vec<StreamNo> = self.streams.keys().copied().collect();
        for number in all {
            if self
                .streams
                .get(&number)
                .is_some_and(|stream| stream.ends.contains(&n))
            {
                self.reset_stream(number);
            }
        }
    }

    /// Gives up streams that were silent for too long.
    pub(crate) fn watch_streams(&mut self) {
        let now = self.now;
        let mut silent = Vec::new();
        for (number, stream) in &mut self.streams {
            let [a, b] = stream.ends;
            let is_open = self.net.links_open(a, b, now) && self.net.links_open(b, a, now);
            let since = *stream.cut_since.get_or_insert(now);
            if is_open {
                stream.cut_since = None;
            } else if now - since >= SILENCE {
                silent.push(*number);
            }
        }
        for number in silent {
            self.counts.add("stream given up after silence");
            self.reset_stream(number);
        }
    }

    /// Whether the link has nothing that is not acknowledged.
    pub(crate) fn is_link_idle(end: &LinkEnd) -> bool {
        end.link.queued_bytes() == 0 && end.link.window_bytes() == 0 && end.inbox.is_empty()
    }

    pub(crate) fn payloads(batch: &Batch) -> Vec<Arc<[u8]>> {
        batch
            .iter()
            .flatten()
            .map(|message| Arc::from(message.payload))
            .collect()
    }
}
