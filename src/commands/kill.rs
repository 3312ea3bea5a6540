//! `rt kill`: a signal to a container's init, or to all that is in it.
//!
//! Init is signalled without the lock: the pidfd says that it is the process of the record, and stays its own whatever
//! others do meanwhile. So whoever hangs with the lock, in a hook or in the kernel, keeps nobody from killing.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{bundle, missing, status, store};
use crate::cli::{Global, Kill};
use crate::host;
use crate::state::{Record, Status};
use crate::sys::{self, Errno};

/// How long the lock is waited for where it would be better to have it.
const MOMENT: Duration = Duration::from_secs(1);

/// Sends the signal.
pub fn kill(global: &Global, args: &Kill) -> Result<()> {
    let signal = number(&args.signal).with_context(|| format!("unknown signal {:?}", args.signal))?;
    let store = store(global, false).map_err(missing)?;
    let mut record = store.read(&args.id).map_err(missing)?;
    let everybody = args.all || signal == libc::SIGKILL && shares_pids(&record);
    let mut locked = false;
    // A pause should not come in between, and a container that is just being made is there in a moment.
    if (everybody || record.status()? == Status::Creating)
        && let Some(again) = store.lock_within(&args.id, MOMENT).map_err(missing)?
    {
        (record, locked) = (again, true);
    }
    match status(&record)? {
        Status::Stopped if args.all => {
            // What is left of it may still live when it had no pid namespace of its own. That its cgroup is still its own
            // only the lock says.
            let record = if locked { record } else { store.lock(&args.id).map_err(missing)? };
            Ok(host::kill_everything(&record, host::open_cgroup(&record)?.as_ref(), signal)?)
        }
        Status::Stopped => bail!("container not running"),
        Status::Creating if !locked => bail!("cannot signal a container that is still being created"),
        status => {
            match (everybody, locked) {
                (false, _) => send(&record, signal)?,
                (true, false) => send_to_each(&record, signal)?,
                (true, true) => {
                    record.alive()?.context("container not running")?;
                    host::kill_everything(&record, host::open_cgroup(&record)?.as_ref(), signal)?;
                }
            }
            if signal == libc::SIGKILL && status == Status::Paused { thaw(&record) } else { Ok(()) }
        }
    }
}

/// In the freezer of cgroup v1 not even SIGKILL arrives. One that is gone holds nobody.
fn thaw(record: &Record) -> Result<()> {
    match host::open_cgroup(record)?.map_or(Ok(()), |cgroup| cgroup.thaw()) {
        Err(e) if !matches!(e.errno, Errno::ENOENT | Errno::ENODEV) => Err(e.into()),
        _ => Ok(()),
    }
}

/// Sends a signal to init.
fn send(record: &Record, signal: i32) -> Result<()> {
    let init = record.alive()?.context("container not running")?;
    match sys::process::signal(&init, signal) {
        Err(e) if e.errno == Errno::ESRCH => bail!("container not running"),
        other => Ok(other?),
    }
}

/// Sends a signal to all without the lock. Nobody gets it who was not in the container's cgroup while its init lived; who is
/// born at this moment is left out.
fn send_to_each(record: &Record, signal: i32) -> Result<()> {
    let Some(cgroup) = host::open_cgroup(record)? else { return send(record, signal) };
    let open = |pid: i32| sys::process::pidfd(pid).ok().map(|handle| (pid, handle));
    let handles: Vec<(i32, OwnedFd)> = cgroup.pids()?.into_iter().filter_map(open).collect();
    let still = cgroup.pids()?;
    // Last of all: as long as init lives, its cgroup is nobody else's.
    record.alive()?.context("container not running")?;
    for (_, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
        match sys::process::signal(handle, signal) {
            Err(e) if e.errno != Errno::ESRCH => return Err(e.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Without a pid namespace of its own the others don't end with init.
fn shares_pids(record: &Record) -> bool {
    !bundle::ahead_of(record).is_ok_and(|ahead| ahead.own_pids)
}

/// `KILL`, `SIGKILL`, `kill`, `9`, `RTMIN+3`; 0 only asks whether it could be signalled.
pub fn number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (0..=64).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.get(1..)?.parse::<i32>().ok() };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return offset(rest).map(|n| 34 + n).filter(|n| (34..=64).contains(n));
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return offset(rest).map(|n| 64 - n).filter(|n| (34..=64).contains(n));
    }
    let name = match name {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        other => other,
    };
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|s| s as i32)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_have_many_spellings() {
        for (text, want) in [
            ("KILL", Some(9)),
            ("SIGKILL", Some(9)),
            ("sigterm", Some(15)),
            ("9", Some(9)),
            ("RTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("64", Some(64)),
            ("65", None),
            ("0", Some(0)),
            ("-1", None),
            ("NOPE", None),
            ("", None),
            ("RTMIN+99", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }
}
