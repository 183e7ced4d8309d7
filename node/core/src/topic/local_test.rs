//! The shard's table against the plain matcher, and its handles against any order of changes.

use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::trie_test::{any_filter, filter, name};
use super::{Handle, HashKey, Table, TopicFilter};

fn table() -> Table<u32> {
    Table::new(HashKey::new(1, 2))
}

/// A hasher with four hashes, so that filters without a wildcard collide.
#[derive(Default)]
struct Narrow(u64);

impl Hasher for Narrow {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes
            .iter()
            .fold(self.0, |sum, byte| (sum + u64::from(*byte)) % 4);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn found<S: BuildHasher>(table: &Table<u32, S>, name: &str) -> Vec<u32> {
    let mut targets = Vec::new();
    table.find(name, |some| {
        assert!(!some.is_empty(), "a filter without a target is gone");
        targets.extend_from_slice(some);
    });
    targets.sort_unstable();
    targets
}

fn expected(model: &[(TopicFilter, u32, Handle)], name: &str) -> Vec<u32> {
    let matching = model.iter().filter(|(filter, ..)| filter.matches(name));
    let mut targets: Vec<u32> = matching.map(|(_, target, _)| *target).collect();
    targets.sort_unstable();
    targets
}

proptest! {
    #[test]
    fn it_finds_what_the_plain_matcher_finds(
        changes in vec((any_filter(), 0_u32..5, any::<Index>()), 1..150),
        names in vec(name(), 1..30),
    ) {
        follow(table(), &changes, &names)?;
        let narrow = BuildHasherDefault::<Narrow>::default();
        follow(Table::new(narrow), &changes, &names)?;
    }
}

fn follow<S: BuildHasher>(
    mut table: Table<u32, S>,
    changes: &[(TopicFilter, u32, Index)],
    names: &[String],
) -> Result<(), TestCaseError> {
    let mut model: Vec<(TopicFilter, u32, Handle)> = Vec::new();
    let mut past: Vec<Handle> = Vec::new();
    for (number, (filter, kind, which)) in changes.iter().enumerate() {
        let target = number as u32;
        match kind {
            0 | 1 if !model.is_empty() => {
                let (filter, target, handle) = model.swap_remove(which.index(model.len()));
                let removed = table.remove(handle).unwrap();
                prop_assert_eq!(removed.target, target);
                let last = !model.iter().any(|(other, ..)| *other == filter);
                prop_assert_eq!(removed.ended, last.then_some(filter));
                past.push(handle);
            }
            2 if !model.is_empty() => {
                let chosen = which.index(model.len());
                let (_, present, handle) = &mut model[chosen];
                prop_assert_eq!(table.replace(*handle, target), Some(*present));
                *present = target;
            }
            _ => {
                let inserted = table.insert(filter, target).unwrap();
                let first = !model.iter().any(|(other, ..)| other == filter);
                prop_assert_eq!(inserted.first, first);
                model.push((filter.clone(), target, inserted.handle));
            }
        }
        for handle in &past {
            prop_assert_eq!(table.remove(*handle), None);
            prop_assert_eq!(table.replace(*handle, 0), None);
        }
    }
    prop_assert_eq!(table.len(), model.len());
    for name in names {
        prop_assert_eq!(found(&table, name), expected(&model, name), "{}", name);
    }
    for (_, target, handle) in &model {
        prop_assert_eq!(table.remove(*handle).unwrap().target, *target);
    }
    prop_assert!(table.is_empty());
    prop_assert_eq!(table.filters(), 0);
    for name in names {
        prop_assert_eq!(table.find(name, |_| panic!("nothing is there")), 1);
    }
    Ok(())
}

#[test]
fn a_crowd_on_one_filter_leaves_in_any_order_and_memory_follows() {
    let mut table = table();
    let filter = filter("$registries/r/config/#");
    let mut handles: Vec<Handle> = (0..10_000)
        .map(|target| table.insert(&filter, target).unwrap().handle)
        .collect();
    assert_eq!(table.filters(), 1);
    let mut left: Vec<u32> = (0..10_000).collect();
    let mut at = 0;
    while handles.len() > 1 {
        at = (at * 31 + 17) % handles.len();
        let target = left.swap_remove(at);
        let removed = table.remove(handles.swap_remove(at)).unwrap();
        assert_eq!((removed.target, removed.ended), (target, None));
        if left.len().is_multiple_of(1_000) {
            let mut sorted = left.clone();
            sorted.sort_unstable();
            assert_eq!(found(&table, "$registries/r/config/x"), sorted);
        }
    }
    let removed = table.remove(handles[0]).unwrap();
    assert_eq!(removed.ended, Some(filter));
}

#[test]
fn one_target_may_hold_many_filters_and_is_visited_for_each() {
    let mut table = table();
    for text in ["a/b", "a/+", "a/#", "+/b", "b"] {
        table.insert(&filter(text), 7).unwrap();
    }
    assert_eq!(found(&table, "a/b"), [7, 7, 7, 7]);
    assert_eq!(found(&table, "b"), [7]);
}

#[test]
fn names_without_wildcard_filters_cost_one_look() {
    let mut table = table();
    for number in 0..1_000 {
        table
            .insert(&filter(&format!("bench/{number}")), number)
            .unwrap();
    }
    assert_eq!(
        table.find("bench/500", |targets| assert_eq!(targets, [500])),
        1
    );
}
