//! Who a container's first process is, told from any other that may have its pid later, and how it ended.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::sys::{self, Call, Errno, Error, Result};

/// Who init is: enough to never take a stranger for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Its pid as the runtime sees it.
    pub pid: i32,
    /// The inode of its pidfd (unique per boot since Linux 6.9), else 0.
    pub inode: u64,
    /// Its start time in clock ticks after boot.
    pub start_time: u64,
}

impl Init {
    /// Whether this descriptor is of that process, in the boot in which it was recorded.
    pub(super) fn is_behind(&self, pidfd: impl AsFd) -> Result<bool> {
        match inode(pidfd)? {
            0 => Ok(self.inode == 0 && start_time(self.pid)? == self.start_time),
            inode => Ok(inode == self.inode),
        }
    }
}

/// Says who a process is.
pub fn identify(pid: i32, pidfd: impl AsFd) -> Result<Init> {
    Ok(Init { pid, inode: inode(pidfd)?, start_time: start_time(pid)? })
}

/// The inode of a pidfd where it is unique (it has a filesystem of its own), else 0.
fn inode(pidfd: impl AsFd) -> Result<u64> {
    const PIDFS_MAGIC: i64 = 0x5049_4446;
    static UNIQUE: OnceLock<bool> = OnceLock::new(); // one descriptor is as all others
    let unique = match UNIQUE.get() {
        Some(unique) => *unique,
        None => {
            let kind = sys::fs::filesystem(&pidfd)?;
            *UNIQUE.get_or_init(|| kind == PIDFS_MAGIC)
        }
    };
    if unique { Ok(sys::fs::stat(&pidfd)?.st_ino) } else { Ok(0) }
}

fn start_time(pid: i32) -> Result<u64> {
    stat_field(pid, 22)
}

/// A numeric field of /proc/PID/stat; the name before them may hold anything.
fn stat_field(pid: i32, number: usize) -> Result<u64> {
    let text = sys::fs::read_piece(&format!("/proc/{pid}/stat"))?;
    field(&text, number).ok_or_else(|| Error::new(Call::Read, Errno::EBADMSG).about(format!("/proc/{pid}/stat")))
}

/// A field behind the name, by the number that proc(5) gives it: from 3 on.
pub fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split_whitespace().nth(number - 3)?.parse().ok()
}

/// How init ended, as far as the kernel can tell somebody who is not its parent: from the pidfd once it has been reaped
/// (Linux 6.15), until then from what is left of it in /proc. `pidfd` was opened while it lived.
pub fn ending(init: Init, pidfd: &OwnedFd) -> Option<sys::process::Ended> {
    // Between the two there is a moment in which neither knows.
    for _ in 0..100 {
        if let Some(ended) = sys::process::ended(pidfd) {
            return Some(ended);
        }
        let status = stat_field(init.pid, 52).ok().filter(|_| start_time(init.pid) == Ok(init.start_time));
        if let Some(status) = status {
            return Some(sys::process::Ended::of_status(status as i32));
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    None
}

/// This boot.
pub fn boot_id() -> Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let read = sys::fs::read_piece("/proc/sys/kernel/random/boot_id")?;
    Ok(BOOT.get_or_init(|| read.trim().to_owned()))
}
