//! `SEED.toml`: a folder, registries with their devices, and brokers, each with passwords.

use mainstay_core::ids::{BadResourceId, ResourceId};
use serde::Deserialize;

/// The content of a seed file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seed {
    /// The folder's ID; the cluster's first folder, or a new one, unless given.
    pub folder: Option<String>,
    /// `[[registry]]`
    #[serde(default)]
    pub registry: Vec<Registry>,
    /// `[[broker]]`
    #[serde(default)]
    pub broker: Vec<Account>,
}

/// `[[registry]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Its ID; made unless given.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// A password of its own.
    pub password: Option<String>,
    /// `[[registry.device]]`
    #[serde(default)]
    pub device: Vec<Account>,
}

/// `[[registry.device]]` and `[[broker]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Its ID; made unless given.
    pub id: Option<String>,
    /// Its name.
    pub name: String,
    /// Its password.
    pub password: Option<String>,
}

/// A seed file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// No TOML, an unknown key, a wrong type.
    #[error("seed file: {message}")]
    Parse {
        /// The parser's words.
        message: String,
    },
    /// An ID of the wrong form.
    #[error("seed file: {kind} {name:?}: {source}")]
    Id {
        /// The kind of the resource.
        kind: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        source: BadResourceId,
    },
    /// A password that breaks the rule.
    #[error(
        "seed file: {kind} {name:?}: a password has at least 14 characters of at least three of: \
         lower case, upper case, digits, special; this one has {length} characters of {classes}"
    )]
    Password {
        /// The kind of the resource.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Its length in characters.
        length: usize,
        /// How many of the four classes it has.
        classes: usize,
    },
}

impl Seed {
    /// Reads and checks a seed file.
    ///
    /// # Errors
    /// Names the resource and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, SeedError> {
        let seed: Self = toml::from_str(text).map_err(|error| SeedError::Parse {
            message: error.to_string().trim_end().to_owned(),
        })?;
        if let Some(id) = &seed.folder {
            parse_id("folder", "", Some(id))?;
        }
        for registry in &seed.registry {
            parse_id("registry", &registry.name, registry.id.as_deref())?;
            check_password("registry", &registry.name, registry.password.as_deref())?;
            for device in &registry.device {
                parse_id("device", &device.name, device.id.as_deref())?;
                check_password("device", &device.name, device.password.as_deref())?;
            }
        }
        for broker in &seed.broker {
            parse_id("broker", &broker.name, broker.id.as_deref())?;
            check_password("broker", &broker.name, broker.password.as_deref())?;
        }
        Ok(seed)
    }
}

/// The ID if one is given.
pub(super) fn parse_id(
    kind: &'static str,
    name: &str,
    id: Option<&str>,
) -> Result<Option<ResourceId>, SeedError> {
    id.map(str::parse)
        .transpose()
        .map_err(|source| SeedError::Id {
            kind,
            name: name.to_owned(),
            source,
        })
}

fn check_password(kind: &'static str, name: &str, password: Option<&str>) -> Result<(), SeedError> {
    let Some(password) = password else {
        return Ok(());
    };
    let has = |class: fn(&char) -> bool| usize::from(password.chars().any(|c| class(&c)));
    let classes = has(|c| c.is_lowercase())
        + has(|c| c.is_uppercase())
        + has(char::is_ascii_digit)
        + has(|c| !c.is_alphanumeric());
    let length = password.chars().count();
    if length < 14 || classes < 3 {
        return Err(SeedError::Password {
            kind,
            name: name.to_owned(),
            length,
            classes,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_is_read() {
        let seed = Seed::parse(
            "folder = \"b1gaaaaaaaaaaaaaaaaa\"\n[[registry]]\nname = \"r\"\npassword = \"Abcdefghijklm1\"\n\
             [[registry.device]]\nname = \"d\"\n[[broker]]\nname = \"b\"\n",
        )
        .unwrap();
        assert_eq!(seed.registry[0].device[0].name, "d");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, part) in [
            ("fodler = 1", "fodler"),
            ("[[registry]]\nname = \"r\"\nid = \"short\"", "short"),
            (
                "[[broker]]\nname = \"b\"\npassword = \"short\"",
                "14 characters",
            ),
            (
                "[[broker]]\nname = \"b\"\npassword = \"alllowercaseletters\"",
                "three of",
            ),
        ] {
            let error = Seed::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
