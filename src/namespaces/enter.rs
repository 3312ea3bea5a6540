//! Into the namespaces of a running init: all at once, by its pidfd, so that no path is looked up on the way and there is
//! no moment between two of them.
//!
//! Which ones is asked of the kernel, not of the config: those that differ from ours. Must never keep a directory of the
//! host open while going in (CVE-2016-9962, CVE-2024-21626).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, ResolveFlag};

use super::Kind;
use crate::sys::{self, Errno, Result};

/// The way into a running container, opened before the birth.
pub struct Entrance {
    init: OwnedFd,
    namespaces: i32,
    /// Init's root, where it has no mount namespace of its own that would lead there.
    root: Option<OwnedFd>,
}

impl Entrance {
    /// Looks at the namespaces of the process `pid`, which `init` is a descriptor of.
    pub fn open(pid: i32, init: OwnedFd) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let ours = sys::fs::open_host("/proc/self/ns", flags)?;
        let theirs = sys::fs::open_host(&format!("/proc/{pid}"), flags)?;
        let mut namespaces = 0;
        for (kind, _) in Kind::ALL {
            if inode(&ours, kind.file())? != inode(&theirs, &format!("ns/{}", kind.file()))? {
                namespaces |= kind.flag();
            }
        }
        let root = match namespaces & Kind::Mount.flag() {
            0 => Some(sys::fs::open(&theirs, "root", flags, 0, ResolveFlag::empty())?),
            _ => None,
        };
        // What was looked at was init's as long as init lives: its pid can't have been another's meanwhile.
        sys::process::signal(&init, 0)?;
        Ok(Self { init, namespaces, root })
    }

    /// The descriptors that must stay open until it has been gone through.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        std::iter::once(self.init.as_raw_fd()).chain(self.root.as_ref().map(AsRawFd::as_raw_fd))
    }

    /// Goes in; whoever is born next is inside.
    pub fn enter(self) -> Result<()> {
        if self.namespaces != 0 {
            sys::process::setns(&self.init, self.namespaces).map_err(|e| e.about(format!("to {}", self.names())))?;
        }
        if let Some(root) = &self.root {
            sys::mount::enter(root)?;
            sys::mount::chroot_here()?;
        }
        Ok(())
    }

    fn names(&self) -> String {
        let which = Kind::ALL.iter().filter(|(kind, _)| self.namespaces & kind.flag() != 0);
        which.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }
}

/// The inode of a namespace; 0 for a kind that this kernel does not have.
fn inode(directory: &OwnedFd, name: &str) -> Result<u64> {
    // The link is magic: following it leads to the namespace itself.
    match nix::sys::stat::fstatat(directory, name, nix::fcntl::AtFlags::empty()) {
        Ok(stat) => Ok(stat.st_ino),
        Err(Errno::ENOENT) => Ok(0),
        Err(errno @ (Errno::EACCES | Errno::EPERM)) => {
            let why =
                "without root's rights a process can be joined only when it has started, and lets itself be looked at";
            Err(sys::Error::new(sys::Call::Stat, errno).about(format!("{name} ({why})")))
        }
        Err(errno) => Err(sys::Error::new(sys::Call::Stat, errno).about(name)),
    }
}
