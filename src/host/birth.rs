//! One clone3; and the midwife, for births into namespaces that the host itself must not enter.

use std::os::fd::{AsRawFd, OwnedFd};

use super::Prepared;
use crate::cgroups::Join;
use crate::namespaces;
use crate::step::Stage;
use crate::sys::process::{Birth, Born};
use crate::sys::{self, Call, Error};
use crate::talk::{self, Failure, InitSays, Message};

/// Gives birth to init, in whichever way its namespaces want.
pub(super) fn give(birth: &namespaces::Birth, prepared: &Prepared) -> sys::Result<Born> {
    if birth.midwife { by_midwife(birth, prepared) } else { clone(birth, prepared, false) }
}

fn clone(birth: &namespaces::Birth, prepared: &Prepared, for_parent: bool) -> sys::Result<Born> {
    let namespaces = birth.new.iter().fold(0, |all, kind| all | kind.flag() as u64);
    let into = prepared.join.as_ref().and_then(Join::into_fd);
    let cgroup = into.as_ref().map(AsRawFd::as_raw_fd);
    sys::process::clone3(Birth { namespaces, for_parent, cgroup, ..Birth::default() })
}

/// A process in between: it joins what the host must not, gives birth to init as our child, tells us and is gone.
fn by_midwife(birth: &namespaces::Birth, prepared: &Prepared) -> sys::Result<Born> {
    let (ours, theirs) = sys::sock::pair()?;
    match sys::process::clone3(Birth::default())? {
        Born::Child => {
            drop(ours);
            let born = prepared.namespaces.join_all(birth).and_then(|()| clone(birth, prepared, true));
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
            let born = hear_midwife(&ours);
            sys::process::wait(&midwife)?;
            born
        }
    }
}

pub(super) fn hear_midwife(socket: &OwnedFd) -> sys::Result<Born> {
    let mut bytes = [0; 8192];
    let (n, mut fds) = sys::sock::receive(socket, &mut bytes)?;
    match (<[u8; 4]>::try_from(&bytes[..n]), fds.pop()) {
        (Ok(pid), Some(pidfd)) => Ok(Born::Parent { pid: i32::from_le_bytes(pid), pidfd }),
        _ => match InitSays::decode(&bytes[..n], Vec::new()) {
            Some(InitSays::Failed(failure)) => Err(failure.error),
            _ => Err(Error::other(Call::Clone, "the midwife died")),
        },
    }
}
