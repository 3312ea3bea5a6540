//! The processes of the container as a group: list, signal, count the killed.
//!
//! A pid read from a cgroup may belong to somebody else a moment later: it is signalled only through a process
//! descriptor that was opened before the list was read once more.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::sys::{self, Errno, cgroup, process};

use super::apply::Cgroup;
use super::tree::{Tree, gone};

/// The signal that nobody can refuse: 9 on every architecture.
const SIGKILL: i32 = 9;
/// How many processes are signalled on the strength of one second look: well below the usual limit of descriptors.
const AT_ONCE: usize = 128;
/// How long to wait for all to stand still before signals are sent all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long new processes may keep appearing before a kill gives up.
const DEADLINE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Every process in the cgroup and below it.
    pub fn pids(&self) -> sys::Result<Vec<i32>> {
        self.counter().map_or(Ok(Vec::new()), Tree::pids)
    }

    /// Sends `signal` to every process. SIGKILL also thaws, since a frozen process does not die; after another signal a
    /// container that was frozen is frozen still.
    pub fn kill_all(&self, signal: i32) -> sys::Result<()> {
        if signal != SIGKILL {
            return self.with_all_frozen(false, |tree| signal_each(tree, signal).map(|_| ()));
        }
        match self.kill_by_kernel() {
            None => self.kill_one_by_one(),
            Some(result) => {
                // On a hybrid host somebody may have been moved out of the unified cgroup, and the v1 freezer holds even
                // the killed.
                let strays = self.v1_counter().map_or(Ok(0), |tree| signal_each(tree, SIGKILL));
                let thawed = self.thaw_v1();
                result.and(strays.map(|_| ())).and(thawed)
            }
        }
    }

    /// How many processes the kernel has killed here for want of memory.
    pub fn oom_kills(&self) -> sys::Result<u64> {
        if let Some(tree) = self.ours().find(|t| t.is_v1("memory")) {
            return Ok(tree.field("memory.oom_control", "oom_kill")?.unwrap_or(0));
        }
        match self.ours().find(|t| t.is_v2()) {
            None => Ok(0),
            Some(tree) => match tree.field("memory.events", "oom_kill") {
                Ok(count) => Ok(count.unwrap_or(0)),
                // Without the controller nothing is counted.
                Err(e) if gone(&e) => Ok(0),
                Err(e) => Err(e),
            },
        }
    }

    /// `cgroup.kill` (v2, Linux 5.14): all at once, however fast they fork.
    fn kill_by_kernel(&self) -> Option<sys::Result<()>> {
        let tree = self.ours().find(|t| t.is_v2())?;
        match tree.write("cgroup.kill", "1") {
            Err(e) if gone(&e) => None,
            result => Some(result),
        }
    }

    /// Freeze, kill, thaw; where nothing can be frozen, again and again while new ones appear.
    fn kill_one_by_one(&self) -> sys::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut reached = 0;
            self.with_all_frozen(true, |tree| {
                reached = signal_each(tree, SIGKILL)?;
                Ok(())
            })?;
            // Frozen, none could fork meanwhile: those that were listed are all.
            if self.find_freezer().is_some() || reached == 0 || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    /// Runs `act` while nobody can fork or exit, as far as that can be had, and thaws whatever happens.
    fn with_all_frozen(&self, thaw: bool, act: impl FnOnce(&Tree) -> sys::Result<()>) -> sys::Result<()> {
        let Some(members) = self.v1_counter().or_else(|| self.counter()) else { return Ok(()) };
        let Some(freezer) = self.find_freezer() else { return act(members) };
        let before = match freezer.is_frozen() {
            Err(e) if gone(&e) => return Ok(()),
            result => result?,
        };
        if !before {
            // Policy: a process that cannot be frozen just now must not keep the others from their signal.
            let _ = freezer.freeze(PATIENCE);
        }
        let result = act(members);
        let thawed = match thaw || !before {
            false => Ok(()),
            true if freezer.is_v2() => freezer.thaw(),
            true if thaw => freezer.thaw_all(),
            true => freezer.thaw(),
        };
        result.and(thawed)
    }

    fn thaw_v1(&self) -> sys::Result<()> {
        self.ours().find(|t| t.is_v1("freezer")).map_or(Ok(()), Tree::thaw_all)
    }

    /// The trees in which a kill looks for processes.
    pub(super) fn counters(&self) -> impl Iterator<Item = &Tree> {
        self.ours().find(|t| t.is_v2()).into_iter().chain(self.v1_counter())
    }

    /// The tree whose list of processes counts.
    fn counter(&self) -> Option<&Tree> {
        self.ours().find(|t| t.is_v2()).or_else(|| self.v1_counter())
    }

    fn v1_counter(&self) -> Option<&Tree> {
        let v1 = |name| self.ours().find(move |t| t.is_v1(name));
        v1("freezer").or_else(|| v1("pids")).or_else(|| self.ours().find(|t| !t.is_v2()))
    }
}

/// Signals every process of the tree; how many there were.
fn signal_each(tree: &Tree, signal: i32) -> sys::Result<usize> {
    let all = tree.pids()?;
    for some in all.chunks(AT_ONCE) {
        let mut handles = Vec::with_capacity(some.len());
        for &pid in some {
            match process::pidfd(pid) {
                Ok(handle) => handles.push((pid, handle)),
                Err(e) if e.errno == Errno::ESRCH => {}
                Err(e) => return Err(e),
            }
        }
        let still: BTreeSet<i32> = tree.pids()?.into_iter().collect();
        for (pid, handle) in handles.iter().filter(|(pid, _)| still.contains(pid)) {
            match process::signal(handle.as_fd(), signal) {
                Err(e) if e.errno != Errno::ESRCH => return Err(e.about(pid.to_string())),
                _ => {}
            }
        }
    }
    Ok(all.len())
}

impl Tree {
    /// Every process of the directory and of those below it.
    pub(super) fn pids(&self) -> sys::Result<Vec<i32>> {
        let mut pids = Vec::new();
        self.walk(
            |dir| match cgroup::open_to_read(dir, "cgroup.procs").and_then(|file| cgroup::read_again(file.as_fd())) {
                Ok(text) => {
                    // 0 stands for a process that our pid namespace cannot see.
                    pids.extend(text.lines().filter_map(|l| l.parse::<i32>().ok()).filter(|&pid| pid > 0));
                    Ok(())
                }
                // A threaded cgroup: its processes are listed in the nearest domain above it.
                Err(e) if gone(&e) || e.errno == Errno::EOPNOTSUPP => Ok(()),
                Err(e) => Err(self.blame(e)),
            },
            |_, _| Ok(()),
        )?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }
}
