//! Paths that the container may not see or may not change. A path that is not there is skipped; nothing else is
//! (CVE-2025-31133: "it vanished" must not mean "unmasked"): not a link to nowhere, which may become one to somewhere.

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, makedev};

use super::Rootfs;
use super::options::{NODEV, NOEXEC, NOSUID, RDONLY};
use super::paths::Root;
use crate::sys::mount::{Attributes, Filesystem};
use crate::sys::{self, Call, Errno, Error, Result};

const READ_ONLY: Attributes = Attributes { set: RDONLY, clear: 0, propagation: 0 };

/// The existing target of a mask; `None` when it truly is not there.
fn target(root: &Root, path: &str) -> Result<Option<OwnedFd>> {
    // Mostly there is no link on the way, and then one look tells all.
    match root.find_plain(path) {
        Ok(found) => return Ok(Some(found)),
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(_) => {}
    }
    match root.find(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => match root.dangling(path)? {
            None => Ok(None),
            Some(link) => Err(e.about(format!("{path}: {link} is a link to nowhere"))),
        },
        Err(e) => Err(e),
    }
}

/// Covers `path`.
pub(super) fn mask(rootfs: &mut Rootfs, path: &str, label: Option<&str>) -> Result<()> {
    let Some(target) = target(rootfs.root()?, path)? else { return Ok(()) };
    let directory = sys::fs::kind(&sys::fs::stat(&target)?) == SFlag::S_IFDIR;
    let cover = match &rootfs.empty {
        Some(first) if directory => sys::mount::clone_tree(first, "", false)?,
        None if directory => {
            let context = empty_directory(label)?;
            let first = context.mount(RDONLY | NOSUID | NODEV | NOEXEC)?;
            rootfs.spend([context.into()]);
            first
        }
        _ => sys::mount::clone_tree(null(rootfs)?, "", false)?,
    };
    sys::mount::attach(&cover, &target).map_err(|e| e.about(path))?;
    if directory && rootfs.empty.is_none() {
        rootfs.empty = Some(cover);
        rootfs.spend([target]);
    } else {
        rootfs.spend([target, cover]);
    }
    Ok(())
}

/// The host's own /dev/null, opened in our copy of its mounts before the pivot, and checked: never the container's.
fn null(rootfs: &mut Rootfs) -> Result<&OwnedFd> {
    if rootfs.null.is_none() {
        let file = sys::fs::open_host("/dev/null", OFlag::O_PATH | OFlag::O_NOFOLLOW)?;
        let stat = sys::fs::stat(&file)?;
        if sys::fs::kind(&stat) != SFlag::S_IFCHR || stat.st_rdev != makedev(1, 3) {
            return Err(Error::new(Call::Fstat, Errno::ENODEV).about("/dev/null of the host is not 1:3"));
        }
        rootfs.null = Some(file);
    }
    rootfs.null.as_ref().ok_or_else(|| Error::new(Call::Open, Errno::EBADF))
}

/// All masked directories share one read-only, empty tmpfs.
fn empty_directory(label: Option<&str>) -> Result<Filesystem> {
    let context = Filesystem::open("tmpfs")?;
    context.set("source", Some("tmpfs"))?;
    context.set("nr_inodes", Some("1"))?;
    context.set("mode", Some("755"))?;
    context.set("ro", None)?;
    if let Some(label) = label {
        context.set("context", Some(label))?;
    }
    Ok(context)
}

/// Makes the tree at `path` read-only: a clone of itself, changed before it is attached, on the very inode that was found.
pub(super) fn readonly(rootfs: &mut Rootfs, path: &str) -> Result<()> {
    let Some(target) = target(rootfs.root()?, path)? else { return Ok(()) };
    let tree = sys::mount::clone_tree_with(&target, "", true, READ_ONLY)?;
    sys::mount::attach(&tree, &target).map_err(|e| e.about(path))?;
    rootfs.spend([target, tree]);
    Ok(())
}

/// Makes a mount itself read-only, the root as any other; what is mounted on it stays as it is.
pub(super) fn readonly_mount(mount: impl AsFd) -> Result<()> {
    sys::mount::set_attributes(mount, READ_ONLY, false)
}
