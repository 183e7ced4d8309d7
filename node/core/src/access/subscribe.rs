//! The right to read: from a filter as the client wrote it to the canonical filters within its rights.

use crate::{
    access::{COMMANDS, CONFIG, EVENTS, Form, STATE, intersect::intersect},
    ids::{Actor, Principal, ResourceId, SpaceId},
    topic::TopicFilter,
};

/// What a subscription may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The canonical filters, disjoint; none for a filter that covers aliases only.
    pub canonical: Vec<TopicFilter>,
    /// How it was asked.
    pub form: Form,
}

/// A filter within which its principal may read nothing; answered 0x80 [MQTT-3.9.3-2].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter holds nothing that its principal may read")]
pub struct Denied;

/// Decides what of a filter a principal may read.
///
/// # Errors
///
/// [`Denied`] if nothing, or if the canonical filter would be longer than a filter can be.
pub fn subscribe(principal: &Principal, filter: &TopicFilter) -> Result<Granted, Denied> {
    let asked = filter.as_str();
    let registry = match principal.space {
        SpaceId::Broker(_) if asked.starts_with('$') => return Err(Denied),
        SpaceId::Broker(_) => {
            return Ok(Granted {
                canonical: vec![filter.clone()],
                form: Form::Canonical,
            });
        }
        SpaceId::Registry(registry) => registry,
    };
    let form = form_of(asked);
    if form == Form::Alias {
        return Ok(Granted {
            canonical: Vec::new(),
            form,
        });
    }
    let canonical: Vec<TopicFilter> = rights(registry, principal.actor, form)
        .iter()
        .filter_map(|right| right.within(filter))
        .collect();
    if canonical.is_empty() {
        Err(Denied)
    } else {
        Ok(Granted { canonical, form })
    }
}

/// A filter whose first level is a wildcard covers aliases only, like every other without `$`.
fn form_of(asked: &str) -> Form {
    match asked.split('/').next().unwrap_or_default() {
        "$me" => Form::Me,
        "devices" | "registries" => Form::Plain,
        level if level.starts_with('$') => Form::Canonical,
        _ => Form::Alias,
    }
}

/// One pattern of the rights table, as it is written in one form.
struct Right {
    /// How the form writes the beginning.
    head: &'static str,
    /// What that is canonically.
    canonical: String,
    /// The rest, the same in both.
    tail: String,
}

impl Right {
    fn within(&self, filter: &TopicFilter) -> Option<TopicFilter> {
        let pattern = format!("{}{}", self.head, self.tail);
        let shared = intersect(filter.as_str(), &pattern)?;
        // The pattern's head is literal, so the shared filter begins with it.
        let tail = shared.strip_prefix(self.head)?;
        if filter.as_str() == shared && self.head == self.canonical {
            return Some(filter.clone());
        }
        TopicFilter::new(&format!("{}{tail}", self.canonical)).ok()
    }
}

fn rights(registry: ResourceId, actor: Actor, form: Form) -> Vec<Right> {
    let kinds = match actor {
        Actor::Device(_) => [COMMANDS, CONFIG],
        Actor::Registry => [EVENTS, STATE],
        Actor::Broker => return Vec::new(),
    };
    let mut rights = Vec::with_capacity(5);
    if form == Form::Me {
        let Actor::Device(device) = actor else {
            return rights;
        };
        for kind in kinds {
            rights.push(right(
                "$me/device",
                format!("$devices/{device}"),
                format!("/{kind}/#"),
            ));
            let canonical = format!("$registries/{registry}");
            rights.push(right("$me/registry", canonical, format!("/{kind}/#")));
        }
        rights.push(right(
            "$me/monitoring",
            format!("$monitoring/{device}"),
            "/json".to_owned(),
        ));
        return rights;
    }
    let (devices, registries) = match form {
        Form::Plain => ("devices", "registries"),
        _ => ("$devices", "$registries"),
    };
    let whose = match &actor {
        Actor::Device(device) => device.as_str(),
        _ => "+",
    };
    for kind in kinds {
        rights.push(right(
            devices,
            "$devices".to_owned(),
            format!("/{whose}/{kind}/#"),
        ));
        rights.push(right(
            registries,
            "$registries".to_owned(),
            format!("/{registry}/{kind}/#"),
        ));
    }
    if form == Form::Canonical {
        rights.push(right(
            "$monitoring",
            "$monitoring".to_owned(),
            "/+/json".to_owned(),
        ));
    }
    rights
}

fn right(head: &'static str, canonical: String, tail: String) -> Right {
    Right {
        head,
        canonical,
        tail,
    }
}
