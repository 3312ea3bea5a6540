//! NOTIFY_SOCKET: what a workload says of itself (sd_notify(3)) goes to whoever started us, though the workload can't reach that
//! socket. `create` mounts a directory of the container's state into it; `start` and `run` listen there, in a socket of
//! their own. No process stays behind for it: `start` and `run --detach` come back when the workload has said `READY=1`,
//! and tell the caller then who its main process is; `run` in the foreground passes everything on, up to the end.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::state::{NOTIFY_SOCKET, Record};
use crate::sys::{self, Call, Errno};

/// The longest message that is passed on: more than anybody has to say of itself.
const LONGEST: usize = 4096;

/// How long the receiver may take to have seen a message.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a workload may say. Not MAINPID, for its pids mean nothing out here, and nothing that has descriptors beside it.
const SAYINGS: [&str; 8] =
    ["READY=", "RELOADING=", "STOPPING=", "STATUS=", "ERRNO=", "WATCHDOG=", "EXTEND_TIMEOUT_USEC=", "MONOTONIC_USEC="];

/// Where our caller wants to hear from the workload.
fn receiver() -> Option<String> {
    std::env::var("NOTIFY_SOCKET").ok().filter(|to| to.starts_with(['/', '@']))
}

/// Whether our caller wants to hear from the workload.
pub fn wanted() -> bool {
    receiver().is_some()
}

/// The two sockets between which messages are passed on.
pub struct Proxy {
    inner: OwnedFd,
    outer: OwnedFd,
}

impl AsFd for Proxy {
    /// Readable when the workload has said something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl Proxy {
    /// Listens, if our caller does and the container was created to report.
    pub fn open(record: &Record) -> Result<Option<Self>> {
        let (Some(to), Some(dir)) = (receiver(), record.notify_dir()?) else { return Ok(None) };
        let inner = sys::sock::open_to_all(dir, NOTIFY_SOCKET)?;
        let outer = sys::sock::connect_notify(&to).context("NOTIFY_SOCKET")?;
        Ok(Some(Self { inner, outer }))
    }

    /// Passes on until the workload is ready, or has ended.
    pub fn until_ready(&self, init: &OwnedFd, pid: i32) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN), PollFd::new(init.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(sys::Error::new(Call::Poll, errno).into()),
            }
            let (said, ended) = (fds[0].any() == Some(true), fds[1].any() == Some(true));
            if said && self.pass_on(Some(pid)).context("NOTIFY_SOCKET")? {
                return Ok(self.barrier()?);
            }
            if ended && !said {
                return Ok(());
            }
        }
    }

    /// Passes one message on; true if it says that the workload is ready. `pid`: who the main process is from now on.
    pub fn pass_on(&self, pid: Option<i32>) -> sys::Result<bool> {
        let mut buffer = [0; LONGEST];
        // Descriptors beside it are closed here: whoever waits for that (a barrier) is answered.
        let (length, _) = sys::sock::receive(&self.inner, &mut buffer)?;
        let (message, ready) = translate(&String::from_utf8_lossy(&buffer[..length]), pid);
        if !message.is_empty() {
            sys::sock::send(&self.outer, message.as_bytes(), &[])?;
        }
        Ok(ready)
    }

    /// Waits until the receiver has dealt with what was said: it must find us alive to know on whose behalf we speak.
    fn barrier(&self) -> sys::Result<()> {
        let (ours, theirs) = sys::sock::pair()?;
        sys::sock::send(&self.outer, b"BARRIER=1", &[theirs.as_raw_fd()])?;
        drop(theirs);
        // One who doesn't know of barriers drops the descriptor, or isn't worth more patience.
        sys::process::wait_readable(&ours, Some(PATIENCE)).map(drop)
    }
}

/// A message as the receiver is to hear it, and whether it says `READY=1`.
fn translate(message: &str, pid: Option<i32>) -> (String, bool) {
    let mut lines: Vec<String> =
        message.lines().filter(|l| SAYINGS.iter().any(|s| l.starts_with(s))).map(str::to_owned).collect();
    let ready = lines.iter().any(|l| l == "READY=1");
    if let (true, Some(pid)) = (ready, pid) {
        lines.push(format!("MAINPID={pid}"));
    }
    (lines.join("\n"), ready)
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn what_means_something_out_here_is_passed_on() {
        let said = "MAINPID=1\nREADY=1\nSTATUS=at work\nFDSTORE=1\nX_SOMETHING=1";
        assert_eq!(translate(said, Some(77)), ("READY=1\nSTATUS=at work\nMAINPID=77".into(), true));
        assert_eq!(translate("READY=1\n", None), ("READY=1".into(), true));
        assert_eq!(translate("STATUS=soon", Some(7)), ("STATUS=soon".into(), false));
        assert_eq!(translate("BARRIER=1", Some(7)), (String::new(), false));
    }
}
