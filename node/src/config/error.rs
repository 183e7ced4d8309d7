//! What can be wrong with a configuration.

use std::{io, path::PathBuf};

/// A configuration that cannot be used; each variant names the file, variable or key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("reading configuration file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The text is no TOML, has an unknown key, or a value of the wrong type.
    #[error("configuration {origin}: {message}")]
    Parse {
        /// The file, or what overrides it.
        origin: String,
        /// The parser's words: line, key, what was expected.
        message: String,
    },
    /// An environment variable or flag names no key.
    #[error("{origin} names no configuration key; the keys are {keys}")]
    UnknownKey {
        /// The variable or flag.
        origin: String,
        /// All keys.
        keys: String,
    },
    /// An environment variable or flag has a value of the wrong type.
    #[error("{origin}: expected {expected}, found {found:?}")]
    BadValue {
        /// The variable or flag.
        origin: String,
        /// The type.
        expected: &'static str,
        /// What was given.
        found: String,
    },
    /// A value that breaks a rule.
    #[error("configuration key {key}: {rule}, found {found}")]
    Rule {
        /// The key.
        key: String,
        /// What it must be.
        rule: String,
        /// What it is.
        found: String,
    },
    /// A key that must be given.
    #[error("configuration key {key} is required")]
    Missing {
        /// The key.
        key: &'static str,
    },
}
