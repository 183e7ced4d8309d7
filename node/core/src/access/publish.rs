//! The right to publish: from the topic as the client wrote it to a permit for the canonical one.

use crate::{
    access::{COMMANDS, CONFIG, EVENTS, STATE},
    catalog::Catalog,
    ids::{Actor, Principal, ResourceId, SpaceId},
    limits::TOPIC_BYTES,
};

/// Whether a topic keeps its last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stores {
    /// It never does.
    Never,
    /// A permanent topic of a registry space: whatever the RETAIN flag says.
    Always,
    /// A topic of a broker space: if RETAIN is 1 [MQTT-3.3.1-5].
    IfRetain,
}

/// The right to publish to one topic; nothing else can make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit<'t> {
    topic: &'t str,
    stores: Stores,
}

impl<'t> Permit<'t> {
    /// The canonical topic, 1 to [`TOPIC_BYTES`] bytes.
    pub fn topic(&self) -> &'t str {
        self.topic
    }

    /// Whether the topic stores.
    pub fn stores(&self) -> Stores {
        self.stores
    }

    /// Whether this message is stored, by its RETAIN flag.
    pub fn keeps(&self, retain: bool) -> bool {
        match self.stores {
            Stores::Never => false,
            Stores::Always => true,
            Stores::IfRetain => retain,
        }
    }
}

/// Decides whether a principal may publish to a topic; `None` if not.
///
/// `topic` is a topic name that the codec has checked. `scratch` holds the canonical name where it is not the one
/// that was written; it is overwritten, and kept by the caller so that no message allocates.
pub fn publish<'t>(
    principal: &Principal,
    topic: &'t str,
    catalog: &Catalog,
    scratch: &'t mut String,
) -> Option<Permit<'t>> {
    let permit = match (principal.space, principal.actor) {
        (SpaceId::Broker(_), Actor::Broker) => (!topic.starts_with('$')).then_some(Permit {
            topic,
            stores: Stores::IfRetain,
        }),
        (SpaceId::Registry(registry), Actor::Device(device)) => {
            of_device(registry, device, topic, scratch)
        }
        (SpaceId::Registry(registry), Actor::Registry) => {
            of_registry(registry, topic, catalog, scratch)
        }
        // A principal of one kind in a space of the other: never made, and without rights.
        (SpaceId::Broker(_), Actor::Registry | Actor::Device(_))
        | (SpaceId::Registry(_), Actor::Broker) => None,
    }?;
    (permit.topic.len() <= TOPIC_BYTES).then_some(permit)
}

fn of_device<'t>(
    registry: ResourceId,
    device: ResourceId,
    topic: &'t str,
    scratch: &'t mut String,
) -> Option<Permit<'t>> {
    let mine = |rest: &str| kind(rest, STATE, EVENTS);
    if let Some(rest) = topic.strip_prefix("$me/") {
        let (head, id, rest) = if let Some(rest) = rest.strip_prefix("device/") {
            ("$devices/", device, rest)
        } else {
            ("$registries/", registry, rest.strip_prefix("registry/")?)
        };
        let stores = mine(rest)?;
        write(scratch, &[head, id.as_str(), "/", rest]);
        return Some(Permit {
            topic: scratch,
            stores,
        });
    }
    let named = Named::read(topic)?;
    let own = match named.space {
        Head::Devices => device,
        Head::Registries => registry,
    };
    let stores = (named.id == own.as_str())
        .then(|| mine(named.rest))
        .flatten()?;
    Some(Permit {
        topic: named.canonical(topic, scratch),
        stores,
    })
}

fn of_registry<'t>(
    registry: ResourceId,
    topic: &'t str,
    catalog: &Catalog,
    scratch: &'t mut String,
) -> Option<Permit<'t>> {
    let named = Named::read(topic)?;
    let stores = kind(named.rest, CONFIG, COMMANDS)?;
    let allowed = match named.space {
        Head::Devices => catalog.device_in(&registry, &named.id.parse().ok()?),
        Head::Registries => named.id == registry.as_str(),
    };
    allowed.then(|| Permit {
        topic: named.canonical(topic, scratch),
        stores,
    })
}

/// What follows an ID: a kind and maybe a subtopic, which has the kind's rights and permanence.
fn kind(rest: &str, permanent: &str, passing: &str) -> Option<Stores> {
    let kind = rest.split_once('/').map_or(rest, |(kind, _)| kind);
    if kind == permanent {
        Some(Stores::Always)
    } else {
        (kind == passing).then_some(Stores::Never)
    }
}

enum Head {
    Devices,
    Registries,
}

/// A topic that names a device or registry by its ID, with or without the leading `$`.
struct Named<'t> {
    space: Head,
    id: &'t str,
    rest: &'t str,
}

impl<'t> Named<'t> {
    fn read(topic: &'t str) -> Option<Self> {
        let name = topic.strip_prefix('$').unwrap_or(topic);
        let (space, name) = if let Some(name) = name.strip_prefix("devices/") {
            (Head::Devices, name)
        } else {
            (Head::Registries, name.strip_prefix("registries/")?)
        };
        let (id, rest) = name.split_once('/')?;
        Some(Self { space, id, rest })
    }

    fn canonical(&self, topic: &'t str, scratch: &'t mut String) -> &'t str {
        if topic.starts_with('$') {
            return topic;
        }
        write(scratch, &["$", topic]);
        scratch
    }
}

fn write(scratch: &mut String, parts: &[&str]) {
    scratch.clear();
    for part in parts {
        scratch.push_str(part);
    }
}
