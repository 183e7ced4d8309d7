//! What goes wrong, and when: cuts, resets, crashes, pauses, lag, changes of leader.

use crate::{
    agenda::Ev,
    net::Lines,
    node::{ControlIn, NodeNo, Part},
    params::SHARDS,
    trace::note,
    world::World,
};

impl World {
    /// Lets a fault begin, and plans the next.
    pub(crate) fn fault(&mut self) {
        if self.is_healing || self.p.fault_every == 0 {
            return;
        }
        let next = self.now + self.rng.within(50, self.p.fault_every);
        self.agenda.put(next, Ev::Fault);
        match self.rng.below(22) {
            0..=2 => self.isolate(Lines::Both),
            3 => self.isolate(Lines::Links),
            4 => self.isolate(Lines::Raft),
            5..=6 => self.cut_pair(),
            7..=8 => self.reset_some_stream(),
            9..=11 => self.crash_some(),
            12..=13 => self.pause_some(),
            14..=15 => self.stall_some(),
            16 => {
                self.counts.add("fault: leader changes");
                self.raft.change_leader = true;
            }
            17..=18 => self.lag_some(),
            19 => self.slow_network(),
            20 => self.drain_some(),
            _ => self.rare(),
        }
    }

    fn span(&mut self) -> u64 {
        match self.rng.below(4) {
            0 => self.rng.within(20, 300),
            1 => self.rng.within(300, 2_000),
            2 => self.rng.within(2_000, 5_000),
            _ => self.rng.within(5_000, 9_000),
        }
    }

    /// A node that may be hurt until then without taking a majority with it.
    fn victim(&mut self, until: u64) -> Option<NodeNo> {
        let n = if self.rng.chance(1, 3) {
            self.raft.leader.unwrap_or_default()
        } else {
            self.rng.place(self.nodes.len())
        };
        let others = (0..self.nodes.len()).filter(|o| *o != n && self.hurt_until[*o] > self.now);
        if !self.p.is_wild && others.count() + 1 > (self.nodes.len() - 1) / 2 {
            return None;
        }
        self.hurt_until[n] = self.hurt_until[n].max(until);
        Some(n)
    }

    fn isolate(&mut self, lines: Lines) {
        let until = self.now + self.span();
        let Some(n) = self.victim(until) else { return };
        let (is_in, is_out) = match self.rng.below(4) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        self.counts.add(match (lines, is_in && is_out) {
            (Lines::Both, true) => "fault: node cut off",
            (Lines::Links, true) => "fault: links of a node cut",
            (Lines::Raft, true) => "fault: consensus of a node cut",
            (_, false) => "fault: node cut one way",
        });
        note!(
            self,
            "n{n} is cut {lines:?} in {is_in} out {is_out} until {until}"
        );
        for other in 0..self.nodes.len() {
            if is_out {
                self.net.cut(n, other, lines, until);
            }
            if is_in {
                self.net.cut(other, n, lines, until);
            }
        }
        if self.rng.chance(1, 3) && lines != Lines::Raft {
            self.reset_streams_of(n);
        }
    }

    fn cut_pair(&mut self) {
        let until = self.now + self.span();
        let (a, b) = (
            self.rng.place(self.nodes.len()),
            self.rng.place(self.nodes.len()),
        );
        let lines = *self.rng.pick(&[Lines::Both, Lines::Links, Lines::Raft]);
        self.counts.add("fault: pair cut");
        note!(self, "n{a} and n{b} are cut {lines:?} until {until}");
        self.net.cut(a, b, lines, until);
        if self.rng.chance(2, 3) {
            self.net.cut(b, a, lines, until);
        }
    }

    fn reset_some_stream(&mut self) {
        let all: Vec<_> = self.streams.keys().copied().collect();
        if !all.is_empty() {
            let number = *self.rng.pick(&all);
            self.counts.add("fault: stream reset");
            self.reset_stream(number);
        }
    }

    fn crash_some(&mut self) {
        let again = self.now + self.span();
        if let Some(n) = self.victim(again) {
            self.counts.add("fault: node crashed");
            self.crash(n, Some(again));
        }
    }

    fn pause_some(&mut self) {
        let until = self.now + self.span();
        if let Some(n) = self.victim(until) {
            self.counts.add("fault: node paused");
            note!(self, "n{n} is paused until {until}");
            let paused = &mut self.nodes[n].paused_until;
            *paused = until.max(*paused);
        }
    }

    fn stall_some(&mut self) {
        let span = self.span();
        let Some(n) = self.victim(self.now + span) else {
            return;
        };
        let part = match self.rng.below(4) {
            0 => Part::Control,
            1 => Part::Links,
            _ => Part::Shard(self.rng.place(usize::from(SHARDS))),
        };
        self.counts.add("fault: part paused");
        self.stall(n, part, span);
    }

    /// A follower's replica falls behind.
    fn lag_some(&mut self) {
        let until = self.now + self.span();
        let n = self.rng.place(self.nodes.len());
        let is_leader = Some(n) == self.raft.leader;
        self.counts.add(if is_leader {
            "fault: the leader's replica lags"
        } else {
            "fault: replica lags"
        });
        note!(self, "n{n} gets no entries until {until}");
        self.nodes[n].lags_until = until;
    }

    fn slow_network(&mut self) {
        self.counts.add("fault: network slow");
        self.net.slow_until = self.now + self.span();
        self.net.slow_by = *self.rng.pick(&[50, 300, 2_500]);
        note!(self, "the network is slow by {}", self.net.slow_by);
    }

    fn drain_some(&mut self) {
        let until = self.now + 3_000;
        let Some(n) = self.victim(until) else { return };
        if self.nodes[n].is_alive {
            self.counts.add("fault: node drains");
            note!(self, "n{n} drains");
            self.tell_control(n, ControlIn::Drain);
            // The real process ends after its bound in any case.
            let life = self.nodes[n].life;
            self.agenda.put(self.now + 10_000, Ev::EndDrain(n, life));
        }
    }

    fn rare(&mut self) {
        if self.rng.chance(1, 2) {
            let n = self.rng.place(self.nodes.len());
            if Some(n) != self.raft.leader && self.nodes[n].is_alive && !self.nodes[n].is_installing
            {
                self.counts.add("fault: snapshot to be installed");
                self.nodes[n].is_installing = true;
                self.tell_control(n, ControlIn::SnapshotRequest);
                self.feed_soon(n);
            }
        } else if self.p.is_wild {
            self.counts.add("fault: all nodes killed");
            for n in 0..self.nodes.len() {
                let again = self.now + self.rng.within(10, 3_000);
                self.crash(n, Some(again));
            }
        }
    }
}
