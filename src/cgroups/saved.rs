//! The v2 groups of a container that is saved and comes back: which controllers each passes on, and its limits.
//!
//! CRIU makes the groups below the container's again, and on v1 sets their limits, by a list per controller. To it v2 is one
//! controller without a name, for which there can be no list (the parser of `--cgroup-props` takes no empty name). And it sees no
//! group above those that have processes: what such a one passes on is lost, and is missed where one with processes passes it
//! on again (`write to cgroup.subtree_control: No such file or directory`). So that is ours:
//!
//! ```text
//! checkpoint   when all is saved, and stands still    Cgroup::groups → beside the images
//! restore      when init is in its group              Cgroup::pass_on
//!              when everybody is, before they run     Cgroup::limit_again
//! ```
//! A group that passes memory or I/O on may have no processes, but in a restore CRIU stands in the container's own, from which
//! it makes the cgroup namespace. So only then can controllers be passed on, and CRIU has to go.
//!
//! Must never: reach out of the container's directory, whatever path was saved.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use super::apply::Cgroup;
use super::tree::Tree;
use crate::sys::{self, Errno, cgroup, fs};

/// The files that are brought back, with what each says where nothing was set. An idle group's weight is 0, which can't be
/// written; so idle comes first.
const LIMITS: [(&str, &str); 17] = [
    ("cpuset.cpus", ""),
    ("cpuset.mems", ""),
    ("cpu.idle", "0"),
    ("cpu.weight", "100"),
    ("cpu.max", "max 100000"),
    ("cpu.max.burst", "0"),
    ("io.weight", "default 100"),
    ("io.max", ""),
    ("memory.min", "0"),
    ("memory.low", "0"),
    ("memory.high", "max"),
    ("memory.max", "max"),
    ("memory.swap.high", "max"),
    ("memory.swap.max", "max"),
    ("memory.zswap.max", "max"),
    ("memory.oom.group", "0"),
    ("pids.max", "max"),
];

/// A group as it was.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// From the container's own, whose path is empty.
    path: String,
    /// The controllers that it passes on.
    controllers: Vec<String>,
    /// Whether processes are in it.
    inhabited: bool,
    limits: Vec<Limit>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Limit {
    file: String,
    value: String,
    /// User and group: a controller's files belong to whoever has had it passed on.
    owner: (u32, u32),
}

impl Group {
    fn is_own(&self) -> bool {
        self.path.is_empty()
    }

    /// Whether CRIU has seen it: it looks at the groups with processes, and at what is below them.
    fn is_in_images(&self, all: &[Group]) -> bool {
        let holds =
            |above: &str| self.path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        all.iter().any(|group| group.inhabited && (group.is_own() || holds(&group.path)))
    }
}

impl Cgroup {
    /// The container's v2 groups, each after the one it is in; none where they say nothing.
    pub fn groups(&self) -> sys::Result<Vec<Group>> {
        let Some(tree) = self.unified() else { return Ok(Vec::new()) };
        let own = tree.own()?;
        let mut paths = vec![String::new()];
        let mut groups = Vec::new();
        while let Some(path) = paths.get(groups.len()).cloned() {
            let dir = open(own.as_fd(), &path).map_err(|e| tree.blame(e))?;
            for name in cgroup::list_dirs(dir.as_fd())? {
                let name = name.to_string_lossy();
                paths.push(if path.is_empty() { name.into_owned() } else { format!("{path}/{name}") });
            }
            groups.push(saved(dir.as_fd(), path).map_err(|e| tree.blame(e))?);
        }
        let is_plain = groups.iter().all(|group| group.controllers.is_empty() && group.limits.is_empty());
        Ok(if is_plain { Vec::new() } else { groups })
    }

    /// Passes controllers on as it was, but where CRIU does: in groups that it makes, and (`full`) in those that it has in its
    /// images. Everybody but init, who is in place, leaves the container's own group for ours.
    pub fn pass_on(&self, groups: &[Group], init: i32, full: bool) -> sys::Result<()> {
        let Some(tree) = self.unified().filter(|_| groups.iter().any(|group| !group.controllers.is_empty())) else {
            return Ok(());
        };
        let table = fs::read_piece("/proc/self/cgroup")?;
        let ours = table.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let ours = format!("{ours}/cgroup.procs");
        for pid in tree.list_at(&tree.file("cgroup.procs"))?.lines().filter(|pid| *pid != init.to_string()) {
            match tree.write_at(ours.trim_start_matches('/'), pid) {
                // It has ended.
                Err(e) if e.errno == Errno::ESRCH => {}
                other => other?,
            }
        }
        for group in groups.iter().filter(|group| !group.controllers.is_empty()) {
            let criu_does = group.is_in_images(groups) && (full || !group.is_own());
            if criu_does || find(tree, &group.path)?.is_none() {
                continue;
            }
            let dir = if group.is_own() { tree.file("") } else { tree.file(&format!("{}/", group.path)) };
            tree.enable_in(&dir, &group.controllers, &group.controllers)?;
        }
        Ok(())
    }

    /// Sets the limits of the groups below the container's own again, and (`full`) of that one.
    pub fn limit_again(&self, groups: &[Group], full: bool) -> sys::Result<()> {
        let Some(tree) = self.unified().filter(|_| !groups.is_empty()) else { return Ok(()) };
        for group in groups.iter().filter(|group| full || !group.is_own()) {
            if let Some(dir) = find(tree, &group.path)? {
                group.limits.iter().try_for_each(|limit| limit.set(dir.as_fd())).map_err(|e| {
                    let note = format!("{}/{}", tree.file(&group.path).trim_end_matches('/'), e.note);
                    tree.blame(e.about(note))
                })?;
            }
        }
        Ok(())
    }

    fn unified(&self) -> Option<&Tree> {
        self.trees.iter().find(|tree| tree.is_v2())
    }
}

impl Tree {
    /// The container's directory.
    fn own(&self) -> sys::Result<OwnedFd> {
        cgroup::open_dir(self.mount(), &self.place.path).map_err(|e| self.blame(e))
    }
}

impl Limit {
    /// Writes what is not there already; a file of several lines takes one at a time.
    fn set(&self, dir: BorrowedFd<'_>) -> sys::Result<()> {
        let is_default = LIMITS.contains(&(self.file.as_str(), self.value.as_str()));
        let now = match read(dir, &self.file) {
            // What can't be limited here was not.
            Err(e) if e.errno == Errno::ENOENT && is_default => return Ok(()),
            other => other?,
        };
        let file = cgroup::open_to_write(dir, &self.file)?;
        for line in self.value.lines().filter(|line| !now.lines().any(|there| there == *line)) {
            fs::write_fd(file.as_fd(), line.as_bytes()).map_err(|e| e.about(format!("{} = {line}", self.file)))?;
        }
        let stat = fs::stat(&file)?;
        if (stat.st_uid, stat.st_gid) == self.owner {
            return Ok(());
        }
        fs::chown(cgroup::open_to_name(dir, &self.file)?, self.owner.0, self.owner.1)
    }
}

fn saved(dir: BorrowedFd<'_>, path: String) -> sys::Result<Group> {
    let mut limits = Vec::new();
    for (file, _) in LIMITS {
        match cgroup::open_to_read(dir, file) {
            // Of a controller that is not passed on to it.
            Err(e) if e.errno == Errno::ENOENT => {}
            open => {
                let stat = fs::stat(open?)?;
                let owner = (stat.st_uid, stat.st_gid);
                limits.push(Limit { file: file.to_owned(), value: read(dir, file)?, owner });
            }
        }
    }
    let controllers = read(dir, "cgroup.subtree_control")?.split_whitespace().map(str::to_owned).collect();
    let inhabited = !read(dir, "cgroup.procs")?.is_empty();
    Ok(Group { path, controllers, inhabited, limits })
}

fn read(dir: BorrowedFd<'_>, file: &str) -> sys::Result<String> {
    let open = cgroup::open_to_read(dir, file)?;
    let text = cgroup::read_again(open.as_fd()).map_err(|e| e.about(file))?;
    Ok(text.trim_end().to_owned())
}

/// The directory of a group. None: CRIU has not made it, for nobody was in it, nor below, nor in those around it.
fn find(tree: &Tree, path: &str) -> sys::Result<Option<OwnedFd>> {
    match open(tree.own()?.as_fd(), path) {
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        other => other.map(Some).map_err(|e| tree.blame(e)),
    }
}

/// A directory at or below `own`, which can be listed.
fn open(own: BorrowedFd<'_>, path: &str) -> sys::Result<OwnedFd> {
    if path.is_empty() {
        cgroup::open_child(own, c".")
    } else {
        cgroup::open_child(cgroup::open_dir(own, path)?.as_fd(), c".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criu_sees_groups_with_processes_and_what_is_below_them() {
        let group =
            |path: &str, inhabited| Group { path: path.into(), controllers: Vec::new(), inhabited, limits: Vec::new() };
        let all =
            [group("", false), group("a", false), group("a/b", true), group("a/b/c", false), group("a/bc", false)];
        let seen: Vec<&str> = all.iter().filter(|g| g.is_in_images(&all)).map(|g| g.path.as_str()).collect();
        assert_eq!(seen, ["a/b", "a/b/c"]);
        let all = [group("", true), group("a", false)];
        assert!(all.iter().all(|g| g.is_in_images(&all)));
    }
}
