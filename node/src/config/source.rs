//! Reads and merges the sources of a configuration.

use std::{collections::BTreeMap, path::Path};

use toml::{Table, Value};

use crate::config::{
    Config, Error,
    keys::{KEYS, Kind, variable},
};

/// A variable that begins so is meant for the configuration; others of ours (`MAINSTAY_BIN` of the tests,
/// `MAINSTAY_N0_MQTTS` of HAProxy) are not.
const SECTIONS: [&str; 7] = [
    "MAINSTAY_NODE_",
    "MAINSTAY_LISTENERS_",
    "MAINSTAY_ADMIN_",
    "MAINSTAY_CLUSTER_",
    "MAINSTAY_TIMING_",
    "MAINSTAY_LIMITS_",
    "MAINSTAY_LOG_",
];

/// Reads the file, applies the environment and the flags (`key=value`), and checks the whole.
///
/// # Errors
/// Names the file, variable, flag or key that is wrong, and what was expected.
pub fn load(
    path: &Path,
    environment: &BTreeMap<String, String>,
    flags: &[String],
) -> Result<Config, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    parse(&path.display().to_string(), &text, environment, flags)
}

/// As [`load`], of a text.
///
/// # Errors
/// As [`load`].
pub fn parse(
    origin: &str,
    text: &str,
    environment: &BTreeMap<String, String>,
    flags: &[String],
) -> Result<Config, Error> {
    let parse_error = |error: toml::de::Error| Error::Parse {
        origin: origin.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    };
    // The first pass is for the messages: it knows line and column of what is wrong. What only the
    // environment completes may still be missing in it.
    let mut table: Table = toml::from_str(text).map_err(parse_error)?;
    let mut overridden = false;
    for (name, value) in environment {
        if SECTIONS.iter().any(|section| name.starts_with(section)) {
            let (path, kind) = KEYS
                .iter()
                .find(|(path, _)| variable(path) == *name)
                .ok_or_else(|| unknown(format!("environment variable {name}")))?;
            set(
                &mut table,
                path,
                value_of(*kind, value, || format!("environment variable {name}"))?,
            );
            overridden = true;
        }
    }
    for flag in flags {
        let (path, value) = flag.split_once('=').ok_or_else(|| Error::BadValue {
            origin: "flag --set".into(),
            expected: "key=value",
            found: flag.clone(),
        })?;
        let (path, kind) = KEYS
            .iter()
            .find(|(known, _)| *known == path)
            .ok_or_else(|| unknown(format!("flag --set {path}")))?;
        set(
            &mut table,
            path,
            value_of(*kind, value, || format!("flag --set {path}"))?,
        );
        overridden = true;
    }
    let config: Config = if overridden {
        table.try_into().map_err(parse_error)?
    } else {
        toml::from_str(text).map_err(parse_error)?
    };
    config.validate()?;
    Ok(config)
}

fn unknown(origin: String) -> Error {
    let keys: Vec<_> = KEYS.iter().map(|(path, _)| *path).collect();
    Error::UnknownKey {
        origin,
        keys: keys.join(", "),
    }
}

fn value_of(kind: Kind, text: &str, origin: impl Fn() -> String) -> Result<Value, Error> {
    let bad = |expected| Error::BadValue {
        origin: origin(),
        expected,
        found: text.to_owned(),
    };
    Ok(match kind {
        Kind::Text => Value::String(text.to_owned()),
        Kind::Number => Value::Integer(text.parse().map_err(|_| bad("a whole number"))?),
        Kind::Switch => Value::Boolean(text.parse().map_err(|_| bad("true or false"))?),
        Kind::List => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        ),
    })
}

fn set(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table
                .entry(section)
                .or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, Error> {
        parse("test.toml", text, &BTreeMap::new(), &[])
    }

    const SMALL: &str = "[node]\nname = \"n0\"\ndata = \"/var/lib/mainstay\"\n";

    #[test]
    fn an_unknown_key_is_named() {
        let error = read(&format!("{SMALL}shardz = 3\n"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("shardz") && error.contains("shards"),
            "{error}"
        );
        assert!(error.contains("test.toml"), "{error}");
    }

    #[test]
    fn environment_and_flags_override_the_file() {
        let environment = BTreeMap::from([
            ("MAINSTAY_NODE_NAME".to_owned(), "n7".to_owned()),
            (
                "MAINSTAY_ADMIN_ADDRESSES".to_owned(),
                "127.0.0.1:1, [::1]:1".to_owned(),
            ),
            ("HOME".to_owned(), "/".to_owned()),
        ]);
        let config = parse(
            "t",
            SMALL,
            &environment,
            &["timing.renew_ms=200".to_owned()],
        )
        .unwrap();
        assert_eq!(config.node.name.as_deref(), Some("n7"));
        assert_eq!(config.admin.addresses.len(), 2);
        assert_eq!(config.timing.renew_ms, 200);
    }

    #[test]
    fn an_unknown_variable_or_flag_is_named() {
        let environment = BTreeMap::from([("MAINSTAY_NODE_NAM".to_owned(), "x".to_owned())]);
        let error = parse("t", SMALL, &environment, &[])
            .unwrap_err()
            .to_string();
        assert!(error.contains("MAINSTAY_NODE_NAM"), "{error}");
        let flags = ["node.nam=x".to_owned()];
        let error = parse("t", SMALL, &BTreeMap::new(), &flags)
            .unwrap_err()
            .to_string();
        assert!(error.contains("node.nam"), "{error}");
    }

    #[test]
    fn every_key_of_the_table_is_a_key_of_the_model() {
        for (path, kind) in KEYS {
            let value = match kind {
                Kind::Text if path.ends_with("proxy_protocol") => "off",
                Kind::Text if path.ends_with("format") => "text",
                Kind::Text => "x",
                Kind::Number => "7",
                Kind::Switch => "true",
                Kind::List if path.ends_with("seeds") => "n0=h:1",
                Kind::List if path.ends_with("networks") => "10.0.0.0/8",
                Kind::List => "127.0.0.1:1",
            };
            let mut table: Table = toml::from_str(SMALL).unwrap();
            set(
                &mut table,
                path,
                value_of(*kind, value, String::new).unwrap(),
            );
            let result: Result<Config, _> = table.try_into();
            if let Err(error) = result {
                let text = error.to_string();
                assert!(text.contains("missing field"), "{path}: {text}");
            }
        }
    }
}
