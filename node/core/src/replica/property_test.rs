//! Properties of the replica under random logs, and of its bytes under damage.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    random_log::{Run, plan},
    testing::sequences,
};
use crate::{
    ids::{Epoch, Incarnation, Index},
    replica::{Command, Effect, Entry, Lane, Outcome, Refusal, Replica},
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_same_log_gives_the_same_state_and_effects(plan in plan()) {
        let run = Run::of(&plan);
        let mut again = Replica::default();
        let effects = run.replay(&mut again, 0);
        prop_assert_eq!(&effects[2..], &run.effects[2..]);
        prop_assert_eq!(again.hash(), run.log.replica.hash());
        prop_assert_eq!(again.write_snapshot(), run.log.replica.write_snapshot());
    }

    #[test]
    fn a_snapshot_and_the_tail_equal_the_whole_log(plan in plan(), cut in any::<usize>()) {
        let run = Run::of(&plan);
        let cut = cut % run.log.entries.len();
        let mut before = Replica::default();
        for (n, entry) in run.log.entries[..cut].iter().enumerate() {
            before.apply(Index(n as u64 + 1), entry);
        }
        let mut after = Replica::read_snapshot(&before.write_snapshot()).unwrap();
        prop_assert_eq!(after.hash(), before.hash());
        let effects = run.replay(&mut after, cut);
        let known = cut.max(2);
        prop_assert_eq!(&effects[known - cut..], &run.effects[known..]);
        prop_assert_eq!(after.hash(), run.log.replica.hash());
        prop_assert_eq!(after.session_count(), run.log.replica.session_count());
        prop_assert_eq!(after.stored_bytes(), run.log.replica.stored_bytes());
    }

    #[test]
    fn a_lane_is_applied_once_in_order_and_while_its_incarnation_runs(plan in plan()) {
        let run = Run::of(&plan);
        let mut next = BTreeMap::from([((run.first(), Lane::Work), 4)]);
        let mut up = BTreeSet::from([run.first()]);
        for (entry, effects) in run.log.entries.iter().zip(&run.effects).skip(2) {
            if let Entry::Batch { incarnation, lane, first, commands } = entry {
                let (incarnation, lane) = (*incarnation, *lane);
                let next = next.entry((incarnation, lane)).or_insert(1);
                if !up.contains(&incarnation) {
                    prop_assert_eq!(&effects[..], &[]);
                } else if first > next {
                    prop_assert_eq!(&effects[..], &[Effect::Gap { incarnation, lane, expected: *next }]);
                } else {
                    let after = (first + commands.len() as u64).max(*next);
                    let wanted: Vec<_> = (*next..after).collect();
                    let answers = sequences(effects);
                    let own_end = effects.iter().rposition(
                        |e| matches!(e, Effect::NodeDown { incarnation: i, .. } if *i == incarnation)
                    );
                    match own_end {
                        // the answer to it is the last
                        Some(place) => {
                            prop_assert_eq!(place + 2, effects.len());
                            prop_assert!(wanted.starts_with(&answers));
                        }
                        None => prop_assert_eq!(&answers, &wanted),
                    }
                    *next += answers.len() as u64;
                }
            }
            for effect in effects {
                match effect {
                    Effect::NodeUp { incarnation, .. } => prop_assert!(up.insert(*incarnation)),
                    Effect::NodeDown { incarnation, .. } => prop_assert!(up.remove(incarnation)),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn each_will_fires_once_unless_it_was_released(plan in plan()) {
        let mut run = Run::of(&plan);
        run.settle();
        let mut fired: BTreeMap<&str, u32> = BTreeMap::new();
        for effect in run.effects.iter().flatten() {
            if let Effect::Deliver(delivery) = effect
                && delivery.topic.as_str().starts_with("will/")
            {
                *fired.entry(delivery.topic.as_str()).or_default() += 1;
            }
        }
        for claimed in &run.claims {
            if let Some(will) = &claimed.will {
                let times = fired.remove(will.as_str()).unwrap_or(0);
                prop_assert_eq!(times, u32::from(!claimed.released_silently), "{}", will);
            }
        }
        prop_assert!(fired.is_empty(), "wills of nobody fired: {:?}", fired);
        prop_assert_eq!(run.log.replica.session_count(), 0);
        prop_assert_eq!(run.log.replica.interest_count(), 0);
    }

    #[test]
    fn only_the_current_owner_stores_and_releases(plan in plan()) {
        let run = Run::of(&plan);
        let mut owners: BTreeMap<_, (Incarnation, Epoch)> = BTreeMap::new();
        let mut down = Vec::new();
        for effect in run.effects.iter().flatten() {
            match effect {
                Effect::NodeDown { incarnation, .. } => down.push(*incarnation),
                Effect::Answer { incarnation, lane, sequence, outcome } => {
                    let command = &run.lanes[&(*incarnation, *lane)][*sequence as usize - 1];
                    let owns = |epoch| owners.values().any(|o| *o == (*incarnation, epoch));
                    match command {
                        Command::Claim(claim) => {
                            if let Outcome::Done(position) = outcome {
                                owners.insert(claim.key.clone(), (*incarnation, Epoch(*position)));
                            }
                        }
                        Command::Release { key, epoch, .. } => {
                            let own = owners.get(key) == Some(&(*incarnation, *epoch));
                            prop_assert_eq!(matches!(outcome, Outcome::Done(_)), own);
                            if own {
                                owners.remove(key);
                            }
                        }
                        Command::Store(store) => {
                            let stale = *outcome == Outcome::Refused(Refusal::StaleEpoch);
                            prop_assert_eq!(stale, !owns(store.epoch));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        for (key, (incarnation, epoch)) in owners {
            match run.log.replica.session(&key) {
                Some(session) => {
                    prop_assert_eq!((session.incarnation, session.epoch), (incarnation, epoch));
                }
                None => prop_assert!(down.contains(&incarnation), "lost while its node is up"),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // with the version byte, or the bytes end there
        for first in [None, Some(1)] {
            let bytes: Vec<u8> = first.into_iter().chain(bytes.iter().copied()).collect();
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
            }
            let _ = Replica::read_snapshot(&bytes);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        plan in plan(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let run = Run::of(&plan);
        let mut snapshot = run.log.replica.write_snapshot();
        let mut entry = run.log.entries.last().unwrap().encode().to_vec();
        for (at, byte) in damage {
            let place = at.index(snapshot.len());
            snapshot[place] = byte;
            let place = at.index(entry.len());
            entry[place] = byte;
        }
        // what still can be read is applied on without a panic
        let mut replica = Replica::read_snapshot(&snapshot).unwrap_or_default();
        if let Ok(entry) = Entry::decode(&entry) {
            replica.apply(Index(replica.applied().0.saturating_add(1)), &entry);
        }
        replica.write_snapshot();
    }
}
