//! Pause and resume: the v1 freezer where there is one (CRIU and others look there), else `cgroup.freeze` of v2.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::{self, Call, Errno, Error, cgroup, fs};

use super::apply::Cgroup;
use super::tree::{Tree, gone, number_of};

/// How long a process may stay in the kernel, unfreezable, before we give up.
const DEADLINE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops every process; returns when all have stopped. On failure they run again.
    pub fn freeze(&self) -> sys::Result<()> {
        let tree = self.freezer()?;
        tree.freeze(DEADLINE).inspect_err(|_| {
            // Half frozen is neither: the error that matters is the first one.
            let _ = tree.thaw();
        })
    }

    /// Lets every process run again.
    pub fn thaw(&self) -> sys::Result<()> {
        self.freezer()?.thaw()
    }

    /// Whether the container is frozen, or about to be. One without a cgroup of its own, or without a freezer, is not.
    pub fn is_frozen(&self) -> sys::Result<bool> {
        self.find_freezer().map_or(Ok(false), Tree::is_frozen)
    }

    /// The absolute directory in which the container is frozen.
    pub fn freezer_directory(&self) -> Option<String> {
        self.find_freezer().map(|tree| tree.place.dir())
    }

    pub(super) fn find_freezer(&self) -> Option<&Tree> {
        self.ours().find(|t| t.is_v1("freezer")).or_else(|| self.ours().find(|t| t.is_v2()))
    }

    fn freezer(&self) -> sys::Result<&Tree> {
        self.find_freezer().ok_or_else(|| {
            Error::new(Call::Open, Errno::EOPNOTSUPP).about("freezer (the container has no cgroup that can be frozen)")
        })
    }
}

impl Tree {
    pub(super) fn freeze(&self, patience: Duration) -> sys::Result<()> {
        let deadline = Instant::now() + patience;
        if self.is_v2() { self.freeze_v2(deadline) } else { self.freeze_v1(deadline) }
    }

    /// v1 goes over the tasks when it is told to; one that forks at that moment escapes until it is told again.
    fn freeze_v1(&self, deadline: Instant) -> sys::Result<()> {
        let mut pause = Duration::from_micros(10);
        loop {
            self.write("freezer.state", "FROZEN")?;
            if self.read("freezer.state")?.trim() == "FROZEN" {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.late("freezer.state", "FREEZING"));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn freeze_v2(&self, deadline: Instant) -> sys::Result<()> {
        let events = cgroup::open_to_read(self.mount(), &self.file("cgroup.events")).map_err(|e| self.blame(e))?;
        self.write("cgroup.freeze", "1")?;
        loop {
            // Reading it is what arms the event.
            if number_of(&cgroup::read_values(events.as_fd()).map_err(|e| self.blame(e))?, "frozen") == Some(1) {
                return Ok(());
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(self.late("cgroup.events", "frozen 0"));
            }
            cgroup::wait_for_change(events.as_fd(), milliseconds(deadline - now)).map_err(|e| self.blame(e))?;
        }
    }

    fn late(&self, file: &str, state: &str) -> Error {
        let note = format!("{} (still {state:?}: a process sits in the kernel)", self.file(file));
        self.blame(Error::new(Call::Poll, Errno::ETIMEDOUT).about(note))
    }

    pub(super) fn thaw(&self) -> sys::Result<()> {
        if self.is_v2() { self.write("cgroup.freeze", "0") } else { self.write("freezer.state", "THAWED") }
    }

    /// v1: thaws what the container may have frozen below itself, too; else it could not be killed.
    pub(super) fn thaw_all(&self) -> sys::Result<()> {
        self.walk(
            |dir| match cgroup::open_to_write(dir, "freezer.state").and_then(|f| fs::write_fd(f.as_fd(), b"THAWED")) {
                Err(e) if !gone(&e) => Err(self.blame(e)),
                _ => Ok(()),
            },
            |_, _| Ok(()),
        )
    }

    pub(super) fn is_frozen(&self) -> sys::Result<bool> {
        if self.is_v2() {
            Ok(self.read("cgroup.freeze")?.trim() == "1")
        } else if self.is_v1("freezer") {
            Ok(self.read("freezer.state")?.trim() != "THAWED")
        } else {
            Ok(false)
        }
    }
}

/// For poll, at least one and at most a second: the kernel's event may have come before we looked.
pub(super) fn milliseconds(left: Duration) -> u16 {
    left.as_millis().clamp(1, 1000) as u16
}
