//! `rt ps`: the processes of a container, as `ps` would print them, read from /proc here: hosts need not have a `ps`, and
//! an image's own is not to be trusted.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use super::{missing, say, status, store};
use crate::cli::{Global, ListFormat, Ps};
use crate::host;
use crate::state::{Record, Status};
use crate::sys;

mod columns;
mod process;

use columns::{Column, Form};
use process::{Host, Process};

/// Prints.
pub fn ps(global: &Global, args: &Ps) -> Result<()> {
    let record = store(global, false).and_then(|s| s.read(&args.id)).map_err(missing)?;
    let words =
        args.words.iter().map(|w| w.to_str()).collect::<Option<Vec<_>>>().context("an argument is not UTF-8")?;
    let columns = columns::parse(&words)?;
    if matches!(status(&record)?, Status::Creating) {
        bail!("container not running");
    }
    let pids = pids(&record)?;
    let text = match args.format {
        ListFormat::Json => serde_json::to_string(&pids)?,
        ListFormat::Table => table(&columns, &pids)?,
    };
    Ok(say(&text)?)
}

/// The container's processes as its cgroup lists them; without a cgroup of its own, init and all that descend from it.
pub fn pids(record: &Record) -> Result<Vec<i32>> {
    if let Some(cgroup) = host::open_cgroup(record)? {
        return match cgroup.pids() {
            // Its directory is gone: it has ended.
            Err(e) if e.errno == sys::Errno::ENOENT => Ok(Vec::new()),
            other => Ok(other?),
        };
    }
    let Some(init) = record.alive()?.and(record.init()) else { return Ok(Vec::new()) };
    let parents: Vec<(i32, i32)> = process::all()?.into_iter().map(|p| (p.pid, p.parent)).collect();
    let mut found = BTreeSet::from([init.pid]);
    // A pid can be lower than its parent's, once numbers have wrapped: look until nothing is new.
    while let Some((pid, _)) = parents.iter().find(|(pid, parent)| found.contains(parent) && !found.contains(pid)) {
        found.insert(*pid);
    }
    Ok(found.into_iter().collect())
}

fn table(columns: &[Column], pids: &[i32]) -> Result<String> {
    let host = Host::now()?;
    // Whoever ended meanwhile is not there any more.
    let processes: Vec<Process> = pids.iter().filter_map(|pid| Process::read(*pid).ok()).collect();
    let mut rows = vec![columns.iter().map(|c| c.header.clone()).collect::<Vec<String>>()];
    rows.extend(processes.iter().map(|p| columns.iter().map(|c| columns::cell(c.name, p, &host)).collect()));
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(columns).zip(&widths).map(|((cell, column), &width)| match column.form {
            Form::Left => format!("{cell:<width$}"),
            Form::Right => format!("{cell:>width$}"),
        });
        format!("{}\n", cells.collect::<Vec<_>>().join(" ").trim_end())
    };
    Ok(rows.iter().map(line).collect())
}
