//! Removing the container's directories: children first, waiting (with a deadline) for the last process to go.
//!
//! Must never remove anything outside the recorded subtree; ancestors only if our own create made them, and only empty.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::{self, Errno, cgroup};

use super::apply::Cgroup;
use super::freeze::milliseconds;
use super::place::Placement;
use super::tree::{Tree, gone};

/// How long dead and dying processes may keep a directory busy.
const DEADLINE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Removes the container's directory in every tree of a placement; what is gone already is fine. Tries all trees,
    /// and returns the first error.
    pub fn destroy(placement: &Placement) -> sys::Result<()> {
        let mut result = Ok(());
        for place in &placement.trees {
            let removed = match Tree::reopen(place.clone()) {
                Ok(tree) => tree.remove().and_then(|()| tree.remove_ancestors()),
                // The hierarchy was unmounted: the directory cannot be reached, and is no longer in anybody's way.
                Err(e) if gone(&e) => Ok(()),
                Err(e) => Err(e),
            };
            result = result.and(removed);
        }
        result
    }

    /// Removes the directories that say who is in the container, if they say that nobody is; then nobody is left to kill.
    pub fn remove_deserted(&self) -> bool {
        self.counters().all(|tree| tree.rmdir(&tree.place.path).is_ok())
    }

    /// [`Cgroup::destroy`] for a cgroup that is open already; `deserted`: [`Cgroup::remove_deserted`] has done its part.
    pub fn remove(&self, deserted: bool) -> sys::Result<()> {
        let mut result = Ok(());
        for tree in self.ours() {
            let done = deserted && self.counters().any(|counter| std::ptr::eq(counter, tree));
            let leaf = if done { Ok(()) } else { tree.remove() };
            result = result.and(leaf.and_then(|()| tree.remove_ancestors()));
        }
        result
    }
}

impl Tree {
    /// Removes the container's directory and everything below it.
    pub(super) fn remove(&self) -> sys::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut pause = Duration::from_micros(100);
        loop {
            // Mostly there is nothing below it and nobody in it.
            match self.rmdir(&self.place.path) {
                Ok(()) => return Ok(()),
                Err(e) if e.errno != Errno::EBUSY => return Err(e),
                Err(e) if Instant::now() >= deadline => return Err(self.still_busy(e)),
                Err(_) => {}
            }
            let mut below = false;
            let mut busy = false;
            self.walk(
                |_| Ok(()),
                |parent, name| {
                    below = true;
                    match cgroup::remove_child(parent, name) {
                        Err(e) if e.errno == Errno::EBUSY => busy = true,
                        Err(e) if !gone(&e) => return Err(self.blame(e)),
                        _ => {}
                    }
                    Ok(())
                },
            )?;
            if busy || !below {
                self.wait_until_empty(deadline, pause)?;
                pause = (pause * 2).min(Duration::from_millis(50));
            }
        }
    }

    /// Removes the ancestors that our create made, as far as nobody uses them.
    pub(super) fn remove_ancestors(&self) -> sys::Result<()> {
        for ancestor in &self.place.made {
            match self.rmdir(ancestor) {
                Ok(()) => {}
                // Another container lives below it, or the caller has put something there: it is theirs now.
                Err(e) if e.errno == Errno::EBUSY => return Ok(()),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// rmdir; gone already is as good.
    fn rmdir(&self, path: &str) -> sys::Result<()> {
        match cgroup::remove_dir(self.mount(), path) {
            Err(e) if gone(&e) => Ok(()),
            result => result.map_err(|e| self.blame(e)),
        }
    }

    /// v2 tells when the last process has gone; on v1 there is nothing to wait for but time.
    fn wait_until_empty(&self, deadline: Instant, pause: Duration) -> sys::Result<()> {
        if !self.is_v2() {
            std::thread::sleep(pause);
            return Ok(());
        }
        let path = self.file("cgroup.events");
        let events = match cgroup::open_to_read(self.mount(), &path) {
            Err(e) if gone(&e) => return Ok(()),
            result => result.map_err(|e| self.blame(e))?,
        };
        // Reading it is what arms the event.
        let populated = match cgroup::read_again(events.as_fd()) {
            Err(e) if gone(&e) => return Ok(()),
            result => result.map_err(|e| self.blame(e.about(path)))?.lines().any(|l| l == "populated 1"),
        };
        if populated {
            let left = deadline.saturating_duration_since(Instant::now());
            cgroup::wait_for_change(events.as_fd(), milliseconds(left))
        } else {
            // Empty, but the directories below us have only just gone.
            std::thread::sleep(pause);
            Ok(())
        }
    }

    fn still_busy(&self, mut error: sys::Error) -> sys::Error {
        if let Ok(pids) = self.pids() {
            let some: Vec<String> = pids.iter().take(5).map(ToString::to_string).collect();
            let more = if pids.len() > some.len() { " …" } else { "" };
            error.note += &format!(" ({} process(es) are still in it: {}{more})", pids.len(), some.join(" "));
        }
        error
    }
}
