//! The keys that environment variables and flags can set.

/// The type of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    /// Separated by commas.
    List,
}

/// Every key with its path; `MAINSTAY_` and the path in capitals joined by `_` is its variable.
pub(super) const KEYS: &[(&str, Kind)] = &[
    ("node.name", Kind::Text),
    ("node.data", Kind::Text),
    ("node.shards", Kind::Number),
    ("listeners.mqtts.addresses", Kind::List),
    ("listeners.mqtts.certificate_file", Kind::Text),
    ("listeners.mqtts.key_file", Kind::Text),
    ("listeners.mqtts.proxy_protocol", Kind::Text),
    ("listeners.mqtts.trusted_networks", Kind::List),
    ("listeners.mqtt.addresses", Kind::List),
    ("listeners.mqtt.proxy_protocol", Kind::Text),
    ("listeners.mqtt.trusted_networks", Kind::List),
    ("admin.addresses", Kind::List),
    ("cluster.listen", Kind::List),
    ("cluster.advertise", Kind::Text),
    ("cluster.seeds", Kind::List),
    ("cluster.bootstrap_expect", Kind::Number),
    ("cluster.max_voters", Kind::Number),
    ("cluster.ca_file", Kind::Text),
    ("cluster.certificate_file", Kind::Text),
    ("cluster.key_file", Kind::Text),
    ("cluster.trust_refused", Kind::Switch),
    ("timing.renew_ms", Kind::Number),
    ("timing.stall_after_ms", Kind::Number),
    ("timing.fence_after_ms", Kind::Number),
    ("timing.down_after_ms", Kind::Number),
    ("limits.max_connections", Kind::Number),
    ("limits.max_payload_bytes", Kind::Number),
    ("log.format", Kind::Text),
    ("log.level", Kind::Text),
];

/// The variable of a key.
pub(super) fn variable(path: &str) -> String {
    format!("MAINSTAY_{}", path.replace('.', "_").to_uppercase())
}
