//! `rt kill`: a signal to a container's init.

use anyhow::{Context, Result, bail};

use super::{bundle, delete, missing, status, store};
use crate::cli::{Global, Kill};
use crate::host;
use crate::state::{Record, Status};

/// Sends the signal.
pub fn kill(global: &Global, args: &Kill) -> Result<()> {
    let signal = number(&args.signal).with_context(|| format!("unknown signal {:?}", args.signal))?;
    let record = store(global, false).and_then(|s| s.lock(&args.id)).map_err(missing)?;
    let status = status(&record)?;
    if status == Status::Stopped {
        if args.all {
            // What is left of it may still live when it had no pid namespace of its own.
            return delete::signal(&record, signal, true);
        }
        bail!("container not running");
    }
    let everybody = args.all || signal == libc::SIGKILL && shares_pids(&record);
    delete::signal(&record, signal, everybody)?;
    if signal == libc::SIGKILL && status == Status::Paused {
        // In the freezer of cgroup v1 not even this one arrives.
        if let Some(cgroup) = host::open_cgroup(&record)? {
            cgroup.thaw()?;
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
