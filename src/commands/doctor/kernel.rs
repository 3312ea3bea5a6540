//! The kernel: its version, and the calls without which no container is made. Each is asked for, not derived from the version.

use std::os::fd::OwnedFd;

use super::line::{Line, look};
use crate::rootfs::{self, Mapping, Sources};
use crate::sys::process::{Birth, Born};
use crate::sys::{self, Call, probe};

const SUBJECT: &str = "kernel";

/// The oldest kernel that is meant to do.
const FLOOR: (u32, u32) = (5, 10);

/// Calls that nothing takes the place of, with the Linux that brought them.
const CALLS: [(&str, &[Call], &str); 6] = [
    ("clone3", &[Call::Clone], "5.3"),
    ("pidfds", &[Call::PidfdOpen], "5.3"),
    ("openat2", &[Call::Open], "5.6"),
    ("close_range", &[Call::CloseRange], "5.9"),
    ("mount API", &[Call::OpenTree, Call::MoveMount, Call::Fsopen, Call::Fsconfig, Call::Fsmount], "5.2"),
    ("mount_setattr", &[Call::MountSetattr], "5.12"),
];

/// What every container needs of the kernel.
pub fn needed() -> Vec<Line> {
    std::iter::once(version()).chain(CALLS.iter().map(|(name, calls, since)| call(name, calls, since))).collect()
}

/// What some containers need, or what makes something better.
pub fn wished() -> Vec<Line> {
    vec![idmapped("tmpfs"), idmapped("/"), exit_codes()]
}

fn version() -> Line {
    let look = look(SUBJECT, "version", "uname(2)");
    let Ok(name) = nix::sys::utsname::uname() else { return look.note("unknown", "see why uname(2) is refused") };
    let found = format!("Linux {}", name.release().to_string_lossy());
    if probe::kernel() >= FLOOR {
        look.ok(found)
    } else {
        look.fail(found, format!("boot Linux {}.{} or newer", FLOOR.0, FLOOR.1))
    }
}

fn call(name: &str, calls: &[Call], since: &str) -> Line {
    let words: Vec<&str> = calls.iter().map(|call| call.name()).collect();
    let look = look(SUBJECT, name, format!("{} with arguments that are refused", words.join(", ")));
    match calls.iter().find(|call| !sys::probe::has(**call)) {
        None => look.ok("there"),
        Some(call) => {
            let remedy = format!("boot Linux {since} or newer; inside a container, let its seccomp profile allow it");
            look.fail(format!("{}: function not implemented", call.name()), remedy)
        }
    }
}

/// Whether a mount of this filesystem (or of the one at this path) can show other ids than it holds.
fn idmapped(what: &str) -> Line {
    let look =
        look(SUBJECT, format!("idmapped mounts of {what}"), "mount_setattr(2) of MOUNT_ATTR_IDMAP on a detached mount");
    match map_ids(what) {
        Ok(()) => look.ok("there"),
        Err(error) => {
            let remedy = "only mounts with uidMappings or idmap need it: root's rights, and a kernel whose filesystem can \
                          (tmpfs from Linux 6.3, ext4 5.12, xfs and btrfs 5.15, overlay 5.19)";
            look.note(error.to_string(), remedy)
        }
    }
}

/// Maps the ids of a detached mount by what `create` calls.
pub fn map_ids(what: &str) -> sys::Result<()> {
    let path = what.to_owned();
    let source = match what.starts_with('/') {
        true => rootfs::HostOp::OpenSource { slot: 0, path, tree: false, shared: false },
        false => rootfs::HostOp::MakeSource { slot: 0, kind: path, source: "rt".into(), options: Vec::new() },
    };
    let map = "0 100000 65536\n".to_owned();
    let mapping = Mapping::Own { uids: map.clone(), gids: map };
    let mut sources = Sources::default();
    sources.apply(&source)?;
    sources.apply(&rootfs::HostOp::MapSource { slot: 0, mapping, tree: false, what: what.into() })
}

/// Whether the kernel tells how a process ended to somebody who is not its parent.
fn exit_codes() -> Line {
    let look = look(SUBJECT, "exit codes by pidfd", "PIDFD_GET_INFO of a child that has ended");
    let remedy = "from Linux 6.15 on `rt wait` and `rt events` know the exit code in any case; before, only until the \
                  parent has collected it";
    match ended_child() {
        Ok(pidfd) if sys::process::ended(&pidfd).is_some_and(|ended| ended.code() == 7) => look.ok("there"),
        Ok(_) => look.note("not there", remedy),
        Err(error) => look.note(error.to_string(), remedy),
    }
}

fn ended_child() -> sys::Result<OwnedFd> {
    match sys::process::clone3(Birth::default())? {
        Born::Child => sys::process::exit_now(7),
        Born::Parent { pidfd, .. } => sys::process::wait(&pidfd).map(|_| pidfd),
    }
}
