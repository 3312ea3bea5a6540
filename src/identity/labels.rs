//! Labels of security modules: AppArmor profiles and SELinux contexts that execve puts on the workload.
//!
//! A process can label itself only, through a file of procfs. That file is opened in the host's procfs before anything
//! of the container is mounted, and checked to be there: an image that could cover it would get a workload without
//! its label (CVE-2019-16884, CVE-2019-19921, CVE-2023-28642). It must never be found by a path later.

use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, ResolveFlag};

use super::Lsm;
use crate::sys::{self, Call, Errno, Error, Result};

/// The magic number of procfs, see statfs(2).
const PROC_SUPER_MAGIC: i64 = 0x9fa0;
/// The magic number of selinuxfs.
const SELINUX_MAGIC: i64 = 0xf97c_ff8c;
/// The inode of procfs's root.
const PROC_ROOT: u64 = 1;

/// Whether this kernel runs SELinux with a policy: without one every process is "kernel".
pub fn selinux() -> bool {
    let mounted = sys::fs::open_host("/sys/fs/selinux", OFlag::O_PATH).and_then(sys::fs::filesystem);
    let own = || sys::fs::read_host("/proc/self/attr/current").unwrap_or_default();
    mounted.is_ok_and(|magic| magic == SELINUX_MAGIC) && !matches!(own().trim_end_matches(['\0', '\n']), "" | "kernel")
}

/// Whether this kernel runs AppArmor.
pub fn apparmor() -> bool {
    sys::fs::read_host("/sys/module/apparmor/parameters/enabled").is_ok_and(|answer| answer.starts_with('Y'))
}

/// The file through which this process says what it will be after its next execve.
pub(super) fn open(lsm: Lsm) -> Result<OwnedFd> {
    let proc = sys::fs::open_host("/proc", OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    if sys::fs::filesystem(&proc)? != PROC_SUPER_MAGIC || sys::fs::stat(&proc)?.st_ino != PROC_ROOT {
        return Err(Error::new(Call::Open, Errno::EXDEV).about("/proc is not a procfs"));
    }
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let open = |path: &str| sys::fs::open(&proc, path, OFlag::O_WRONLY, 0, resolve);
    match (lsm, open("thread-self/attr/apparmor/exec")) {
        (Lsm::AppArmor, Ok(file)) => Ok(file),
        // Before 5.8, and for the module that came first, the file has no directory.
        _ => open("thread-self/attr/exec"),
    }
}

/// Says it.
pub(super) fn write(file: &OwnedFd, lsm: Lsm, label: &str) -> Result<()> {
    let text = match lsm {
        Lsm::AppArmor => format!("exec {label}"),
        Lsm::SELinux => label.to_owned(),
    };
    sys::fs::write_fd(file, text.as_bytes()).map_err(|e| {
        let why = match (lsm, e.errno) {
            (Lsm::AppArmor, Errno::ENOENT) => format!("AppArmor profile {label} is not loaded"),
            (Lsm::SELinux, Errno::EINVAL) => format!("SELinux's policy has no context {label}"),
            _ => format!("{} {label}", lsm.name()),
        };
        e.about(why)
    })
}
