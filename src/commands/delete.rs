//! `rt delete`: removes what a container has left, and with --force whatever state it is in.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{bundle, missing, status, store};
use crate::cgroups::Cgroup;
use crate::cli::{Delete, Global};
use crate::hooks::{self, Point};
use crate::host::{self, Host};
use crate::log::Log;
use crate::spec;
use crate::state::{Record, Status, Store};
use crate::sys::{self, Call, Errno};

/// How long the processes of a container may take to end after SIGKILL.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a lock is waited for before something is done about who holds it.
const MOMENT: Duration = Duration::from_millis(200);

/// Deletes.
pub fn delete(global: &Global, args: &Delete, log: &Log) -> Result<()> {
    let store = match store(global, false) {
        Err(e) if e.errno == Errno::ENOENT && args.force => return Ok(()),
        other => other.map_err(missing)?,
    };
    let record = match take(&store, args) {
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

/// The container under its lock. With --force whoever holds the lock for long loses the init that it waits for: hooks of
/// `create` and `restore` end with it.
fn take(store: &Store, args: &Delete) -> sys::Result<Record> {
    if !args.force {
        return store.lock(&args.id);
    }
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(record) = store.lock_within(&args.id, MOMENT)? {
            return Ok(record);
        }
        // What can't be read or killed now is for the next look, or for the error below.
        if let Ok(Some(init)) = store.read(&args.id).and_then(|record| record.alive()) {
            let _ = sys::process::signal(&init, libc::SIGKILL);
        }
    }
    let note = format!("another rt is at work on the container, and has not ended for {} s", PATIENCE.as_secs());
    Err(sys::Error::other(Call::Flock, note))
}

/// Removes the container that we made and whose workload has ended, as `run` does.
pub fn remove_ended(made: &Host<'_>, log: &Log) -> Result<()> {
    made.store().map_or(Ok(()), |store| remove_ours(store, made.record(), made.cgroup(), log))
}

/// Removes a container that has failed, whose lock we have given up. The failure is the error that counts.
pub fn clean_up(store: &Store, ours: &Record, log: &Log) {
    if let Err(e) = remove_ours(store, ours, None, log) {
        log.warn(format!("{e:#}"));
    }
}

fn remove_ours(store: &Store, ours: &Record, cgroup: Option<&Cgroup>, log: &Log) -> Result<()> {
    match store.lock(&ours.header.id) {
        // Somebody else deleted it.
        Err(e) if e.errno == Errno::ENOENT => Ok(()),
        // And has made another of this name, which is theirs.
        Ok(record) if record.init() != ours.init() => Ok(()),
        other => remove(store, other?, cgroup, log),
    }
}

/// Ends what lives, removes cgroups (which may be open already) and state, runs the poststop hooks. A hook that fails is a
/// warning.
pub fn remove(store: &Store, record: Record, cgroup: Option<&Cgroup>, log: &Log) -> Result<()> {
    let opened = if cgroup.is_none() { host::open_cgroup(&record)? } else { None };
    let cgroup = cgroup.or(opened.as_ref());
    let init = record.alive()?;
    // Mostly it has ended by itself, and nobody is left to be killed.
    let deserted = init.is_none() && cgroup.is_none_or(Cgroup::remove_deserted);
    if !deserted {
        host::kill_everything(&record, cgroup, libc::SIGKILL).context("cannot end the container's processes")?;
    }
    if let Some(init) = init
        && !host::wait_gone(&init, PATIENCE)?
    {
        bail!("container init is still running {} s after SIGKILL", PATIENCE.as_secs());
    }
    match cgroup {
        Some(cgroup) => cgroup.remove(deserted),
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
    host::run_poststop(&hooks, &record.header).iter().for_each(|e| log.warn(e));
    Ok(())
}
