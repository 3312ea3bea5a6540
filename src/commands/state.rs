//! `rt state` and `rt list`: what is known of one container, or of all.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::Result;
use serde::Serialize;

use super::{missing, say, status, store};
use crate::cli::{Global, List, ListFormat, State};
use crate::log::Log;
use crate::state::{Record, Status};
use crate::sys::{self, Errno};

/// The state as callers read it: the spec's properties, and runc's beside them.
#[derive(Serialize)]
struct Shown {
    #[serde(rename = "ociVersion")]
    oci_version: String,
    id: String,
    pid: i32,
    status: Status,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

impl Shown {
    fn of(record: &Record) -> sys::Result<Self> {
        let (status, header) = (status(record)?, &record.header);
        let pid = if status == Status::Stopped { 0 } else { record.init().map_or(0, |i| i.pid) };
        Ok(Self {
            oci_version: header.oci_version.clone(),
            id: header.id.clone(),
            pid,
            status,
            bundle: header.bundle.clone(),
            rootfs: header.rootfs.clone(),
            created: header.created.clone(),
            annotations: header.annotations.clone(),
            owner: owner(header.owner),
        })
    }
}

/// The name of a uid in the host's own passwd file, which is read once, else the number.
fn owner(uid: u32) -> String {
    static USERS: OnceLock<String> = OnceLock::new();
    let text = USERS.get_or_init(|| sys::fs::read_host("/etc/passwd").unwrap_or_default());
    let mut users = text.lines().map(|line| line.split(':'));
    let found = users.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| uid.to_string())
}

/// Prints one container's state.
pub fn state(global: &Global, args: &State) -> Result<()> {
    let record = store(global, false).and_then(|s| s.read(&args.id)).map_err(missing)?;
    let text = serde_json::to_string_pretty(&Shown::of(&record)?)?;
    Ok(say(&format!("{text}\n"))?)
}

/// Prints all containers. One that can't be read is left out with a warning.
pub fn list(global: &Global, args: &List, log: &Log) -> Result<()> {
    let store = match store(global, false) {
        Err(e) if e.errno == Errno::ENOENT => None,
        other => Some(other?),
    };
    let mut shown = Vec::new();
    if let Some(store) = &store {
        for id in store.ids()? {
            match store.read(&id).and_then(|record| Shown::of(&record)) {
                Ok(container) => shown.push(container),
                // Deleted since we read the names.
                Err(e) if e.errno == Errno::ENOENT => {}
                Err(e) => log.warn(format!("container {id}: {e}")),
            }
        }
    }
    let text = match (args.quiet, args.format) {
        (true, _) => shown.iter().map(|s| format!("{}\n", s.id)).collect(),
        (false, ListFormat::Json) if shown.is_empty() => "null".to_owned(),
        (false, ListFormat::Json) => serde_json::to_string(&shown)?,
        (false, ListFormat::Table) => table(&shown),
    };
    Ok(say(&text)?)
}

fn table(shown: &[Shown]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned).to_vec();
    let row = |s: &Shown| {
        vec![
            s.id.clone(),
            s.pid.to_string(),
            s.status.name().to_owned(),
            s.bundle.clone(),
            s.created.clone(),
            s.owner.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(shown.iter().map(row)).collect();
    let widths: Vec<usize> = (0..6).map(|c| rows.iter().map(|r| r[c].len()).max().unwrap_or(0).max(9)).collect();
    let line = |r: &Vec<String>| {
        let cells: Vec<String> = r.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    rows.iter().map(line).collect()
}
