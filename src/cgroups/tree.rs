//! One tree with the container's directory in it: every path is relative to a descriptor of the mount point.
//!
//! Must never follow a path out of the tree: components come from `place.rs` or from the kernel's own listing.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::sys::{self, Call, Errno, Error, cgroup, fs};

use super::place::{Place, Version};

/// An open tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) place: Place,
    mount: OwnedFd,
    /// Whether we made the directory ourselves, so that nothing can be in it yet.
    pub(super) fresh: bool,
    /// Whether the directory is this container's: made, or found free, or recorded. Until then it may be another's, whose
    /// processes must not be touched.
    pub(super) ours: bool,
}

impl Tree {
    /// Opens a tree that the facts have just named.
    pub(super) fn open(place: Place) -> sys::Result<Tree> {
        Ok(Tree { mount: cgroup::open_mount(&place.mountpoint)?, place, fresh: false, ours: false })
    }

    /// Opens a tree that a record names: it must still be one.
    pub(super) fn reopen(place: Place) -> sys::Result<Tree> {
        let mut tree = Self::open(place)?;
        tree.ours = true;
        let expected = match tree.place.version {
            Version::V1 => 1,
            Version::V2 => 2,
        };
        if cgroup::version(tree.mount())? != Some(expected) {
            let note = format!("{}: no cgroup v{expected} file system any more", tree.place.mountpoint);
            return Err(Error::new(Call::Open, Errno::ENODEV).about(note));
        }
        Ok(tree)
    }

    /// The mount point.
    pub(super) fn mount(&self) -> BorrowedFd<'_> {
        self.mount.as_fd()
    }

    /// Gives up all but the mount point.
    pub(super) fn into_mount(self) -> OwnedFd {
        self.mount
    }

    /// Whether the tree is a v1 hierarchy with this controller, or the v2 tree.
    pub(super) fn is_v1(&self, controller: &str) -> bool {
        self.place.version == Version::V1 && self.place.controllers.iter().any(|c| c == controller)
    }

    /// Whether it is the v2 tree.
    pub(super) fn is_v2(&self) -> bool {
        self.place.version == Version::V2
    }

    /// The path of a control file of the container's directory.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.place.path)
    }

    /// Says which tree an error is about.
    pub(super) fn blame(&self, mut error: Error) -> Error {
        error.note = format!("{}/{}", self.place.mountpoint.trim_end_matches('/'), error.note);
        error
    }

    /// Writes `value` to the control file at `path` (from the mount point): one open, one write, one close.
    pub(super) fn write_at(&self, path: &str, value: &str) -> sys::Result<()> {
        let file = cgroup::open_to_write(self.mount(), path).map_err(|e| self.blame(e))?;
        fs::write_fd(file.as_fd(), value.as_bytes()).map_err(|e| self.blame(e.about(format!("{path} = {value}"))))
    }

    /// Writes to a control file of the container's directory.
    pub(super) fn write(&self, file: &str, value: &str) -> sys::Result<()> {
        self.write_at(&self.file(file), value)
    }

    /// Reads the control file at `path` (from the mount point), which is no list of processes.
    pub(super) fn read_at(&self, path: &str) -> sys::Result<String> {
        let file = cgroup::open_to_read(self.mount(), path).map_err(|e| self.blame(e))?;
        cgroup::read_values(file.as_fd()).map_err(|e| self.blame(e.about(path)))
    }

    /// Reads a list of processes at `path` (from the mount point).
    pub(super) fn list_at(&self, path: &str) -> sys::Result<String> {
        let file = cgroup::open_to_read(self.mount(), path).map_err(|e| self.blame(e))?;
        cgroup::read_again(file.as_fd()).map_err(|e| self.blame(e.about(path)))
    }

    /// Reads a control file of the container's directory.
    pub(super) fn read(&self, file: &str) -> sys::Result<String> {
        self.read_at(&self.file(file))
    }

    /// Goes through the container's directory and all below it. `enter` is called with each directory before those below
    /// it, `leave` with a directory's parent and its name after them.
    ///
    /// Only one descriptor is held, however deep the container has nested its cgroups, and a name may be any bytes. A
    /// directory that vanishes on the way is passed over; `..` leads back up because cgroups cannot be moved.
    pub(super) fn walk(
        &self,
        mut enter: impl FnMut(BorrowedFd<'_>) -> sys::Result<()>,
        mut leave: impl FnMut(BorrowedFd<'_>, &CStr) -> sys::Result<()>,
    ) -> sys::Result<()> {
        let mut here = match cgroup::open_dir(self.mount(), &self.place.path) {
            Err(e) if gone(&e) => return Ok(()),
            result => result?,
        };
        let mut above: Vec<CString> = Vec::new();
        let mut left = vec![arrive(here.as_fd(), &mut enter)?];
        while let Some(names) = left.last_mut() {
            if let Some(name) = names.pop() {
                match cgroup::open_child(here.as_fd(), &name) {
                    Err(e) if gone(&e) => continue,
                    result => here = result?,
                }
                left.push(arrive(here.as_fd(), &mut enter)?);
                above.push(name);
            } else {
                left.pop();
                let Some(name) = above.pop() else { break };
                here = match cgroup::open_child(here.as_fd(), c"..") {
                    // Somebody else removes the same directories; whoever called looks again.
                    Err(e) if gone(&e) => return Ok(()),
                    result => result?,
                };
                leave(here.as_fd(), &name)?;
            }
        }
        Ok(())
    }

    /// The value of `key` in a file of `key value` lines.
    pub(super) fn field(&self, file: &str, key: &str) -> sys::Result<Option<u64>> {
        Ok(number_of(&self.read(file)?, key))
    }
}

fn arrive(dir: BorrowedFd<'_>, enter: &mut impl FnMut(BorrowedFd<'_>) -> sys::Result<()>) -> sys::Result<Vec<CString>> {
    enter(dir)?;
    match cgroup::list_dirs(dir) {
        Err(e) if gone(&e) => Ok(Vec::new()),
        result => result,
    }
}

/// The value of `key` among `key value` lines.
pub(super) fn number_of(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

/// Whether the error says that the directory is not there (any more).
pub(super) fn gone(error: &Error) -> bool {
    matches!(error.errno, Errno::ENOENT | Errno::ENODEV)
}
