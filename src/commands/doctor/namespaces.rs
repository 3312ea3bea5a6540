//! Namespaces: each kind is made, in a child that ends at once; what forbids it is looked up when that fails.

use super::line::{Line, look};
use super::{Host, read};
use crate::namespaces::Kind;
use crate::sys::process::{Birth, Born, Ended};
use crate::sys::{self, Errno};

const SUBJECT: &str = "namespaces";

/// Nobody's uid and gid.
const NOBODY: u32 = 65534;

/// All kinds, and what users without rights may.
pub fn lines(host: &Host) -> Vec<Line> {
    let mut lines: Vec<Line> =
        Kind::ALL.iter().map(|(kind, _)| one(host, *kind, matches!(kind, Kind::Mount | Kind::Pid))).collect();
    if host.root() {
        lines.push(unprivileged());
    }
    lines
}

/// One kind, under its own name or that of the config's field that asks for it.
pub fn one(host: &Host, kind: Kind, needed: bool) -> Line {
    // What is no root makes the others inside a user namespace.
    let user = if host.root() { 0 } else { libc::CLONE_NEWUSER };
    let needed = needed || kind == Kind::User && !host.root();
    let look = look(SUBJECT, kind.name(), format!("clone3(2) with the flag {:#x}", kind.flag() | user));
    match make((kind.flag() | user) as u64) {
        Ok(()) => look.ok(most(kind)),
        Err(error) => look.lacks(needed, error.to_string(), remedy(kind, error.errno, host.root())),
    }
}

/// Makes namespaces for nobody.
fn make(flags: u64) -> sys::Result<()> {
    match sys::process::clone3(Birth { namespaces: flags, ..Birth::default() })? {
        Born::Child => sys::process::exit_now(0),
        Born::Parent { pidfd, .. } => sys::process::wait(&pidfd).map(|_| ()),
    }
}

fn limit_file(kind: Kind) -> String {
    format!("user/max_{}_namespaces", kind.file())
}

fn most(kind: Kind) -> String {
    match read(&format!("/proc/sys/{}", limit_file(kind))) {
        Some(limit) => format!("can be made; at most {limit} for each user"),
        None => "can be made".into(),
    }
}

fn remedy(kind: Kind, errno: Errno, root: bool) -> String {
    let setting = |name: &str| read(&format!("/proc/sys/{name}"));
    let limit = limit_file(kind);
    match errno {
        Errno::ENOSPC | Errno::EUSERS => format!("sysctl -w {}=10000 (it is {})", limit.replace('/', "."), setting(&limit).unwrap_or_default()),
        Errno::EINVAL => format!("boot a kernel that is built with {} namespaces", kind.name()),
        _ if !root && setting("kernel/unprivileged_userns_clone").as_deref() == Some("0") => {
            "sysctl -w kernel.unprivileged_userns_clone=1".into()
        }
        _ if !root && setting("kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") => {
            "load an AppArmor profile for rt that has `userns,`, or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".into()
        }
        _ => "run rt with CAP_SYS_ADMIN, outside of a chroot and of a seccomp filter that forbids clone3".into(),
    }
}

/// Whether somebody without any right can make a user namespace: what rootless containers begin with.
fn unprivileged() -> Line {
    let look = look(SUBJECT, "user namespaces of users", format!("clone3(2) of CLONE_NEWUSER by uid {NOBODY}"));
    match by_nobody() {
        Ok(0) => look.ok("can be made without root's rights"),
        Ok(errno) => {
            let errno = Errno::from_raw(errno);
            look.note(
                sys::words(errno),
                format!("only rootless containers need it: {}", remedy(Kind::User, errno, false)),
            )
        }
        Err(error) => look.note(error.to_string(), "only rootless containers need it"),
    }
}

/// The errno, which is small enough to be an exit code.
fn by_nobody() -> sys::Result<i32> {
    match sys::process::clone3(Birth::default())? {
        Born::Child => {
            let become_nobody = || {
                sys::cred::set_groups(&[])
                    .and_then(|()| sys::cred::set_gid(NOBODY))
                    .and_then(|()| sys::cred::set_uid(NOBODY))
            };
            let made = become_nobody().and_then(|()| make(libc::CLONE_NEWUSER as u64));
            sys::process::exit_now(made.map_or_else(|error| error.errno as i32, |()| 0))
        }
        Born::Parent { pidfd, .. } => match sys::process::wait(&pidfd)? {
            Ended::Exited(errno) => Ok(errno),
            Ended::Killed(_) => Ok(Errno::EINTR as i32),
        },
    }
}
