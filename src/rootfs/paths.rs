//! Places inside the container's root, by descriptor. After [`Root`] exists nobody builds a host path into it.
//!
//! What exists is found by the kernel (`RESOLVE_IN_ROOT`). What is missing is made one component at a time, from
//! descriptors we hold, so that neither a link in the image nor a rename under our feet can lead out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::SFlag;

use crate::sys::{self, Call, Errno, Error, Result};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// The container's root directory.
pub struct Root {
    fd: OwnedFd,
    detached: bool,
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> Self {
        root.fd
    }
}

/// What to make where a path ends and nothing is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Directory,
    File,
}

impl Root {
    /// The root that this descriptor refers to.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, detached: false }
    }

    /// The root of a tree that no mount namespace has.
    pub fn detached(fd: OwnedFd) -> Self {
        Self { fd, detached: true }
    }

    /// Whether no mount namespace has it. In such a tree no mount but the root can be changed any more.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    /// What is at `path`, links followed inside.
    pub fn find(&self, path: &str) -> Result<OwnedFd> {
        sys::fs::open_in_root(self, path, OFlag::O_PATH)
    }

    /// What is at `path` if no component of it is a link; ELOOP if one is.
    pub fn find_plain(&self, path: &str) -> Result<OwnedFd> {
        let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
        sys::fs::open(self, path, OFlag::O_PATH, 0, resolve)
    }

    /// The first component of a path that leads nowhere, if it is a link: what is missing is behind it.
    pub fn dangling<'p>(&self, path: &'p str) -> Result<Option<&'p str>> {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for prefix in ends.map(|end| &path[..end]) {
            match self.find(prefix) {
                Ok(_) => continue,
                Err(e) if !matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR) => return Err(e),
                Err(_) => {}
            }
            let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
            let itself = sys::fs::open(self, prefix, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0, resolve);
            return Ok(itself.is_ok().then_some(prefix));
        }
        Ok(None)
    }

    /// The directory at `path`; no component of it may be a link (for proc and sysfs: CVE-2019-19921, CVE-2023-27561).
    pub fn make_plain_dir(&self, path: &str) -> Result<OwnedFd> {
        let plain = |this: &Self| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
            sys::fs::open(this, path, flags, 0, resolve)
        };
        match plain(self) {
            Err(e) if e.errno == Errno::ENOENT => {
                self.make_dir(path)?;
                plain(self)
            }
            other => other,
        }
        .map_err(|e| match e.errno {
            Errno::ELOOP | Errno::ENOTDIR => e.about(format!("{path}: must be mounted on ordinary directory")),
            _ => e,
        })
    }

    /// The directory at `path`, made (0755) with all its parents where missing.
    pub fn make_dir(&self, path: &str) -> Result<OwnedFd> {
        self.find_or_make(path, Missing::Directory)
    }

    /// The file at `path`, made (empty, never opened) with all its parents where missing.
    pub fn make_file(&self, path: &str) -> Result<OwnedFd> {
        self.find_or_make(path, Missing::File)
    }

    /// The directory part of `path`, and its last component.
    pub fn split(path: &str) -> Result<(&str, &str)> {
        let trimmed = path.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        if matches!(name, "" | "." | "..") {
            return Err(Error::new(Call::Open, Errno::EINVAL).about(path));
        }
        Ok((parent, name))
    }

    fn find_or_make(&self, path: &str, missing: Missing) -> Result<OwnedFd> {
        match self.find(path) {
            Err(e) if e.errno == Errno::ENOENT => match self.make_last(path, missing) {
                Some(made) => Ok(made),
                None => self.walk(path, missing).map_err(|e| e.about(path)),
            },
            other => other,
        }
    }

    /// Mostly only the last component is missing. `None`: not so, or there was any trouble with it.
    fn make_last(&self, path: &str, missing: Missing) -> Option<OwnedFd> {
        let (parent, name) = path.trim_end_matches('/').rsplit_once('/')?;
        if matches!(name, "" | "." | "..") {
            return None;
        }
        let parent = self.find(parent).ok()?;
        make(parent.as_fd(), name, missing).ok()?;
        sys::fs::open(&parent, name, OFlag::O_PATH, 0, ResolveFlag::RESOLVE_NO_SYMLINKS).ok()
    }

    /// Walks `path` component by component, making what is missing. `trail` is where we are and how we came:
    /// `..` goes back to a directory that we hold, never to what a parent link says now.
    fn walk(&self, path: &str, missing: Missing) -> Result<OwnedFd> {
        let mut trail: Vec<OwnedFd> = Vec::new();
        let mut rest: Vec<String> = components(path);
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name == ".." {
                trail.pop();
                continue;
            }
            let here = trail.last().map_or(self.as_fd(), AsFd::as_fd);
            let kind = if rest.is_empty() { missing } else { Missing::Directory };
            let next = step(here, &name, kind)?;
            if sys::fs::kind(&sys::fs::stat(&next)?) == SFlag::S_IFLNK {
                links += 1;
                if links > LINKS {
                    return Err(Error::new(Call::Open, Errno::ELOOP));
                }
                let target = sys::fs::readlink(&next, "")?;
                if target.starts_with('/') {
                    trail.clear();
                }
                rest.extend(components(&target));
            } else {
                trail.push(next);
            }
        }
        match trail.pop() {
            Some(found) => Ok(found),
            None => self.find("/"),
        }
    }
}

/// The components of a path, last one first, without `.` and empty ones.
fn components(path: &str) -> Vec<String> {
    path.split('/').rev().filter(|c| !c.is_empty() && *c != ".").map(str::to_owned).collect()
}

/// One component below `dir`, not followed, made if missing.
fn step(dir: BorrowedFd<'_>, name: &str, missing: Missing) -> Result<OwnedFd> {
    let open = || sys::fs::open(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW, 0, ResolveFlag::RESOLVE_NO_MAGICLINKS);
    match open() {
        Err(e) if e.errno == Errno::ENOENT => {}
        other => return other,
    }
    match make(dir, name, missing) {
        Err(e) if e.errno != Errno::EEXIST => Err(e),
        _ => open(),
    }
}

/// Makes one component in `dir`.
fn make(dir: BorrowedFd<'_>, name: &str, missing: Missing) -> Result<()> {
    match missing {
        Missing::Directory => sys::fs::mkdir(dir, name, 0o755),
        Missing::File => sys::fs::mknod(dir, name, SFlag::S_IFREG, 0o644, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        let path = dir.path().join("root");
        let fd = sys::fs::open_host(path.to_str().unwrap(), OFlag::O_PATH).unwrap();
        (dir, Root::new(fd))
    }

    #[test]
    fn missing_parents_are_made_inside() {
        let (dir, root) = root();
        root.make_dir("/a/b/c").unwrap();
        root.make_file("/a/f/x").unwrap();
        assert!(fs::metadata(dir.path().join("root/a/b/c")).unwrap().is_dir());
        assert!(fs::metadata(dir.path().join("root/a/f/x")).unwrap().is_file());
    }

    #[test]
    fn links_that_point_out_stay_inside() {
        let (dir, root) = root();
        symlink("../../../outside", dir.path().join("root/up")).unwrap();
        symlink(dir.path().join("outside"), dir.path().join("root/abs")).unwrap();
        root.make_dir("/up/made").unwrap();
        root.make_dir("/abs/made").unwrap();
        assert_eq!(fs::read_dir(dir.path().join("outside")).unwrap().count(), 0);
        assert!(fs::metadata(dir.path().join("root/outside/made")).unwrap().is_dir());
    }

    #[test]
    fn a_dangling_link_is_made_where_it_points() {
        let (dir, root) = root();
        symlink("/later/on", dir.path().join("root/dangling")).unwrap();
        root.make_file("/dangling").unwrap();
        assert!(fs::metadata(dir.path().join("root/later/on")).unwrap().is_file());
    }

    #[test]
    fn what_is_missing_is_told_from_what_a_link_hides() {
        let (dir, root) = root();
        symlink("nowhere", dir.path().join("root/link")).unwrap();
        fs::create_dir(dir.path().join("root/real")).unwrap();
        fs::write(dir.path().join("root/real/file"), "").unwrap();
        symlink("/link/x", dir.path().join("root/real/second")).unwrap();
        for (path, link) in [
            ("/link", Some("/link")),
            ("/link/below", Some("/link")),
            ("/real/second", Some("/real/second")),
            ("/absent", None),
            ("/absent/link", None),
            ("/real/absent", None),
            ("/real/file/below", None),
        ] {
            assert_eq!(root.dangling(path).unwrap(), link, "{path}");
        }
    }

    #[test]
    fn a_loop_is_an_error() {
        let (dir, root) = root();
        symlink("b", dir.path().join("root/a")).unwrap();
        symlink("a", dir.path().join("root/b")).unwrap();
        assert_eq!(root.make_dir("/a/c").unwrap_err().errno, Errno::ELOOP);
    }

    #[test]
    fn proc_wants_a_plain_directory() {
        let (dir, root) = root();
        fs::create_dir(dir.path().join("root/real")).unwrap();
        symlink("real", dir.path().join("root/proc")).unwrap();
        let error = root.make_plain_dir("/proc").unwrap_err();
        assert!(error.note.contains("must be mounted on ordinary directory"), "{error}");
        root.make_plain_dir("/sys").unwrap();
    }

    #[test]
    fn the_parent_of_a_strange_name_is_refused() {
        for path in ["/", "/dev/..", "/dev/.", ""] {
            assert_eq!(Root::split(path).unwrap_err().errno, Errno::EINVAL, "{path}");
        }
        assert_eq!(Root::split("/dev/null/").unwrap(), ("/dev", "null"));
    }
}
