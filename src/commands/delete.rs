//! `rt delete`: removes what a container has left, and with --force whatever state it is in.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{bundle, missing, status, store};
use crate::cgroups::Cgroup;
use crate::cli::{Delete, Global};
use crate::hooks::{self, Point};
use crate::host::{self, Host};
use crate::log::Log;
use crate::spec;
use crate::state::{Record, Status, Store};
use crate::sys::{self, Errno};

/// How long the processes of a container may take to end after SIGKILL.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes.
pub fn delete(global: &Global, args: &Delete, log: &Log) -> Result<()> {
    let store = match store(global, false) {
        Err(e) if e.errno == Errno::ENOENT && args.force => return Ok(()),
        other => other.map_err(missing)?,
    };
    let record = match store.lock(&args.id) {
        Err(e) if e.errno == Errno::ENOENT && args.force => return Ok(()),
        Err(e) if e.errno == Errno::EBADMSG && args.force => {
            // No record, no cleaning by it: what it was written for was not begun, or the file was damaged from outside.
            log.warn(format!("container {}: {e}", &*args.id));
            let directory = store.lock_directory(&args.id).map_err(missing)?;
            return Ok(store.remove(&args.id, &directory)?);
        }
        other => other.map_err(missing)?,
    };
    match status(&record)? {
        // Its creator held the lock: it is gone.
        Status::Stopped | Status::Creating => {}
        Status::Created if !bundle::strict(global) => {}
        _ if args.force => {}
        other => bail!("cannot delete container {} that is not stopped: {}", &*args.id, other.name()),
    }
    remove(&store, record, None, log)
}

/// Removes the container that we made and whose workload has ended, as `run` does.
pub fn remove_ended(made: &Host<'_>, log: &Log) -> Result<()> {
    let (Some(store), ours) = (made.store(), made.record()) else { return Ok(()) };
    match store.lock(&ours.header.id) {
        // Somebody else deleted it.
        Err(e) if e.errno == Errno::ENOENT => Ok(()),
        // And has made another of this name, which is theirs.
        Ok(record) if record.init() != ours.init() => Ok(()),
        other => remove(store, other?, made.cgroup(), log),
    }
}

/// Ends what lives, removes cgroups (which may be open already) and state, runs the poststop hooks. A hook that fails is a
/// warning.
pub fn remove(store: &Store, record: Record, cgroup: Option<&Cgroup>, log: &Log) -> Result<()> {
    let opened = if cgroup.is_none() { host::open_cgroup(&record)? } else { None };
    let cgroup = cgroup.or(opened.as_ref());
    let init = record.alive()?;
    // Mostly it has ended by itself, and nobody is left to be killed.
    if init.is_some() || !cgroup.is_none_or(Cgroup::remove_deserted) {
        host::kill_everything(&record, cgroup, libc::SIGKILL).context("cannot end the container's processes")?;
    }
    if let Some(init) = init
        && !host::wait_gone(&init, PATIENCE)?
    {
        bail!("container init is still running {} s after SIGKILL", PATIENCE.as_secs());
    }
    match cgroup {
        Some(cgroup) => cgroup.remove(),
        None => host::remove_cgroups(&record),
    }
    .context("cannot remove the container's cgroups")?;
    if let Err(e) = host::release_unit(&record) {
        // Nobody is left in it, so systemd ends it without being asked as soon as it looks.
        log.warn(format!("{e}; the container is deleted all the same"));
    }
    host::remove_rdt(&record).context("cannot remove the container's resctrl groups")?;
    store.remove(&record.header.id, record.directory()?)?;
    if record.header.ahead.is_some_and(|ahead| !ahead.poststop) {
        return Ok(());
    }
    let hooks = match spec::read_config(record.config.clone(), false) {
        Ok(config) => hooks::lower(&config.spec, Point::Poststop, false),
        Err(e) => {
            log.warn(format!("poststop hooks: {e}"));
            Vec::new()
        }
    };
    host::run_hooks(&hooks, &record.header, Status::Stopped, 0).iter().for_each(|e| log.warn(e));
    Ok(())
}

/// Sends a signal to init, or to everything in the container.
pub fn signal(record: &Record, signal: i32, all: bool) -> Result<()> {
    if all {
        return Ok(host::kill_everything(record, host::open_cgroup(record)?.as_ref(), signal)?);
    }
    let pidfd = record.alive()?.context("container not running")?;
    match sys::process::signal(&pidfd, signal) {
        Err(e) if e.errno == Errno::ESRCH => bail!("container not running"),
        other => Ok(other?),
    }
}
