//! The tree of commands and their flags.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::dev;

/// A clustered MQTT broker for fleets of devices.
#[derive(Debug, Parser)]
#[command(name = "mainstay", version, about)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
    /// How answers are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// The same as --format json.
    #[arg(long, global = true)]
    json: bool,
}

impl Arguments {
    pub(super) fn format(&self) -> Format {
        if self.json { Format::Json } else { self.format }
    }
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A table for people.
    Text,
    /// JSON for programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs a cluster on loopback with everything made for it.
    Dev(Dev),
    /// Runs one node.
    Serve {
        /// The configuration file (TOML).
        #[arg(long)]
        config: PathBuf,
        /// Overrides one key of the file: --set timing.renew_ms=200.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Drains and exits when standard input ends.
        #[arg(long, hide = true)]
        exit_with_stdin: bool,
    },
    /// Checks configurations, makes certificates.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Asks about the cluster.
    Cluster {
        #[command(subcommand)]
        command: ClusterCommand,
    },
    /// Works on one node through its local socket.
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Dev {
    /// How many nodes (1 to 9; 1 unless given).
    #[arg(long)]
    nodes: Option<u16>,
    /// The folder of the cluster; a temporary one unless given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Node I listens at P + 10 x I: +0 MQTT, +1 MQTT over TLS, +2 API, +3 admin, +4 peers.
    #[arg(long, value_name = "P")]
    port_base: Option<u16>,
    /// Starts this one node of the folder again, in the foreground.
    #[arg(long, value_name = "I")]
    node: Option<u16>,
}

impl From<Dev> for dev::Options {
    fn from(
        Dev {
            nodes,
            data,
            port_base,
            node,
        }: Dev,
    ) -> Self {
        Self {
            nodes,
            data,
            port_base,
            node,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Checks a configuration file without starting anything.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Makes a CA and one certificate for each name, for trying things out.
    Certs {
        /// The folder; an existing CA in it is used again.
        #[arg(long)]
        out: PathBuf,
        /// The names, separated by commas.
        #[arg(long, value_delimiter = ',', required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Prints leader and members.
    Status {
        /// A node's data folder, or a `dev` folder.
        #[arg(long)]
        data: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Creates a folder, registries, devices and brokers; run again it changes nothing.
    Seed {
        /// A node's data folder, or a `dev` folder.
        #[arg(long)]
        data: PathBuf,
        /// The seed file (TOML).
        #[arg(long)]
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Arguments::command().debug_assert();
    }
}
