//! One timer table for all connections of a shard: a wheel of lists, one place for each slot.
//!
//! A connection is in at most one list. It is moved only when its deadline comes nearer, or when its list is due
//! and the true deadline has moved on meanwhile; a packet that merely moves a deadline away costs nothing here.

use crate::time::Moment;

/// The width of one list, in milliseconds: how late a deadline may be noticed.
const WIDTH: u64 = 256;
/// Lists: at that width the wheel spans 524 s, above one and a half of the longest keep-alive by default. What lies
/// beyond waits in the last list and is looked at again then.
const LISTS: usize = 2048;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Timers {
    heads: Vec<u32>,
    /// One bit for each list that is not empty.
    occupied: Vec<u64>,
    links: Vec<Link>,
    /// The next tick to be looked at; a tick is a moment by [`WIDTH`].
    cursor: u64,
    armed: usize,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
    /// The tick of its list; 0 if in none.
    tick: u64,
}

const UNARMED: Link = Link {
    before: NONE,
    after: NONE,
    tick: 0,
};

impl Timers {
    pub(super) fn new() -> Self {
        Self {
            heads: vec![NONE; LISTS],
            occupied: vec![0; LISTS / 64],
            links: Vec::new(),
            cursor: 1,
            armed: 0,
        }
    }

    /// Lets the slot be looked at when `deadline` has passed, or sooner if it is armed for sooner.
    pub(super) fn arm(&mut self, now: Moment, slot: u32, deadline: Moment) {
        if self.armed == 0 {
            self.cursor = self.cursor.max(now.0 / WIDTH);
        }
        let at = slot as usize;
        if self.links.len() <= at {
            self.links.resize(at + 1, UNARMED);
        }
        let last = self.cursor + LISTS as u64 - 1;
        let tick = deadline.0.div_ceil(WIDTH).clamp(self.cursor, last);
        let present = self.links[at].tick;
        if present != 0 && present <= tick {
            return;
        }
        self.disarm(slot);
        let list = (tick % LISTS as u64) as usize;
        let head = self.heads[list];
        if head != NONE {
            self.links[head as usize].before = slot;
        }
        self.heads[list] = slot;
        self.links[at] = Link {
            before: NONE,
            after: head,
            tick,
        };
        self.occupied[list / 64] |= 1 << (list % 64);
        self.armed += 1;
    }

    pub(super) fn disarm(&mut self, slot: u32) {
        let Some(link) = self
            .links
            .get(slot as usize)
            .copied()
            .filter(|link| link.tick != 0)
        else {
            return;
        };
        let list = (link.tick % LISTS as u64) as usize;
        match link.before {
            NONE => self.heads[list] = link.after,
            before => self.links[before as usize].after = link.after,
        }
        if link.after != NONE {
            self.links[link.after as usize].before = link.before;
        }
        if self.heads[list] == NONE {
            self.occupied[list / 64] &= !(1 << (list % 64));
        }
        self.links[slot as usize] = UNARMED;
        self.armed -= 1;
    }

    /// Takes out all slots whose list is due.
    pub(super) fn fire(&mut self, now: Moment, due: &mut Vec<u32>) {
        let until = now.0 / WIDTH;
        while self.armed > 0 && self.cursor <= until {
            let list = (self.cursor % LISTS as u64) as usize;
            while self.heads[list] != NONE {
                let slot = self.heads[list];
                due.push(slot);
                self.disarm(slot);
            }
            self.cursor += 1;
        }
    }

    /// When the next list that is not empty is due.
    pub(super) fn next(&self) -> Option<Moment> {
        if self.armed == 0 {
            return None;
        }
        let start = (self.cursor % LISTS as u64) as usize;
        // The start's word is met twice: its upper bits first, its lower ones at the end.
        (0..=self.occupied.len()).find_map(|step| {
            let word = (start / 64 + step) % self.occupied.len();
            let mut bits = self.occupied[word];
            if step == 0 {
                bits &= u64::MAX << (start % 64);
            } else if step == self.occupied.len() {
                bits &= !(u64::MAX << (start % 64));
            }
            if bits == 0 {
                return None;
            }
            let list = word * 64 + bits.trailing_zeros() as usize;
            let ahead = (list + LISTS - start) % LISTS;
            Some(Moment((self.cursor + ahead as u64) * WIDTH))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(timers: &mut Timers, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        timers.fire(Moment(now), &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn each_slot_fires_once_not_before_its_deadline_and_next_says_when() {
        let mut timers = Timers::new();
        let start = Moment(5_000_000);
        let deadlines = [1, 255, 256, 257, 10_000, 450_000, 523_000, 9_000_000];
        for (slot, after) in (0..).zip(deadlines) {
            timers.arm(start, slot, Moment(start.0 + after));
        }
        timers.arm(start, 4, Moment(start.0 + 20_000));
        let mut seen = Vec::new();
        while let Some(next) = timers.next() {
            assert!(fired(&mut timers, next.0 - 1).is_empty());
            for slot in fired(&mut timers, next.0) {
                let deadline = start.0 + deadlines[slot as usize];
                assert!(
                    slot == 7 || (deadline..deadline + WIDTH).contains(&next.0),
                    "{slot}"
                );
                seen.push(slot);
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_nearer_deadline_replaces_and_disarm_forgets() {
        let mut timers = Timers::new();
        timers.arm(Moment(0), 3, Moment(100_000));
        timers.arm(Moment(0), 3, Moment(1_000));
        timers.arm(Moment(0), 4, Moment(1_000));
        timers.arm(Moment(0), 5, Moment(1_000));
        timers.disarm(4);
        assert_eq!(fired(&mut timers, 2_000), [3, 5]);
        assert_eq!(timers.next(), None);
    }
}
