//! The rights table against a naive reading of it: topics are enumerated, filters drawn.

use proptest::prelude::*;

use super::*;
use crate::{
    catalog::{Catalog, Resource},
    ids::{Actor, Principal, ResourceId, SpaceId},
    topic::TopicFilter,
};

const REG: &str = "reg00000000000000000";
const DEV: &str = "dev00000000000000000";
const DEV2: &str = "dev20000000000000000";
const ALIEN: &str = "alien000000000000000";

fn id(text: &str) -> ResourceId {
    text.parse().expect("a test's ID is well formed")
}

fn principals() -> [Principal; 3] {
    let space = SpaceId::Registry(id(REG));
    [
        Actor::Device(id(DEV)),
        Actor::Device(id(DEV2)),
        Actor::Registry,
    ]
    .map(|actor| Principal { space, actor })
}

fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let (folder, registry) = (id("folder00000000000000"), id(REG));
    let other = id("other000000000000000");
    let device = |name: &str, registry| Resource::Device {
        id: id(name),
        registry,
        name: name.into(),
        passwords: Vec::new(),
    };
    let of_folder = |id: ResourceId| Resource::Registry {
        id,
        folder,
        name: id.as_str().into(),
        passwords: Vec::new(),
    };
    let resources = [
        Resource::Folder { id: folder },
        of_folder(registry),
        of_folder(other),
        device(DEV, registry),
        device(DEV2, registry),
        device(ALIEN, other),
    ];
    for resource in resources {
        catalog
            .create(resource)
            .expect("the test's catalog is sound");
    }
    catalog
}

/// Every topic of a few levels that has anything to do with the table, and some that do not.
fn topics() -> Vec<String> {
    let heads = [
        "$devices",
        "$registries",
        "$monitoring",
        "devices",
        "registries",
        "monitoring",
        "$me",
        "$SYS",
        "me",
        "",
    ];
    let ids = [
        DEV,
        DEV2,
        ALIEN,
        REG,
        "device",
        "registry",
        "monitoring",
        "",
    ];
    let kinds = [
        "events", "state", "commands", "config", "json", "eventsx", "",
    ];
    let mut topics = Vec::new();
    for head in heads {
        topics.push(head.to_owned());
        for id in ids {
            topics.push(format!("{head}/{id}"));
            for kind in kinds {
                for tail in ["", "/", "/sub", "/sub/json"] {
                    topics.push(format!("{head}/{id}/{kind}{tail}"));
                }
            }
        }
    }
    topics.retain(|topic| !topic.is_empty());
    topics
}

fn levels(topic: &str) -> Vec<&str> {
    topic.split('/').collect()
}

fn naive_read(principal: &Principal, topic: &str) -> bool {
    let levels = levels(topic);
    if levels.len() == 3 && levels[0] == "$monitoring" && levels[2] == "json" {
        return true;
    }
    if levels.len() < 3 {
        return false;
    }
    match principal.actor {
        Actor::Device(own) => {
            ["commands", "config"].contains(&levels[2])
                && (levels[0] == "$devices" && levels[1] == own.as_str()
                    || levels[0] == "$registries" && levels[1] == REG)
        }
        _ => {
            ["events", "state"].contains(&levels[2])
                && (levels[0] == "$devices" || levels[0] == "$registries" && levels[1] == REG)
        }
    }
}

/// A canonical topic as a filter of this first level names it; none if it cannot.
fn naive_name(principal: &Principal, first: &str, topic: &str) -> Option<String> {
    let levels = levels(topic);
    match first {
        "devices" | "registries" => topic
            .strip_prefix('$')
            .filter(|name| name.starts_with("devices") || name.starts_with("registries"))
            .map(str::to_owned),
        "$me" => {
            let Actor::Device(own) = principal.actor else {
                return None;
            };
            let (word, owner) = match *levels.first()? {
                "$devices" => ("device", own.as_str()),
                "$registries" => ("registry", REG),
                "$monitoring" => ("monitoring", own.as_str()),
                _ => return None,
            };
            (*levels.get(1)? == owner).then(|| {
                format!(
                    "$me/{word}/{}",
                    levels.get(2..).unwrap_or_default().join("/")
                )
            })
        }
        _ => first.starts_with('$').then(|| topic.to_owned()),
    }
}

fn naive_publish(principal: &Principal, topic: &str) -> Option<(String, bool)> {
    let mut name = topic.to_owned();
    if topic.starts_with("devices/") || topic.starts_with("registries/") {
        name = format!("${topic}");
    }
    if let Actor::Device(own) = principal.actor {
        if let Some(rest) = topic.strip_prefix("$me/device/") {
            name = format!("$devices/{own}/{rest}");
        }
        if let Some(rest) = topic.strip_prefix("$me/registry/") {
            name = format!("$registries/{REG}/{rest}");
        }
    }
    let levels = levels(&name);
    let (kind, passing, permanent) = match principal.actor {
        Actor::Device(_) => (levels.get(2)?, "events", "state"),
        _ => (levels.get(2)?, "commands", "config"),
    };
    let whose = match (levels[0], principal.actor) {
        ("$registries", _) => levels[1] == REG,
        ("$devices", Actor::Device(own)) => levels[1] == own.as_str(),
        ("$devices", _) => [DEV, DEV2].contains(&levels[1]),
        _ => false,
    };
    (whose && (*kind == passing || *kind == permanent)).then(|| (name.clone(), *kind == permanent))
}

#[test]
fn every_publish_is_decided_as_the_table_says() {
    let (catalog, mut scratch, mut allowed) = (catalog(), String::new(), 0);
    for principal in principals() {
        for topic in topics() {
            let permit = publish(&principal, &topic, &catalog, &mut scratch)
                .map(|permit| (permit.topic().to_owned(), permit.stores() == Stores::Always));
            allowed += usize::from(permit.is_some());
            assert_eq!(
                permit,
                naive_publish(&principal, &topic),
                "{principal:?} to {topic}"
            );
        }
    }
    assert!(allowed > 100, "{allowed}");
}

#[test]
fn a_broker_space_has_no_rights_but_the_dollar() {
    let broker = Principal {
        space: SpaceId::Broker(id(REG)),
        actor: Actor::Broker,
    };
    let (catalog, mut scratch) = (catalog(), String::new());
    let permit = publish(&broker, "devices/x", &catalog, &mut scratch).expect("any topic");
    assert_eq!(
        (permit.topic(), permit.stores()),
        ("devices/x", Stores::IfRetain)
    );
    assert!(permit.keeps(true) && !permit.keeps(false));
    assert_eq!(publish(&broker, "$a", &catalog, &mut scratch), None);
    for text in ["#", "+/x", "/", "devices/#"] {
        let filter = TopicFilter::new(text).unwrap();
        let granted = Granted {
            canonical: vec![filter.clone()],
            form: Form::Canonical,
        };
        assert_eq!(subscribe(&broker, &filter), Ok(granted));
    }
    assert_eq!(
        subscribe(&broker, &TopicFilter::new("$SYS/#").unwrap()),
        Err(Denied)
    );
}

#[test]
fn a_canonical_topic_above_the_bound_is_refused() {
    let (catalog, mut scratch) = (catalog(), String::new());
    let long = format!("$me/device/events/{}", "x".repeat(1_024 - 18));
    assert_eq!(long.len(), 1_024);
    assert_eq!(
        publish(&principals()[0], &long, &catalog, &mut scratch),
        None
    );
    let filter = TopicFilter::new(&long.replace("events", "config")).unwrap();
    assert_eq!(subscribe(&principals()[0], &filter), Err(Denied));
}

#[test]
fn wildcards_read_what_the_model_names() {
    let [device, _, registry] = principals();
    let granted = |principal: &Principal, text: &str| {
        subscribe(principal, &TopicFilter::new(text).unwrap()).map(|granted| {
            let texts = granted
                .canonical
                .iter()
                .map(|filter| filter.as_str().to_owned());
            (texts.collect::<Vec<_>>(), granted.form)
        })
    };
    let both = |head: &str| [format!("{head}/commands/#"), format!("{head}/config/#")].to_vec();
    let of_device = both(&format!("$devices/{DEV}"));
    let of_registry = both(&format!("$registries/{REG}"));
    assert_eq!(
        granted(&device, "$devices/#"),
        Ok((of_device.clone(), Form::Canonical))
    );
    assert_eq!(
        granted(&device, "$registries/#"),
        Ok((of_registry, Form::Canonical))
    );
    assert_eq!(
        granted(&device, "devices/#"),
        Ok((of_device.clone(), Form::Plain))
    );
    assert_eq!(granted(&device, "$me/device/#"), Ok((of_device, Form::Me)));
    let all = [
        "$devices/+/events/#".to_owned(),
        "$devices/+/state/#".to_owned(),
    ]
    .to_vec();
    assert_eq!(granted(&registry, "$devices/#"), Ok((all, Form::Canonical)));
    for text in ["$devices/+", "$registries/+", "$SYS/#", "$me", "$me/+"] {
        assert_eq!(granted(&device, text), Err(Denied), "{text}");
    }
    assert_eq!(
        granted(&registry, &format!("$devices/{DEV}/commands")),
        Err(Denied)
    );
    for text in ["#", "+/x", "my/alias", "+/+/events", "monitoring/#"] {
        assert_eq!(
            granted(&registry, text),
            Ok((Vec::new(), Form::Alias)),
            "{text}"
        );
    }
}

fn filters() -> impl Strategy<Value = String> {
    let first = prop::sample::select(vec![
        "$devices",
        "$registries",
        "$monitoring",
        "$me",
        "devices",
        "registries",
        "monitoring",
        "+",
        "$SYS",
    ]);
    let second = prop::sample::select(vec![
        "+",
        "+",
        DEV,
        DEV2,
        ALIEN,
        REG,
        "device",
        "registry",
        "monitoring",
        "",
    ]);
    let third = prop::sample::select(vec![
        "+", "+", "events", "state", "commands", "config", "json", "eventsx", "",
    ]);
    let fourth = prop::sample::select(vec!["+", "sub", "json", ""]);
    (first, second, third, fourth, 1..=4_usize, any::<bool>()).prop_map(
        |(first, second, third, fourth, length, hash)| {
            let mut levels = vec![first, second, third, fourth];
            levels.truncate(length);
            if hash {
                levels.push("#");
            }
            levels.join("/")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// A filter delivers exactly those topics that it matches in its form and that its principal may read.
    #[test]
    fn a_filter_covers_what_it_matches_within_its_rights(text in filters()) {
        let filter = TopicFilter::new(&text).unwrap();
        let first = text.split('/').next().unwrap();
        for principal in principals() {
            let granted = subscribe(&principal, &filter);
            for topic in topics().iter().filter(|topic| topic.starts_with('$') && !topic.starts_with("$me")) {
                let name = naive_name(&principal, first, topic);
                let want = naive_read(&principal, topic)
                    && name.as_ref().is_some_and(|name| filter.matches(name));
                let covering = granted.iter().flat_map(|granted| &granted.canonical)
                    .filter(|canonical| canonical.matches(topic)).count();
                prop_assert_eq!(covering, usize::from(want), "{:?}: {} in {}", principal, topic, &text);
                if let (true, Ok(granted)) = (want, &granted) {
                    prop_assert_eq!(Some(granted.form.name(topic).concat()), name);
                }
            }
        }
    }
}
