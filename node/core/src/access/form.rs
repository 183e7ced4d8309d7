//! The form in which a subscription named its topics; what is delivered carries it again.

/// How a filter was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Form {
    /// As the topic is named inside: `$devices/…`; and everything of a broker space.
    Canonical = 0,
    /// Without the leading `$`: `devices/…`.
    Plain = 1,
    /// By the built-in alias of the session's device: `$me/…`.
    Me = 2,
    /// By an alias of the registry; there are none yet, so it has no canonical filter.
    Alias = 3,
}

impl Form {
    /// How many forms can have canonical filters: the first three.
    pub const DELIVERED: usize = 3;

    /// Those that can have canonical filters, by number.
    pub const ALL_DELIVERED: [Self; Self::DELIVERED] = [Self::Canonical, Self::Plain, Self::Me];

    /// The name of a canonical topic in this form, in two parts to be written one behind the other.
    pub fn name(self, canonical: &str) -> [&str; 2] {
        match self {
            Self::Canonical | Self::Alias => ["", canonical],
            Self::Plain => ["", canonical.strip_prefix('$').unwrap_or(canonical)],
            Self::Me => me(canonical).unwrap_or(["", canonical]),
        }
    }
}

/// `$devices/<own id>/state` is `$me/device/state`. That the ID is the session's own follows from the filter
/// that matched.
fn me(canonical: &str) -> Option<[&str; 2]> {
    const HEADS: [(&str, &str); 3] = [
        ("$devices/", "$me/device"),
        ("$registries/", "$me/registry"),
        ("$monitoring/", "$me/monitoring"),
    ];
    HEADS.iter().find_map(|(head, me)| {
        let rest = canonical.strip_prefix(head)?;
        Some([*me, rest.get(rest.find('/')?..)?])
    })
}
