//! The trie against the plain matcher: under any changes, with versions that must not change, and
//! on filters made to hurt.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{TopicFilter, Trie};

type Model = BTreeMap<TopicFilter, u32>;

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "a",
        "b",
        "c",
        "$a",
        "a-name-of-more-than-22-bytes",
    ])
}

/// Names over a small alphabet, so that filters and names meet; some start below many levels.
pub(super) fn name() -> impl Strategy<Value = String> {
    let names = vec(level(), 1..6).prop_filter("not empty", |levels| levels != &[""]);
    (names, prop::sample::select(vec![0, 0, 0, 30, 40])).prop_map(deepen)
}

/// Filters over the same alphabet.
pub(super) fn any_filter() -> impl Strategy<Value = TopicFilter> {
    let level = prop_oneof![3 => level(), 1 => Just("+")];
    let levels = (vec(level, 0..6), any::<bool>()).prop_map(|(mut levels, hash)| {
        if hash || levels.is_empty() || levels == [""] {
            levels.push("#");
        }
        levels
    });
    (levels, prop::sample::select(vec![0, 0, 0, 30, 40])).prop_map(|parts| filter(&deepen(parts)))
}

fn deepen((levels, depth): (Vec<&'static str>, usize)) -> String {
    "a/".repeat(depth) + &levels.join("/")
}

fn found(trie: &Trie<u32>, name: &str) -> Vec<u32> {
    let mut values = Vec::new();
    trie.find(name, |value| values.push(*value));
    values.sort_unstable();
    values
}

fn expected(model: &Model, name: &str) -> Vec<u32> {
    let matching = model.iter().filter(|(filter, _)| filter.matches(name));
    let mut values: Vec<u32> = matching.map(|(_, value)| *value).collect();
    values.sort_unstable();
    values
}

fn assert_same(trie: &Trie<u32>, model: &Model, names: &[String]) {
    assert_eq!(trie.len(), model.len());
    for (filter, value) in model {
        assert_eq!(trie.get(filter), Some(value), "{filter}");
    }
    let bound: usize = 1 + model
        .keys()
        .map(|filter| 1 + filter.levels().count())
        .sum::<usize>();
    for name in names {
        assert_eq!(found(trie, name), expected(model, name), "{name}");
        let work = trie.find(name, |_| {});
        assert!(work <= bound, "{work} steps for {name} above {bound}");
    }
}

proptest! {
    #[test]
    fn it_finds_what_the_plain_matcher_finds_and_versions_stay(
        changes in vec((any_filter(), 0_u32..3), 1..120),
        names in vec(name(), 1..40),
        keep_every in 5_usize..30,
    ) {
        let mut trie = Trie::new();
        let mut model = Model::new();
        let mut versions = Vec::new();
        for (number, (filter, kind)) in changes.iter().enumerate() {
            let value = number as u32;
            match kind {
                0 => prop_assert_eq!(trie.remove(filter), model.remove(filter)),
                1 => {
                    let before = trie.insert(filter, value);
                    prop_assert_eq!(before, model.insert(filter.clone(), value));
                }
                // What is there is taken out or raised; what is not is put in.
                _ => trie.update(filter, |present| {
                    assert_eq!(present, model.get(filter).copied());
                    let next = match present {
                        Some(value) if value % 2 == 0 => None,
                        Some(value) => Some(value + 1),
                        None => Some(value),
                    };
                    match next {
                        Some(value) => model.insert(filter.clone(), value),
                        None => model.remove(filter),
                    };
                    next
                }),
            }
            if number % keep_every == 0 {
                versions.push((trie.clone(), model.clone()));
            }
        }
        assert_same(&trie, &model, &names);
        for (trie, model) in &versions {
            assert_same(trie, model, &names);
        }
        for filter in model.keys() {
            trie.remove(filter);
        }
        prop_assert!(trie.is_empty());
        // Nothing is left behind: a match costs the root and no more.
        for name in &names {
            prop_assert_eq!(trie.find(name, |_| panic!("nothing is there")), 1);
        }
    }
}

/// Every filter over {a, +} of `levels` levels, with `last` behind it.
fn masks(levels: u32, last: &str) -> impl Iterator<Item = TopicFilter> {
    (0..1_u32 << levels).map(move |mask| {
        let parts = (0..levels).map(|bit| if mask & (1 << bit) == 0 { "a" } else { "+" });
        filter(&(parts.collect::<Vec<_>>().join("/") + last))
    })
}

#[test]
fn every_mask_of_twelve_levels_costs_no_more_than_the_nodes() {
    let mut trie = Trie::new();
    for (value, filter) in masks(12, "").enumerate() {
        trie.insert(&filter, value as u32);
    }
    let name = ["a"; 12].join("/");
    assert_eq!(found(&trie, &name), (0..4_096).collect::<Vec<_>>());
    // A full binary tree over 4,096 tails: 4,095 branches and 4,096 tails.
    assert_eq!(trie.find(&name, |_| {}), 8_191);

    let mut none = Trie::new();
    for filter in masks(12, "/x") {
        none.insert(&filter, 0);
    }
    assert!(found(&none, &name).is_empty());
    assert!(none.find(&name, |_| {}) <= 3 * 4_096);
}

#[test]
fn deep_filters_are_found_changed_and_dropped_on_a_small_stack() {
    let story = || {
        let deep = "/".repeat(1_000);
        let mut trie = Trie::new();
        // Siblings at each level, few and many, so that there is a node at each level that may
        // have one.
        for level in 0..1_000 {
            for sibling in 0..12 {
                trie.insert(&filter(&format!("{}{sibling}", &deep[..level])), 1);
            }
            trie.insert(&filter(&format!("{}+", &deep[..level])), 2);
        }
        trie.insert(&filter(&deep), 3);
        let versions = vec![trie.clone(), trie.clone()];
        assert_eq!(found(&trie, &deep), [3]);
        assert_eq!(found(&trie, &format!("{}7", &deep[..999])), [1, 2]);
        assert_eq!(trie.remove(&filter(&deep)), Some(3));
        assert!(found(&trie, &deep).is_empty());
        drop(trie);
        assert_eq!(found(&versions[0], &deep), [3]);
        drop(versions);
    };
    let thread = std::thread::Builder::new().stack_size(128 << 10);
    thread.spawn(story).unwrap().join().unwrap();
}

#[test]
fn a_lone_deep_filter_is_one_node() {
    let mut trie = Trie::new();
    trie.insert(&filter("a/+"), 0);
    let deep = filter(&vec!["b"; 500].join("/"));
    trie.insert(&deep, 1);
    assert_eq!(found(&trie, deep.as_str()), [1]);
    assert_eq!(found(&trie, "a/x"), [0]);
    assert_eq!(trie.find("b/x", |_| {}), 1 + 1 + 1);
}

#[test]
fn many_children_come_and_go() {
    let mut trie = Trie::new();
    let mut model = Model::new();
    let names: Vec<String> = (0..300).map(|number| format!("d/{number}/x")).collect();
    for (number, name) in names.iter().enumerate() {
        trie.insert(&filter(name), number as u32);
        model.insert(filter(name), number as u32);
    }
    let before = (trie.clone(), model.clone());
    assert_same(&trie, &model, &names);
    for name in names.iter().rev().take(299) {
        trie.remove(&filter(name));
        model.remove(name.as_str());
        if model.len() < 12 {
            assert_same(&trie, &model, &names);
        }
    }
    assert_eq!(
        trie.find("d/0/x", |_| {}),
        1 + 1 + 2,
        "what is left is one tail again"
    );
    assert_same(&before.0, &before.1, &names);
}

#[test]
fn mqtt_4_7_2_1_root_wildcards_do_not_match_dollar_topics() {
    let mut trie = Trie::new();
    let filters = ["#", "+", "+/x", "+/#", "$a/#", "$a/+", "$a", "b/#"];
    for (value, text) in filters.iter().enumerate() {
        trie.insert(&filter(text), value as u32);
    }
    assert_eq!(found(&trie, "$a"), [4, 6]);
    assert_eq!(found(&trie, "$a/x"), [4, 5]);
    assert_eq!(found(&trie, "b"), [0, 1, 3, 7]);
    assert_eq!(found(&trie, "b/x"), [0, 2, 3, 7]);
    assert_eq!(found(&trie, "b/$a"), [0, 3, 7]);
}
