//! The command line: parses arguments, calls one room, prints, and turns errors into exit codes.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong usage. Errors go to standard error with their whole chain.

mod args;
mod output;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
    process::ExitCode,
};

use clap::Parser;

use crate::{
    app, certificates,
    cli::args::{Arguments, ClusterCommand, Command, ConfigCommand, NodeCommand},
    config, dev, local,
};

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let format = arguments.format();
    match arguments.command {
        Command::Dev(options) => {
            // Each node logs for itself; this is the parent's own, or that of a node in the foreground.
            crate::telemetry::start(&config::Log::default())?;
            Ok(dev::run(&options.into())?)
        }
        Command::Serve {
            config: file,
            set,
            exit_with_stdin,
        } => {
            let config = config::load(&file, &environment(), &set)?;
            crate::telemetry::start(&config.log)?;
            Ok(app::run(config, app::Options { exit_with_stdin })?)
        }
        Command::Config {
            command: ConfigCommand::Check { file },
        } => {
            let config = config::load(&file, &environment(), &[])?;
            println!("{} is a valid configuration", file.display());
            for missing in config.missing_to_serve() {
                println!("note: {missing} must still be given to serve, here or as environment");
            }
            Ok(())
        }
        Command::Config {
            command: ConfigCommand::Certs { out, names },
        } => Ok(make_certificates(&out, &names)?),
        Command::Cluster {
            command: ClusterCommand::Status { data },
        } => {
            let status = block_on(local::status_any(&data))??;
            output::status(&status, format)?;
            Ok(())
        }
        Command::Node {
            command: NodeCommand::Seed { data, file },
        } => {
            let toml = std::fs::read_to_string(&file).map_err(|source| Failure::File {
                path: file.display().to_string(),
                source,
            })?;
            let seeded = block_on(local::seed_any(&data, &toml))??;
            output::seeded(&seeded, format)?;
            Ok(())
        }
    }
}

fn environment() -> BTreeMap<String, String> {
    std::env::vars().collect()
}

/// Writes `server/` and `peer/` with a CA, a certificate and a key each; what is there already is kept.
fn make_certificates(out: &Path, names: &[String]) -> Result<(), certificates::Error> {
    for (part, certificate_names) in [
        ("server", vec!["localhost".to_owned()]),
        ("peer", [names, &["localhost".to_owned()]].concat()),
    ] {
        let folder = out.join(part);
        let file_error = |source| certificates::Error::File {
            path: folder.clone(),
            source,
        };
        std::fs::create_dir_all(&folder).map_err(file_error)?;
        let authority = certificates::Authority::open_or_make(&folder)?;
        if folder.join("tls.crt").exists() && folder.join("tls.key").exists() {
            println!("kept {}", folder.display());
            continue;
        }
        let mut all = certificate_names;
        if part == "server" {
            all.extend_from_slice(names);
        }
        let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        authority.issue(&all, &loopback)?.write(&folder, "tls")?;
        println!("wrote ca.crt, tls.crt and tls.key to {}", folder.display());
    }
    Ok(())
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    Ok(runtime.block_on(future))
}

/// Whatever ends the program early; `{:#}` prints the chain of causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{}", Chain(.0))]
    Config(#[from] config::Error),
    #[error("{}", Chain(.0))]
    Telemetry(#[from] crate::telemetry::Error),
    #[error("{}", Chain(.0))]
    App(#[from] app::Error),
    #[error("{}", Chain(.0))]
    Dev(#[from] dev::Error),
    #[error("{}", Chain(.0))]
    Certificates(#[from] certificates::Error),
    #[error("{}", Chain(.0))]
    Local(#[from] local::Error),
    #[error("reading {path}: {source}")]
    File {
        path: String,
        source: std::io::Error,
    },
    #[error("starting the runtime: {0}")]
    Runtime(std::io::Error),
    #[error("writing to standard output: {0}")]
    Output(#[from] std::io::Error),
}
