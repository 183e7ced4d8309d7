//! The rules that values of a configuration keep between them.

use std::{fmt::Display, time::Duration};

use mainstay_core::{ids::ShardId, time};

use crate::config::{Config, Error, Listener, ProxyProtocol};

/// The longest election: an election time-out after the lease of the same length, on which openraft waits first.
const LONGEST_ELECTION_MS: u64 = 1_200;
/// More would not fit a frame between nodes with room to spare.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

impl Config {
    pub(super) fn validate(&self) -> Result<(), Error> {
        if let Some(name) = &self.node.name {
            check_name("node.name", name)?;
        }
        rule(
            self.node.shards <= ShardId::MAX,
            "node.shards",
            format!("must be at most {}", ShardId::MAX),
            &self.node.shards,
        )?;
        if let Some(listener) = &self.listeners.mqtts {
            check_listener("listeners.mqtts", listener)?;
            for (key, file) in [
                (
                    "listeners.mqtts.certificate_file",
                    &listener.certificate_file,
                ),
                ("listeners.mqtts.key_file", &listener.key_file),
            ] {
                if file.is_none() {
                    return Err(Error::Missing { key });
                }
            }
        }
        if let Some(listener) = &self.listeners.mqtt {
            check_listener("listeners.mqtt", listener)?;
            rule(
                listener.certificate_file.is_none() && listener.key_file.is_none(),
                "listeners.mqtt",
                "takes no certificate; listeners.mqtts is the one with TLS",
                &"certificate_file or key_file",
            )?;
        }
        self.validate_cluster()?;
        self.validate_timing()?;
        rule(
            (1..=MAX_PAYLOAD).contains(&self.limits.max_payload_bytes),
            "limits.max_payload_bytes",
            format!("must be 1 to {MAX_PAYLOAD}"),
            &self.limits.max_payload_bytes,
        )?;
        rule(
            self.limits.max_connections > 0,
            "limits.max_connections",
            "must be at least 1",
            &0,
        )
    }

    fn validate_cluster(&self) -> Result<(), Error> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        rule(
            !cluster.listen.is_empty(),
            "cluster.listen",
            "needs an address",
            &"none",
        )?;
        rule(
            !cluster.seeds.is_empty(),
            "cluster.seeds",
            "needs at least this node",
            &"none",
        )?;
        for seed in &cluster.seeds {
            check_name("cluster.seeds", &seed.name)?;
            let same = cluster
                .seeds
                .iter()
                .filter(|other| other.name == seed.name)
                .count();
            rule(
                same == 1,
                "cluster.seeds",
                "must have each name once",
                &seed.name,
            )?;
        }
        if let Some(name) = &self.node.name {
            rule(
                cluster.seeds.iter().any(|seed| seed.name == *name),
                "node.name",
                "must be the name of one of cluster.seeds",
                &format!("{name:?}"),
            )?;
        }
        let expect = cluster.bootstrap_expect.unwrap_or(cluster.seeds.len());
        rule(
            (1..=cluster.seeds.len()).contains(&expect),
            "cluster.bootstrap_expect",
            format!("must be 1 to the number of seeds ({})", cluster.seeds.len()),
            &expect,
        )?;
        rule(
            matches!(cluster.max_voters, 1 | 3 | 5),
            "cluster.max_voters",
            "must be 1, 3 or 5",
            &cluster.max_voters,
        )
    }

    fn validate_timing(&self) -> Result<(), Error> {
        let timing = &self.timing;
        rule(
            timing.fence_after_ms >= 2 * LONGEST_ELECTION_MS,
            "timing.fence_after_ms",
            format!(
                "must be at least two elections ({})",
                2 * LONGEST_ELECTION_MS
            ),
            &timing.fence_after_ms,
        )?;
        rule(
            timing.down_after_ms * 2 >= timing.fence_after_ms * 3,
            "timing.down_after_ms",
            format!(
                "must be at least 1.5 x fence_after_ms ({})",
                timing.fence_after_ms * 3 / 2
            ),
            &timing.down_after_ms,
        )?;
        rule(
            (50..=timing.fence_after_ms / 3).contains(&timing.renew_ms),
            "timing.renew_ms",
            format!(
                "must be 50 to a third of fence_after_ms ({})",
                timing.fence_after_ms / 3
            ),
            &timing.renew_ms,
        )?;
        rule(
            timing.stall_after_ms >= 500,
            "timing.stall_after_ms",
            "must be at least 500",
            &timing.stall_after_ms,
        )
    }

    /// The time-outs as core takes them.
    pub fn timing(&self) -> time::Timing {
        time::Timing {
            renew: Duration::from_millis(self.timing.renew_ms),
            stall_after: Duration::from_millis(self.timing.stall_after_ms),
            fence_after: Duration::from_millis(self.timing.fence_after_ms),
            down_after: Duration::from_millis(self.timing.down_after_ms),
            ..time::Timing::default()
        }
    }

    /// The keys that may come from elsewhere but must be there to serve.
    pub fn missing_to_serve(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if self.node.name.is_none() {
            missing.push("node.name");
        }
        if self
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.advertise.is_none())
        {
            missing.push("cluster.advertise");
        }
        missing
    }

    /// How many shards to run.
    pub fn shards(&self) -> u8 {
        if self.node.shards > 0 {
            return self.node.shards;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        u8::try_from(cores)
            .unwrap_or(ShardId::MAX)
            .min(ShardId::MAX)
    }
}

fn rule(holds: bool, key: &str, rule: impl Into<String>, found: &dyn Display) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    Err(Error::Rule {
        key: key.to_owned(),
        rule: rule.into(),
        found: found.to_string(),
    })
}

fn check_name(key: &str, name: &str) -> Result<(), Error> {
    let fine = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && name.as_bytes()[0].is_ascii_alphanumeric();
    rule(
        fine,
        key,
        "must be 1 to 63 letters, digits, '-' and '.', a DNS name",
        &format!("{name:?}"),
    )
}

fn check_listener(key: &str, listener: &Listener) -> Result<(), Error> {
    rule(
        !listener.addresses.is_empty(),
        &format!("{key}.addresses"),
        "needs an address",
        &"none",
    )?;
    rule(
        listener.proxy_protocol == ProxyProtocol::Off || !listener.trusted_networks.is_empty(),
        &format!("{key}.trusted_networks"),
        "must name who may send a PROXY header",
        &"none",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::parse;

    fn error(text: &str) -> String {
        let text = format!("[node]\nname = \"n0\"\ndata = \"d\"\n{text}");
        parse("t", &text, &BTreeMap::new(), &[])
            .expect_err("a rule is broken")
            .to_string()
    }

    #[test]
    fn broken_rules_are_named_with_key_and_value() {
        let cases = [
            ("[timing]\nfence_after_ms = 2000", "timing.fence_after_ms"),
            ("[timing]\ndown_after_ms = 4000", "timing.down_after_ms"),
            ("[timing]\nrenew_ms = 2000", "timing.renew_ms"),
            (
                "[limits]\nmax_payload_bytes = 0",
                "limits.max_payload_bytes",
            ),
            (
                "[listeners.mqtt]\naddresses = [\"127.0.0.1:1\"]\nproxy_protocol = \"required\"",
                "listeners.mqtt.trusted_networks",
            ),
            (
                "[listeners.mqtts]\naddresses = [\"127.0.0.1:1\"]",
                "listeners.mqtts.certificate_file",
            ),
        ];
        for (text, key) in cases {
            let error = error(text);
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
