//! Read indexes: one round at a time for all that wait.
//!
//! Part of a running incarnation. A round serves those who came before it was asked.

use crate::{
    control::{Desk, Output},
    time::Moment,
};

/// Names a round; rounds asked later have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Round(pub(super) u64);

/// The rounds. An answer counts also when its round was given up for a newer one.
#[derive(Debug)]
pub(super) struct Reads {
    next: Round,
    /// The highest round that somebody waits for.
    wanted: Option<Round>,
    /// The round under way, and when to ask again.
    asked: Option<(Round, Moment)>,
    /// After a round without an index nothing is asked before.
    paused_until: Moment,
}

impl Reads {
    /// Rounds are numbered from `first`, above those of earlier incarnations.
    pub(super) fn new(first: u64) -> Self {
        Self {
            next: Round(first),
            wanted: None,
            asked: None,
            paused_until: Moment(0),
        }
    }

    /// The number of the next round, for the next incarnation.
    pub(super) fn next(&self) -> u64 {
        self.next.0
    }

    /// The first round that is asked from now on.
    pub(super) fn want(&mut self) -> Round {
        self.wanted = Some(self.next);
        self.next
    }

    /// A round has no index: those who wait need another.
    pub(super) fn handle_failed(&mut self, desk: &Desk<'_>, round: Round) {
        if self.asked.is_some_and(|(asked, _)| asked == round) {
            self.asked = None;
            self.wanted = Some(self.next);
            self.paused_until = desk.now + desk.config.timing.retry_after / 8;
        }
    }

    /// A round was answered.
    pub(super) fn handle_answered(&mut self, round: Round) {
        if self.asked.is_some_and(|(asked, _)| asked <= round) {
            self.asked = None;
        }
    }

    pub(super) fn settle(&mut self, desk: &mut Desk<'_>) {
        let is_late = match self.asked {
            Some((_, again)) => desk.now >= again,
            None => false,
        };
        let is_wanted = self.asked.is_none()
            && self.wanted.is_some_and(|wanted| wanted >= self.next)
            && desk.now >= self.paused_until;
        if is_late || is_wanted {
            let again = desk.now + desk.config.timing.retry_after;
            self.asked = Some((self.next, again));
            desk.outputs.push_back(Output::ReadIndex {
                ticket: self.next.0,
            });
            self.next = Round(self.next.0 + 1);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let resume = self.wanted.is_some_and(|wanted| wanted >= self.next);
        match self.asked {
            Some((_, again)) => Some(again),
            None => resume.then_some(self.paused_until),
        }
    }
}
