//! The choice of voters: the lowest ordinals among the healthy members, an odd number of them.
//!
//! Decides on plain values, for `members`; it waits for nothing and asks nobody.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

/// A learner may become a voter when it lacks at most so many entries: less than a second of work.
const PROMOTION_LAG: u64 = 1_000;
/// … and has been heard of within this time: a voter that cannot answer makes a majority dearer.
const PROMOTION_SILENCE: Duration = Duration::from_secs(2);

/// A member, as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: u64,
    pub(super) name: String,
    /// Whether it votes now.
    pub(super) votes: bool,
    /// Since when it has not answered.
    pub(super) silent: Duration,
    /// Whether it has been silent for so long that its vote goes to another.
    pub(super) lost: bool,
    /// Whether a newer folder has its name.
    pub(super) replaced: bool,
    /// The entries that it lacks.
    pub(super) lag: u64,
}

impl Candidate {
    /// A member of a cluster that is being founded.
    pub(super) fn healthy(id: u64, name: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            votes: false,
            silent: Duration::ZERO,
            lost: false,
            replaced: false,
            lag: 0,
        }
    }

    /// Of members with one name, all but the one heard of last are replaced: an empty folder is a new node.
    pub(super) fn mark_replaced(all: &mut [Self]) {
        for at in 0..all.len() {
            let newer = all.iter().any(|other| {
                other.name == all[at].name
                    && other.id != all[at].id
                    && other.silent < all[at].silent
                    && other.silent < PROMOTION_SILENCE
            });
            all[at].replaced = newer;
        }
    }
}

/// The order of names: by the number at their end, else as text.
pub(super) fn ordinal(name: &str) -> (u64, &str) {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    let number = name[name.len() - digits..].parse().unwrap_or(u64::MAX);
    (number, name)
}

/// Who should vote: the largest odd number up to `max_voters` and to the members.
pub(super) fn choose(members: &[Candidate], max_voters: usize) -> BTreeSet<u64> {
    let mut standing: Vec<&Candidate> = members.iter().filter(|c| !c.replaced).collect();
    let room = standing.len().min(max_voters.max(1));
    let count = if room.is_multiple_of(2) {
        room.saturating_sub(1)
    } else {
        room
    };
    standing.sort_by_key(|c| (c.lost, ordinal(&c.name), Reverse(c.votes), c.id));
    standing.into_iter().take(count).map(|c| c.id).collect()
}

/// Whether all that would begin to vote are ready for it.
pub(super) fn promotable(members: &[Candidate], voters: &BTreeSet<u64>) -> bool {
    !voters.is_empty()
        && members
            .iter()
            .filter(|c| voters.contains(&c.id) && !c.votes)
            .all(|c| c.lag <= PROMOTION_LAG && c.silent < PROMOTION_SILENCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(names: &[&str]) -> Vec<Candidate> {
        (1..)
            .zip(names)
            .map(|(id, name)| Candidate::healthy(id, name))
            .collect()
    }

    fn set(ids: &[u64]) -> BTreeSet<u64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn names_are_ordered_by_their_number() {
        let mut names = ["b", "node-10", "node-9", "a", "node-0"];
        names.sort_by_key(|name| ordinal(name));
        assert_eq!(names, ["node-0", "node-9", "node-10", "a", "b"]);
    }

    #[test]
    fn the_lowest_names_vote_and_their_number_is_odd() {
        let four = members(&["n-3", "n-2", "n-1", "n-0"]);
        assert_eq!(choose(&four, 3), set(&[2, 3, 4]));
        assert_eq!(choose(&four, 5), set(&[2, 3, 4]));
        assert_eq!(choose(&four[..2], 3), set(&[2]));
        assert_eq!(choose(&four[..1], 3), set(&[1]));
    }

    #[test]
    fn a_lost_voter_gives_its_vote_to_a_learner_but_not_to_nobody() {
        let mut four = members(&["n-0", "n-1", "n-2", "n-3"]);
        four[1].lost = true;
        assert_eq!(choose(&four, 3), set(&[1, 3, 4]));
        assert_eq!(choose(&four[..3], 3), set(&[1, 2, 3]));
    }

    #[test]
    fn a_new_folder_takes_the_place_of_the_old_one() {
        let mut four = members(&["n-0", "n-1", "n-2", "n-1"]);
        four[1].silent = Duration::from_secs(5);
        Candidate::mark_replaced(&mut four);
        assert!(four[1].replaced && !four[3].replaced);
        assert_eq!(choose(&four, 3), set(&[1, 3, 4]));
    }

    #[test]
    fn a_learner_that_lags_or_is_silent_does_not_vote_yet() {
        let mut three = members(&["n-0", "n-1", "n-2"]);
        assert!(promotable(&three, &set(&[1, 2, 3])));
        three[1].lag = PROMOTION_LAG + 1;
        assert!(!promotable(&three, &set(&[1, 2, 3])));
        three[1].votes = true;
        assert!(promotable(&three, &set(&[1, 2, 3])));
    }
}
