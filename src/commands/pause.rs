//! `rt pause` and `rt resume`: stops every process of a container, and lets them run again.

use anyhow::{Context, Result, bail};

use super::{is_frozen, missing, status, store};
use crate::cgroups::Cgroup;
use crate::cli::{Global, Pause, Resume};
use crate::host;
use crate::state::{Record, Status};

/// Pauses; comes back when every process stands still. If one doesn't in time, all run again.
pub fn pause(global: &Global, args: &Pause) -> Result<()> {
    let record = store(global, false).and_then(|s| s.lock(&args.id)).map_err(missing)?;
    match status(&record)? {
        Status::Running | Status::Created => {}
        Status::Paused => bail!("container is paused already"),
        Status::Stopped | Status::Creating => bail!("container not running"),
    }
    cgroup(&record)?.freeze().context("cannot pause the container")
}

/// Resumes.
pub fn resume(global: &Global, args: &Resume) -> Result<()> {
    let record = store(global, false).and_then(|s| s.lock(&args.id)).map_err(missing)?;
    match status(&record)? {
        Status::Paused => {}
        // Created and frozen: the status of the specification knows no such thing.
        Status::Created if is_frozen(Some(&cgroup(&record)?))? => {}
        _ => bail!("container not paused"),
    }
    cgroup(&record)?.thaw().context("cannot resume the container")
}

fn cgroup(record: &Record) -> Result<Cgroup> {
    host::open_cgroup(record)?.context("the container has no cgroup of its own that could be paused")
}
