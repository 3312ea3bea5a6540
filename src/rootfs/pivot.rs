//! The way into the root.

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;

use super::paths::Root;
use crate::sys::mount::Filesystem;
use crate::sys::{self, Errno, Result};

/// pivot_root(".", ".") needs no directory for the old root: it ends up on top of the new one, and is taken away there.
pub(super) fn pivot(root: &Root) -> Result<()> {
    sys::mount::enter(root)?;
    sys::mount::pivot_here()?;
    sys::mount::detach(".")
}

/// What a pivot comes to, for a root that is attached nowhere. pivot_root(2) looks at every task of the host, for it might
/// have the old root as its own; in a mount namespace that was made for init there is init alone. Gives what is to be closed.
pub(super) fn exchange(root: &Root) -> Result<OwnedFd> {
    let namespace = sys::fs::open_host("/proc/self/ns/mnt", OFlag::O_RDONLY)?;
    // What lies on a shared mount is unmounted wherever that is shared, and nothing but this call tells of the one below
    // `/`. Nor can a `/` be taken away that is locked to the mounts in it.
    if !sys::mount::root_is_movable() {
        sys::mount::attach(root, sys::fs::open_host("/", OFlag::O_PATH | OFlag::O_DIRECTORY)?)?;
        return pivot(root).map(|()| namespace);
    }
    sys::mount::detach("/")?;
    // Who joins a mount namespace, be it his own, has as `/` what lies on top of its first mount. Nothing does, now.
    sys::process::setns(&namespace, libc::CLONE_NEWNS)?;
    sys::mount::attach_at(root, sys::fs::cwd(), ".")?;
    sys::process::setns(&namespace, libc::CLONE_NEWNS)?;
    Ok(namespace)
}

/// chroot(2). With `cover`, the host's proc and sysfs below us are taken away or covered first, for a nested user
/// namespace may mount a full proc wherever it can see one (see SECURITY.md, `--no-pivot`).
pub(super) fn chroot(root: &Root, cover: bool, on_top: bool) -> Result<()> {
    if cover {
        // Above a root that lies on top of `/` there is no way up; above any other directory there is, for who may chroot.
        // It goes there first, or the container's own proc would be found among the host's.
        if !on_top {
            sys::mount::attach(root, sys::fs::open_host("/", OFlag::O_PATH | OFlag::O_DIRECTORY)?)?;
        }
        cover_host()?;
    }
    sys::mount::enter(root)?;
    sys::mount::chroot_here()?;
    sys::mount::change_dir("/")
}

/// Paths here still are the host's: our root is attached, but we have not entered it.
fn cover_host() -> Result<()> {
    let table = sys::fs::read_host("/proc/self/mountinfo")?;
    let mut points: Vec<String> = Vec::new();
    for line in table.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let fields: Vec<&str> = mount.split(' ').collect();
        let kind = filesystem.split(' ').next().unwrap_or_default();
        // The whole of a proc or sysfs, not a part that is bound somewhere.
        if matches!(kind, "proc" | "sysfs") && fields.get(3) == Some(&"/") {
            points.extend(fields.get(4).map(|p| unescape(p)));
        }
    }
    for point in points.iter().rev() {
        let Ok(place) = sys::fs::open_host(point, OFlag::O_PATH) else { continue };
        match sys::mount::detach(point) {
            Ok(()) => {}
            Err(e) if matches!(e.errno, Errno::EINVAL | Errno::EPERM) => {
                let cover = Filesystem::open("tmpfs")?.mount(super::options::RDONLY)?;
                sys::mount::attach(&cover, &place)?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// mountinfo writes space, tab, newline and backslash as octal.
fn unescape(field: &str) -> String {
    ["\\040", "\\011", "\\012", "\\134"]
        .iter()
        .zip([" ", "\t", "\n", "\\"])
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}
