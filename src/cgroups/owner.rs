//! Gives the container's cgroup to its user: the directory and the files that the kernel lists for this, nothing more.

use super::tree::Tree;
use crate::sys::{self, Errno, cgroup, fs};

/// What a kernel without the list has (before 4.15).
const FALLBACK: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives the directory and the files that may be delegated to `uid`.
pub(super) fn give(tree: &Tree, uid: u32) -> sys::Result<()> {
    let listed = match fs::read_host("/sys/kernel/cgroup/delegate") {
        Err(e) if e.errno == Errno::ENOENT => FALLBACK.to_owned(),
        other => other?,
    };
    let dir = cgroup::open_dir(tree.mount(), &tree.place.path).map_err(|e| tree.blame(e))?;
    let own = |e: sys::Error| e.at(&tree.place.dir());
    let gid = fs::stat(&dir)?.st_gid;
    fs::chown(&dir, uid, gid).map_err(own)?;
    for name in listed.lines() {
        match cgroup::open_to_name(tree.mount(), &tree.file(name)) {
            // Of a controller that is not enabled here.
            Err(e) if e.errno == Errno::ENOENT => {}
            file => fs::chown(file.map_err(|e| tree.blame(e))?, uid, gid).map_err(|e| e.about(tree.file(name)))?,
        }
    }
    Ok(())
}
