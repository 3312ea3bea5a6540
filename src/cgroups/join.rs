//! How a process gets into the cgroup.
//!
//! Moving a process by its pid makes the kernel wait for a grace period (milliseconds); a thread that writes "0" to a
//! v1 `tasks` file moves itself without one, and `clone3` places a child in a v2 directory at birth. So the files are
//! opened before birth, and the child, single-threaded, joins first thing.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use serde::Serialize;

use crate::sys::{self, Errno, cgroup, fs};

use super::apply::Cgroup;
use super::systemd::{self, Instance, Unit};
use super::tree::Tree;

/// A cgroup below the container's own that a later process is to join: `exec --cgroup [CONTROLLER:]PATH`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Below {
    /// The v1 hierarchies with one of these controllers; none: every tree.
    pub controllers: Vec<String>,
    /// The path, without a leading slash; empty for the container's own cgroup.
    pub path: String,
}

impl Below {
    /// Reads `PATH` or `CONTROLLER[,CONTROLLER]:PATH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (controllers, path) = text.split_once(':').unwrap_or(("", text));
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        if names.contains(&"..") || path.contains(char::is_control) {
            return Err(format!("{text:?} does not name a cgroup below the container's own"));
        }
        let controllers = controllers.split(',').filter(|c| !c.is_empty()).map(str::to_owned).collect();
        Ok(Self { controllers, path: names.join("/") })
    }

    fn is_about(&self, tree: &Tree) -> bool {
        self.controllers.is_empty() || tree.place.controllers.iter().any(|c| self.controllers.contains(c))
    }
}

/// What the child needs to join, opened before it is born.
#[derive(Debug)]
pub struct Join {
    /// v1 `tasks` files, and the v2 `cgroup.procs` if the clone could not place the child.
    files: Vec<OwnedFd>,
    /// The v2 directory.
    into: Option<OwnedFd>,
    /// Where the first process of a running container is, if that is deeper in the v2 tree.
    or_else: Option<OwnedFd>,
    /// The unit of a user's own systemd that holds the container.
    unit: Option<Unit>,
}

impl Drop for Join {
    fn drop(&mut self) {
        fs::close_all(self.give_up());
    }
}

impl Join {
    /// Gives up all that is open, to be closed with more.
    pub fn give_up(&mut self) -> impl Iterator<Item = OwnedFd> {
        let Join { files, into, or_else, unit: _ } = self;
        std::mem::take(files).into_iter().chain(into.take()).chain(or_else.take())
    }

    /// The directory for `CLONE_INTO_CGROUP`, if there is a v2 tree.
    pub fn into_fd(&self) -> Option<BorrowedFd<'_>> {
        self.into.as_ref().map(AsFd::as_fd)
    }

    /// The directory to try when the kernel says [`Errno::EBUSY`] to the first one: a container that passes controllers on
    /// to cgroups of its own (systemd does) can't have processes beside them.
    pub fn instead_fd(&self) -> Option<BorrowedFd<'_>> {
        self.or_else.as_ref().map(AsFd::as_fd)
    }

    /// Whether a process can be brought in by systemd: the kernel lets no user take one across the border of what is theirs
    /// (`user@.service`), as from a login session into a container.
    pub fn can_bring(&self) -> bool {
        self.unit.is_some()
    }

    /// Has the process `pid` brought in.
    pub fn bring(&self, pid: i32) -> sys::Result<()> {
        self.unit.as_ref().map_or(Ok(()), |unit| systemd::bring(unit, pid))
    }

    /// The descriptors that must stay open until the child has joined.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.files.iter().map(AsRawFd::as_raw_fd)
    }

    /// In the child, before it does anything else and while it has one thread: joins every tree but the one that the
    /// clone has placed it in. Allocates only to report a failure.
    pub fn join_self(&self) -> sys::Result<()> {
        self.files.iter().try_for_each(|file| fs::write_fd(file.as_fd(), b"0"))
    }
}

impl Cgroup {
    fn empty_join(&self) -> Join {
        Join { files: Vec::with_capacity(self.trees.len()), into: None, or_else: None, unit: None }
    }

    /// Opens what a process needs to join.
    pub fn join(&self) -> sys::Result<Join> {
        let mut join = self.empty_join();
        for tree in &self.trees {
            if tree.is_v2() {
                join.into = Some(cgroup::open_dir(tree.mount(), &tree.place.path).map_err(|e| tree.blame(e))?);
            } else {
                let file = cgroup::open_to_write(tree.mount(), &tree.file("tasks")).map_err(|e| tree.blame(e))?;
                join.files.push(file);
            }
        }
        Ok(join)
    }

    /// The same for a kernel or a cgroup into which `clone3` cannot place a child: it joins the v2 tree by itself too.
    pub fn join_without_clone(&self) -> sys::Result<Join> {
        let mut join = self.join()?;
        join.into = None;
        for tree in self.trees.iter().filter(|t| t.is_v2()) {
            let file = cgroup::open_to_write(tree.mount(), &tree.file("cgroup.procs")).map_err(|e| tree.blame(e))?;
            join.files.push(file);
        }
        Ok(join)
    }

    /// Opens what a process needs that comes into a running container, whose first process is `init`. It goes to the
    /// container's own cgroups, or to those `below` them; where that can't be, to the one that init itself is in, and
    /// never out of the placement.
    pub fn join_running(&self, init: i32, below: &[Below]) -> sys::Result<Join> {
        if let Some(strange) = below.iter().find(|b| !self.trees.iter().any(|tree| b.is_about(tree))) {
            let note = format!("--cgroup: the container has no cgroup with {}", strange.controllers.join(","));
            return Err(sys::Error::other(sys::Call::Open, note));
        }
        let table = fs::read_host(&format!("/proc/{init}/cgroup"))?;
        let mut join = self.empty_join();
        // A place that was asked for by name is no unit's.
        join.unit = self.unit.clone().filter(|unit| below.is_empty() && unit.of == Instance::User);
        for tree in &self.trees {
            let named =
                below.iter().rev().find(|b| b.is_about(tree)).map(|b| b.path.as_str()).filter(|p| !p.is_empty());
            let own = tree.place.path.clone();
            let wanted = named.map_or_else(|| own.clone(), |path| format!("{own}/{path}"));
            // What was asked for by name is not replaced.
            let deeper = if named.is_some() { None } else { tree.deeper(&table) };
            if tree.is_v2() {
                join.into = Some(cgroup::open_dir(tree.mount(), &wanted).map_err(|e| tree.blame(e))?);
                join.or_else = deeper.and_then(|path| cgroup::open_dir(tree.mount(), &path).ok());
                continue;
            }
            let file = match (cgroup::open_to_write(tree.mount(), &format!("{wanted}/tasks")), deeper) {
                (Err(e), Some(path)) if matches!(e.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS) => {
                    cgroup::open_to_write(tree.mount(), &format!("{path}/tasks"))
                }
                (result, _) => result,
            };
            join.files.push(file.map_err(|e| tree.blame(e))?);
        }
        Ok(join)
    }

    /// Moves the process `pid` (with all its threads) into every tree. Slow: the kernel waits for a grace period.
    pub fn attach(&self, pid: i32) -> sys::Result<()> {
        self.trees.iter().try_for_each(|tree| tree.write("cgroup.procs", &pid.to_string()))
    }
}

impl Tree {
    /// Where a process with this /proc/PID/cgroup is below the container's own cgroup, from the mount point.
    ///
    /// The table's paths begin at the reader's cgroup root, ours at the mount point; so the container's path is looked for
    /// in them. What comes after it was named by the container, and is opened below our own path only.
    fn deeper(&self, table: &str) -> Option<String> {
        let own = &self.place.path;
        let line = table.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let same = if self.is_v2() {
                controllers.is_empty()
            } else {
                controllers.split(',').any(|c| self.place.controllers.iter().any(|own| own == c))
            };
            same.then_some(path)
        })?;
        let at = line.find(&format!("/{own}/"))?;
        Some(line[at + 1..].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_below_never_leads_out() {
        let below = |text: &str| Below::parse(text).map(|b| (b.controllers, b.path));
        assert_eq!(below("a//./b/"), Ok((vec![], "a/b".into())));
        assert_eq!(below("/"), Ok((vec![], String::new())));
        assert_eq!(below("cpu,memory:/x"), Ok((vec!["cpu".into(), "memory".into()], "x".into())));
        for bad in ["..", "a/../..", "cpu:../x", "a\nb"] {
            assert!(below(bad).unwrap_err().contains("does not name a cgroup below"), "{bad:?}");
        }
    }
}
