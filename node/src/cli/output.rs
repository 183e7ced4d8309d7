//! Prints answers: tables for people, JSON for programs.

use std::io::{self, Write};

use mainstay_proto::internal::v1::{SeedResponse, StatusResponse};
use serde_json::json;

use crate::cli::args::Format;

/// Prints the state of the cluster.
pub(super) fn status(status: &StatusResponse, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let leader = (!status.leader.is_empty()).then_some(&status.leader);
    if format == Format::Json {
        let members: Vec<_> = status
            .members
            .iter()
            .map(|member| {
                json!({
                    "name": member.name,
                    "id": format!("{:016x}", member.id),
                    "role": member.role,
                    "state": member.state,
                    "incarnation": member.incarnation,
                    "applied_index": member.applied_index,
                })
            })
            .collect();
        let all = json!({
            "cluster_id": status.cluster_id,
            "leader": leader,
            "members": members,
        });
        return writeln!(out, "{all:#}");
    }
    writeln!(
        out,
        "cluster {}, leader {}",
        status.cluster_id,
        leader.map_or("unknown", |l| l)
    )?;
    let mut rows =
        vec![["NAME", "ID", "ROLE", "STATE", "INCARNATION", "APPLIED"].map(String::from)];
    rows.extend(status.members.iter().map(|member| {
        [
            member.name.clone(),
            format!("{:016x}", member.id),
            member.role.clone(),
            member.state.clone(),
            member.incarnation.to_string(),
            member.applied_index.to_string(),
        ]
    }));
    table(&mut out, &rows)
}

/// Prints what a seed file created.
pub(super) fn seeded(response: &SeedResponse, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if format == Format::Json {
        let all: Vec<_> = response
            .seeded
            .iter()
            .map(|s| json!({"kind": s.kind, "name": s.name, "id": s.id, "created": s.created}))
            .collect();
        return writeln!(out, "{:#}", json!(all));
    }
    let mut rows = vec![["KIND", "NAME", "ID", "CREATED"].map(String::from)];
    rows.extend(response.seeded.iter().map(|s| {
        let created = if s.created { "now" } else { "before" };
        [
            s.kind.clone(),
            s.name.clone(),
            s.id.clone(),
            created.to_owned(),
        ]
    }));
    table(&mut out, &rows)
}

fn table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = rows
                .iter()
                .map(|row| row[column].len())
                .max()
                .unwrap_or_default();
            if column + 1 < N {
                write!(out, "{cell:width$}  ")?;
            } else {
                writeln!(out, "{cell}")?;
            }
        }
    }
    Ok(())
}
