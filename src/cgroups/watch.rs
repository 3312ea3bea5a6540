//! Tells when the kernel has counted something that somebody should hear of: a process killed for want of memory, memory
//! held back at memory.high, a fork refused at pids.max.
//!
//! v2 files wake who polls them. v1 has an event for memory only, so there the counters are looked at now and then too.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::poll::PollFlags;

use crate::sys::{self, cgroup};

use super::apply::Cgroup;
use super::tree::{Tree, number_of};

/// How often the counters of v1 are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What can happen, by the counter that tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A process was killed for want of memory.
    OomKill,
    /// Memory was reclaimed because of memory.high.
    MemoryHigh,
    /// A fork was refused because of pids.max.
    PidsMax,
}

struct Source {
    file: OwnedFd,
    /// v1: what becomes readable; the file itself does not.
    event: Option<OwnedFd>,
    /// Whether the file wakes a poll.
    wakes: bool,
    counters: Vec<(Happening, &'static str, u64)>,
}

/// Watches one container's counters.
pub struct Watcher(Vec<Source>);

impl Cgroup {
    /// Begins to watch: what was counted before is not told.
    pub fn watch(&self) -> sys::Result<Watcher> {
        let mut sources = Vec::new();
        for tree in self.ours() {
            if tree.is_v2() {
                let memory = [(Happening::OomKill, "oom_kill"), (Happening::MemoryHigh, "high")];
                sources.extend(open(tree, "memory.events", true, &memory)?);
                sources.extend(open(tree, "pids.events", true, &[(Happening::PidsMax, "max")])?);
                continue;
            }
            if tree.is_v1("memory")
                && let Some(mut source) = open(tree, "memory.oom_control", false, &[(Happening::OomKill, "oom_kill")])?
            {
                source.event = register(tree, source.file.as_fd());
                sources.push(source);
            }
            if tree.is_v1("pids") {
                sources.extend(open(tree, "pids.events", false, &[(Happening::PidsMax, "max")])?);
            }
        }
        Ok(Watcher(sources))
    }
}

fn open(tree: &Tree, name: &str, wakes: bool, counters: &[(Happening, &'static str)]) -> sys::Result<Option<Source>> {
    let file = match cgroup::open_to_read(tree.mount(), &tree.file(name)) {
        Err(e) if super::tree::gone(&e) => return Ok(None),
        other => other?,
    };
    let text = cgroup::read_again(file.as_fd())?;
    let counters = counters.iter().map(|(what, key)| (*what, *key, number_of(&text, key).unwrap_or(0))).collect();
    Ok(Some(Source { file, event: None, wakes, counters }))
}

/// v1's way to hear of an OOM. Kernels without it still have the counter.
fn register(tree: &Tree, file: BorrowedFd<'_>) -> Option<OwnedFd> {
    let event = cgroup::event().ok()?;
    tree.write("cgroup.event_control", &format!("{} {}", event.as_raw_fd(), file.as_raw_fd())).ok()?;
    Some(event)
}

impl Watcher {
    /// What to poll for.
    pub fn descriptors(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.0.iter().filter_map(|source| match &source.event {
            Some(event) => Some((event.as_fd(), PollFlags::POLLIN)),
            None if source.wakes => Some((source.file.as_fd(), PollFlags::POLLPRI)),
            None => None,
        })
    }

    /// How long a poll may take before the counters must be looked at all the same.
    pub fn patience(&self) -> Option<Duration> {
        self.0.iter().any(|source| !source.wakes).then_some(LOOK)
    }

    /// What has been counted since the last look, with the new counts. Nothing, once the cgroup is gone.
    pub fn look(&mut self) -> Vec<(Happening, u64)> {
        let mut happened = Vec::new();
        for source in &mut self.0 {
            if let Some(event) = &source.event {
                // Only to be emptied; a spurious wake-up has nothing in it.
                let _ = nix::unistd::read(event, &mut [0; 8]);
            }
            let Ok(text) = cgroup::read_again(source.file.as_fd()) else { continue };
            for (what, key, before) in &mut source.counters {
                let now = number_of(&text, key).unwrap_or(*before);
                if now > *before {
                    happened.push((*what, now));
                }
                *before = now;
            }
        }
        happened
    }
}
