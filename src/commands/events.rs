//! `rt events`: what a container uses, and what befalls it, one JSON object a line, in the shape that runc's readers know.
//!
//! | type | data |
//! |---|---|
//! | `stats` | the counters, at once and at every interval |
//! | `oom` | a process was killed for want of memory; how many so far |
//! | `memory.high` | memory was reclaimed at memory.high; how often so far |
//! | `pids.max` | a fork was refused at pids.max; how often so far |
//! | `exit` | the first process has ended; its exit code, as far as the kernel can tell |

use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use super::{missing, status, store};
use crate::cgroups::{self, Cgroup, Happening, Stats};
use crate::cli::{Events, Global};
use crate::host;
use crate::state::{self, Record, Status};
use crate::sys::{self, Call, Errno};

/// Prints the statistics once, or everything until the container has ended.
pub fn events(global: &Global, args: &Events) -> Result<()> {
    let record = store(global, false).and_then(|s| s.read(&args.id)).map_err(missing)?;
    if matches!(status(&record)?, Status::Stopped | Status::Creating) {
        bail!("container not running");
    }
    let cgroup = host::open_cgroup(&record)?.context("the container has no cgroup of its own that counts anything")?;
    if args.stats {
        return match stats(&record, &cgroup) {
            // It was deleted while we looked.
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENODEV) => bail!("container not running"),
            stats => say(&args.id, "stats", Some(json!(stats?))),
        };
    }
    follow(&record, &cgroup, &args.id, args.interval)
}

fn follow(record: &Record, cgroup: &Cgroup, id: &str, interval: Duration) -> Result<()> {
    let pidfd = record.alive()?.context("container not running")?;
    let mut watcher = cgroup.watch()?;
    let mut next = Instant::now();
    loop {
        if Instant::now() >= next {
            // One that ends at this moment has nothing left to be counted.
            if let Ok(stats) = stats(record, cgroup) {
                say(id, "stats", Some(json!(stats)))?;
            }
            next = Instant::now() + interval;
        }
        let left = next.saturating_duration_since(Instant::now());
        let ended = {
            let mut fds = vec![PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            fds.extend(watcher.descriptors().map(|(fd, flags)| PollFd::new(fd, flags)));
            match poll(&mut fds, timeout(watcher.patience().map_or(left, |p| p.min(left)))) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(sys::Error::new(Call::Poll, errno).into()),
            }
            fds[0].any() == Some(true)
        };
        for (what, count) in watcher.look() {
            let name = match what {
                Happening::OomKill => "oom",
                Happening::MemoryHigh => "memory.high",
                Happening::PidsMax => "pids.max",
            };
            say(id, name, Some(json!({ "count": count })))?;
        }
        if ended {
            let ended = record.init().and_then(|init| state::ending(init, &pidfd));
            return say(id, "exit", ended.map(|ended| json!({ "code": ended.code() })));
        }
    }
}

/// At least a millisecond: what is left of one would make a busy loop.
fn timeout(left: Duration) -> PollTimeout {
    let milliseconds = left.as_micros().div_ceil(1000).clamp(1, 60_000);
    PollTimeout::try_from(milliseconds as i32).unwrap_or(PollTimeout::MAX)
}

fn stats(record: &Record, cgroup: &Cgroup) -> sys::Result<Stats> {
    let mut stats = cgroup.stats()?;
    let pid = record.init().map_or(0, |init| init.pid);
    let own = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
    // The counters of a shared network are not the container's.
    if own(&pid.to_string()).ok() != own("self").ok()
        && let Ok(text) = sys::fs::read_host(&format!("/proc/{pid}/net/dev"))
    {
        stats.network_interfaces = Some(cgroups::interfaces(&text));
    }
    Ok(stats)
}

fn say(id: &str, kind: &str, data: Option<Value>) -> Result<()> {
    let mut event = json!({ "type": kind, "id": id });
    if let Some(data) = data {
        event["data"] = data;
    }
    writeln!(std::io::stdout(), "{event}")?;
    Ok(())
}
