//! A node's side of its lease: when to renew, and until when it holds.
//!
//! Owned by `control`. It alone sets the [`Window`]. It never extends a lease by more than the sending of
//! the very request that was answered allows, never shortens one but to end it, and never revives one that
//! ran out: shards may have seen that.

use std::collections::BTreeMap;

use crate::{
    lease::Window,
    time::{Moment, Timing},
};

/// Unanswered requests that are remembered: more than are sent in one fence with any sensible setting
/// (10 with the defaults); the oldest is forgotten first, it could extend the lease least.
const REQUESTS: usize = 64;

/// The lease of the running incarnation.
#[derive(Debug)]
pub struct Holder {
    timing: Timing,
    window: Window,
    state: State,
    next_send: Moment,
    next_ticket: u64,
    /// When each unanswered request was sent.
    sent: BTreeMap<u64, Moment>,
    #[cfg(any(test, feature = "plant"))]
    old_answers_count: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No incarnation runs.
    Stopped,
    /// The first lease is still to come.
    Waiting,
    /// A request sent then was granted.
    Held { sent: Moment },
    /// It ran out or was given up; only a new incarnation gets another.
    Over,
}

impl Holder {
    /// A holder without a lease; closes the window.
    pub fn new(timing: Timing, window: Window) -> Self {
        window.set(Moment(0));
        Self {
            timing,
            window,
            state: State::Stopped,
            next_send: Moment(0),
            next_ticket: 1,
            sent: BTreeMap::new(),
            #[cfg(any(test, feature = "plant"))]
            old_answers_count: false,
        }
    }

    /// An incarnation starts: asks from now on.
    pub fn start(&mut self, now: Moment) {
        self.stop();
        self.state = State::Waiting;
        self.next_send = now;
    }

    /// Whether it asks, or has asked, for the running incarnation.
    pub fn is_started(&self) -> bool {
        self.state != State::Stopped
    }

    /// The incarnation ended: the window is closed, answers on the way grant nothing.
    pub fn stop(&mut self) {
        self.close(State::Stopped);
    }

    /// Gives the lease up at once, as if it had run out.
    pub fn give_up(&mut self) {
        if self.state != State::Stopped {
            self.close(State::Over);
        }
    }

    /// The ticket of a request to send now, if one is due.
    pub fn poll(&mut self, now: Moment) -> Option<u64> {
        if !matches!(self.state, State::Waiting | State::Held { .. }) || now < self.next_send {
            return None;
        }
        self.next_send = now + self.timing.renew;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.sent.insert(ticket, now);
        if self.sent.len() > REQUESTS {
            self.sent.pop_first();
        }
        Some(ticket)
    }

    /// The answer to a request. Extends the lease to `fence_after` from the sending of that request.
    pub fn handle_renewed(&mut self, now: Moment, ticket: u64, granted: bool) {
        let Some(sent) = self.sent.remove(&ticket) else {
            return;
        };
        #[cfg(any(test, feature = "plant"))]
        let sent = if self.old_answers_count { now } else { sent };
        if !granted || self.is_fenced(now) {
            return;
        }
        let newer = match self.state {
            State::Stopped | State::Over => return,
            State::Waiting => true,
            State::Held { sent: held } => sent > held,
        };
        let until = sent + self.timing.fence_after;
        if newer && now < until {
            self.state = State::Held { sent };
            self.window.set(until);
        }
    }

    /// Whether the lease was held and is over; the incarnation must end.
    pub fn is_fenced(&self, now: Moment) -> bool {
        match self.state {
            State::Stopped | State::Waiting => false,
            State::Held { sent } => now >= sent + self.timing.fence_after,
            State::Over => true,
        }
    }

    /// Whether something may leave this node now.
    pub fn is_held(&self, now: Moment) -> bool {
        matches!(self.state, State::Held { .. }) && !self.is_fenced(now)
    }

    /// Whether load balancers should send clients: not from half of `fence_after` since the last granted
    /// sending (P9).
    pub fn is_ready(&self, now: Moment) -> bool {
        match self.state {
            State::Held { sent } => now < sent + self.timing.fence_after / 2,
            _ => false,
        }
    }

    /// When to look again: the next sending, or the end of the lease.
    pub fn next_deadline(&self) -> Option<Moment> {
        match self.state {
            State::Stopped | State::Over => None,
            State::Waiting => Some(self.next_send),
            State::Held { sent } => Some(self.next_send.min(sent + self.timing.fence_after)),
        }
    }

    /// Plants a bug: an answer counts from its arrival.
    #[cfg(any(test, feature = "plant"))]
    pub(crate) fn plant_old_answers_count(&mut self) {
        self.old_answers_count = true;
    }

    fn close(&mut self, state: State) {
        self.window.set(Moment(0));
        self.sent.clear();
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held_at_zero() -> (Holder, Window) {
        let window = Window::default();
        let mut holder = Holder::new(Timing::default(), window.clone());
        holder.start(Moment(1_000));
        (holder, window)
    }

    /// Returns the end of a lease that an old answer (sent at 1 000, in at 3 000) leaves.
    fn end_after_old_answer(holder: &mut Holder, window: &Window) -> Moment {
        let old = holder.poll(Moment(1_000)).unwrap();
        let newer = holder.poll(Moment(2_900)).unwrap();
        holder.handle_renewed(Moment(3_000), old, true);
        assert_ne!(old, newer);
        window.until()
    }

    #[test]
    fn lease_counts_from_the_sending_of_the_answered_request() {
        let (mut holder, window) = held_at_zero();
        assert_eq!(end_after_old_answer(&mut holder, &window), Moment(4_000));
        assert!(holder.is_held(Moment(3_999)) && holder.is_fenced(Moment(4_000)));
        let (mut holder, window) = held_at_zero();
        holder.plant_old_answers_count();
        assert_ne!(
            end_after_old_answer(&mut holder, &window),
            Moment(4_000),
            "planted bug not seen"
        );
    }

    #[test]
    fn an_answer_that_comes_late_or_out_of_order_never_shortens() {
        let (mut holder, window) = held_at_zero();
        let first = holder.poll(Moment(1_000)).unwrap();
        let second = holder.poll(Moment(1_300)).unwrap();
        holder.handle_renewed(Moment(1_400), second, true);
        holder.handle_renewed(Moment(1_500), first, true);
        assert_eq!(window.until(), Moment(4_300));
        holder.handle_renewed(Moment(1_500), second, true);
        assert_eq!(window.until(), Moment(4_300), "a repeated answer is none");
    }

    #[test]
    fn a_lease_that_ran_out_is_not_revived() {
        let (mut holder, window) = held_at_zero();
        let first = holder.poll(Moment(1_000)).unwrap();
        holder.handle_renewed(Moment(1_010), first, true);
        let second = holder.poll(Moment(3_900)).unwrap();
        assert!(!window.is_open(Moment(4_000)));
        holder.handle_renewed(Moment(4_000), second, true);
        assert!(!window.is_open(Moment(4_000)) && holder.is_fenced(Moment(4_000)));
    }

    #[test]
    fn unready_from_half_the_fence_since_the_last_granted_sending() {
        let (mut holder, _) = held_at_zero();
        let first = holder.poll(Moment(1_000)).unwrap();
        assert!(!holder.is_ready(Moment(1_001)));
        holder.handle_renewed(Moment(1_200), first, true);
        assert!(holder.is_ready(Moment(2_499)) && !holder.is_ready(Moment(2_500)));
    }

    #[test]
    fn giving_up_closes_the_window_at_once_and_for_good() {
        let (mut holder, window) = held_at_zero();
        let first = holder.poll(Moment(1_000)).unwrap();
        let second = holder.poll(Moment(1_300)).unwrap();
        holder.handle_renewed(Moment(1_400), first, true);
        holder.give_up();
        holder.handle_renewed(Moment(1_401), second, true);
        assert!(!window.is_open(Moment(0)) && holder.is_fenced(Moment(1_401)));
        assert_eq!(holder.poll(Moment(9_000)), None);
        holder.start(Moment(9_000));
        assert!(holder.poll(Moment(9_000)).is_some() && !holder.is_fenced(Moment(9_000)));
    }

    #[test]
    fn refusals_extend_nothing() {
        let (mut holder, window) = held_at_zero();
        let first = holder.poll(Moment(1_000)).unwrap();
        holder.handle_renewed(Moment(1_010), first, false);
        assert_eq!(window.until(), Moment(0));
    }
}
