//! Logs. Set up once by `app`, before anything else runs; metrics are each room's own.

use std::{io::IsTerminal, time::SystemTime};

use metrics::{Unit, describe_gauge, gauge};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{Log, LogFormat};

/// A log level or filter that cannot be parsed, or a second start of logging.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `log.level` is no filter.
    #[error("configuration key log.level: expected a level or filter, found {found:?}")]
    Level {
        /// What was given.
        found: String,
        /// The parser's words.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logging was set up before.
    #[error("logging is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging to standard error: text on a terminal, JSON otherwise, unless the configuration says.
///
/// # Errors
/// If the level cannot be parsed, or logging runs already.
pub fn start(log: &Log) -> Result<(), Error> {
    // openraft repeats at each try what this node says once; what is fatal in it the room `raft` reports.
    let quiet = if log.level.contains("openraft") {
        ""
    } else {
        ",openraft=off"
    };
    let filter = EnvFilter::builder()
        .parse(format!("{}{quiet}", log.level))
        .map_err(|source| Error::Level {
            found: log.level.clone(),
            source,
        })?;
    let json = match log.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        let layer = fmt::layer()
            .json()
            .flatten_event(true)
            .with_writer(std::io::stderr);
        registry.with(layer).try_init().map_err(Error::Twice)
    } else {
        registry
            .with(fmt::layer().with_writer(std::io::stderr))
            .try_init()
            .map_err(Error::Twice)
    }
}

/// Describes the metrics of the process as a whole and sets those that never change.
pub fn describe_process() {
    describe_gauge!("mainstay_build_info", "Constant 1; joins the version");
    describe_gauge!(
        "mainstay_start_time_seconds",
        Unit::Seconds,
        "Start of the process, Unix time"
    );
    gauge!("mainstay_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    gauge!("mainstay_start_time_seconds").set(started.map_or(0.0, |since| since.as_secs_f64()));
}
