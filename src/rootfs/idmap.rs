//! Mounts that show other ids than their filesystem holds (mount_setattr(2), `MOUNT_ATTR_IDMAP`).
//!
//! The maps come as a user namespace, made by a child that does nothing but be in it. The host side does all of this:
//! inside the container nobody has rights over the filesystem. Nobody ever enters the namespace that is made here.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::OFlag;

use super::Mapping;
use crate::sys::process::{Birth, Born};
use crate::sys::{self, Errno, Error, Result};

/// The namespaces of maps that were needed already: volumes come in numbers, with the same maps.
#[derive(Default)]
pub(super) struct Maps(Vec<(Mapping, OwnedFd)>);

impl Maps {
    /// Maps the ids of a detached mount; `what` is the path or the filesystem that it is a mount of.
    pub(super) fn apply(&mut self, mount: &OwnedFd, mapping: &Mapping, tree: bool, what: &str) -> Result<()> {
        let namespace = self.namespace(mapping).map_err(|e| e.at(what))?;
        sys::mount::set_idmap(mount, namespace, tree).map_err(|e| explained(e, &described(what), tree))
    }

    fn namespace(&mut self, mapping: &Mapping) -> Result<&OwnedFd> {
        let known = self.0.iter().position(|(of, _)| of == mapping);
        let at = match known {
            Some(at) => at,
            None => {
                self.0.push((mapping.clone(), open(mapping)?));
                self.0.len() - 1
            }
        };
        Ok(&self.0[at].1)
    }
}

fn open(mapping: &Mapping) -> Result<OwnedFd> {
    match mapping {
        Mapping::Own { uids, gids } => make(uids, gids),
        Mapping::Namespace { path } => sys::fs::open_host(path, OFlag::O_RDONLY),
    }
}

/// A user namespace with these maps. The child lives until we let go of our end, or die.
fn make(uids: &str, gids: &str) -> Result<OwnedFd> {
    let (ours, theirs) = sys::sock::pair()?;
    let birth = Birth { namespaces: libc::CLONE_NEWUSER as u64, ..Birth::default() };
    match sys::process::clone3(birth)? {
        Born::Child => {
            drop(ours);
            // Whatever it hears, the end is near.
            let _ = sys::sock::receive(&theirs, &mut [0]);
            sys::process::exit_now(0)
        }
        Born::Parent { pid, pidfd } => {
            drop(theirs);
            let made = mapped(pid, uids, gids);
            drop(ours);
            sys::process::wait(&pidfd)?;
            made
        }
    }
}

fn mapped(pid: i32, uids: &str, gids: &str) -> Result<OwnedFd> {
    let process = sys::fs::open_host(&format!("/proc/{pid}"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    sys::fs::write(&process, "uid_map", uids)?;
    sys::fs::write(&process, "gid_map", gids)?;
    sys::fs::open(&process, "ns/user", OFlag::O_RDONLY, 0, nix::fcntl::ResolveFlag::empty())
}

/// The kernel's numbers for "this filesystem can't" and "you can't" in words.
fn explained(error: Error, what: &str, tree: bool) -> Error {
    let below = if tree { ", or one that is mounted below it," } else { "" };
    let why = match error.errno {
        Errno::EINVAL => format!("{what}{below} has no id-mapped mounts in this kernel"),
        Errno::EPERM => format!("{what}{below} is id-mapped already, or is not ours to map"),
        Errno::ENOSYS => format!("{what}: id-mapped mounts need a kernel from 5.12 on"),
        _ => what.to_owned(),
    };
    error.about(why)
}

/// A path with the type of its filesystem, for an error: "/srv/data (xfs)"; other words as they are.
fn described(path: &str) -> String {
    match path.starts_with('/').then(|| kind(path)).flatten() {
        Some(kind) => format!("{path} ({kind})"),
        None => path.to_owned(),
    }
}

/// The type of the filesystem at a path, by the id of its mount in the table of mounts.
fn kind(path: &str) -> Option<String> {
    let file = sys::fs::open_host(path, OFlag::O_PATH).ok()?;
    let info = sys::fs::read_host(&format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    let id = info.lines().find_map(|l| l.strip_prefix("mnt_id:"))?.trim().to_owned();
    let table = sys::fs::read_host("/proc/self/mountinfo").ok()?;
    let line = table.lines().find(|l| l.split(' ').next() == Some(&id))?;
    let (_, filesystem) = line.split_once(" - ")?;
    filesystem.split(' ').next().map(str::to_owned)
}
