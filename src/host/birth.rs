//! One clone3; and the midwife, for births into namespaces that the host itself must not enter.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Prepared, Trouble};
use crate::cgroups::Join;
use crate::namespaces::{self, Kind};
use crate::step::{Origin, Stage};
use crate::sys::process::{Birth, Born};
use crate::sys::{self, Call, Errno, Error};
use crate::talk::{self, Failure, InitSays, Message};

/// Gives birth to init, in whichever way its namespaces want.
pub(super) fn give(birth: &namespaces::Birth, prepared: &Prepared) -> Result<Born, Trouble> {
    let cgroup = prepared.join.as_ref().and_then(Join::into_fd).map(|fd| fd.as_raw_fd());
    let born = if birth.midwife { by_midwife(birth, prepared, cgroup) } else { clone(birth, cgroup, false) };
    born.map_err(|e| blame(birth, cgroup.is_some(), e))
}

fn clone(birth: &namespaces::Birth, cgroup: Option<RawFd>, for_parent: bool) -> sys::Result<Born> {
    let namespaces = birth.new.iter().fold(0, |all, kind| all | kind.flag() as u64);
    sys::process::clone3(Birth { namespaces, for_parent, cgroup, ..Birth::default() })
}

/// The one call does so much that its errno alone says little: what it is about, and what can be done.
fn blame(birth: &namespaces::Birth, into_cgroup: bool, error: Error) -> Trouble {
    let new = |kind| birth.new.contains(&kind);
    let (pointer, why) = match error.errno {
        _ if error.call != Call::Clone || !error.note.is_empty() => ("", ""),
        Errno::EAGAIN => ("", "no more processes: pids.max of the cgroup, RLIMIT_NPROC or kernel.pid_max is reached"),
        Errno::EPERM if new(Kind::User) => (
            "/linux/namespaces",
            "this host lets the caller make no user namespace: see kernel.unprivileged_userns_clone, \
             kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces",
        ),
        Errno::EPERM | Errno::EINVAL | Errno::ENOSPC | Errno::EUSERS => {
            ("/linux/namespaces", namespaces::hint(error.errno))
        }
        Errno::EACCES | Errno::ENOENT if into_cgroup => (
            "/linux/cgroupsPath",
            "nobody may be moved from the caller's cgroup to this one: one delegation ends between them",
        ),
        Errno::EBUSY if into_cgroup => {
            ("/linux/cgroupsPath", "the cgroup passes controllers on, so it can't have processes")
        }
        Errno::EOPNOTSUPP if into_cgroup => ("/linux/cgroupsPath", "the cgroup is in a threaded part of the hierarchy"),
        _ => ("", ""),
    };
    let origin = (!pointer.is_empty()).then(|| Origin::Config(pointer.to_owned()));
    let error = if why.is_empty() { error } else { error.about(why) };
    Trouble { stage: Stage::Birth, origin, step: birth.to_string(), error }
}

/// A process in between: it joins what the host must not, gives birth to init as our child, tells us and is gone.
///
/// One that joins a cgroup namespace is born in the container's cgroup, and init beside it: from inside such a namespace
/// nobody is let into a cgroup that it doesn't show (nsdelegate).
fn by_midwife(birth: &namespaces::Birth, prepared: &Prepared, cgroup: Option<RawFd>) -> sys::Result<Born> {
    let (ours, theirs) = sys::sock::pair()?;
    let (first, then) = if birth.join.contains(&Kind::Cgroup) { (cgroup, None) } else { (None, cgroup) };
    match sys::process::clone3(Birth { cgroup: first, ..Birth::default() })? {
        Born::Child => {
            drop(ours);
            let born = prepared.namespaces.join_all(birth).and_then(|()| clone(birth, then, true));
            match born {
                Ok(Born::Child) => Ok(Born::Child),
                Ok(Born::Parent { pid, pidfd }) => {
                    let _ = sys::sock::send(&theirs, &pid.to_le_bytes(), &[pidfd.as_raw_fd()]);
                    sys::process::exit_now(0)
                }
                Err(e) => {
                    let failure = InitSays::Failed(Failure { stage: Stage::Birth, step: 0, error: e });
                    let _ = talk::InitEnd::over(theirs).say(&failure);
                    sys::process::exit_now(1)
                }
            }
        }
        Born::Parent { pidfd: midwife, .. } => {
            drop(theirs);
            deliver(ours, &midwife)
        }
    }
}

/// Whom the midwife brings, and her end. One who ends without a word was killed.
pub(super) fn deliver(socket: OwnedFd, midwife: &OwnedFd) -> sys::Result<Born> {
    let said = hear(&socket);
    drop(socket);
    let ended = sys::process::wait(midwife)?;
    let silent = || Error::other(Call::Clone, format!("the process that should give birth died: {ended}"));
    said?.ok_or_else(silent)
}

fn hear(socket: &OwnedFd) -> sys::Result<Option<Born>> {
    let mut bytes = [0; 8192];
    let (n, mut fds) = sys::sock::receive(socket, &mut bytes)?;
    match (<[u8; 4]>::try_from(&bytes[..n]), fds.pop()) {
        (Ok(pid), Some(pidfd)) => Ok(Some(Born::Parent { pid: i32::from_le_bytes(pid), pidfd })),
        _ => match InitSays::decode(&bytes[..n], Vec::new()) {
            Some(InitSays::Failed(failure)) => Err(failure.error),
            _ => Ok(None),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_ends_without_a_word_is_told_by_its_end() {
        for (script, end) in [("kill -KILL $$", "killed by signal 9"), ("exit 3", "exit status 3")] {
            let (ours, theirs) = sys::sock::pair().unwrap();
            let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pidfd = sys::process::pidfd(child.id() as i32).unwrap();
            drop(theirs);
            let error = deliver(ours, &pidfd).err().unwrap();
            assert!(error.note.ends_with(&format!("died: {end}")), "{}", error.note);
            assert!(child.wait().is_err(), "nobody is left to wait for");
        }
    }
}
