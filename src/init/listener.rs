//! Loads the filter; its listener, if it has one, goes to the host. Why it is done so is told in `seccomp::notify`.
//!
//! After the filter is in force nothing here may make a system call that is not in the plan: no close, no allocation
//! that asks the kernel.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::seccomp::{Courier, Program};
use crate::sys::process::{Birth, Born};
use crate::sys::seccomp::Flags;
use crate::sys::{self, Error};
use crate::talk::{InitEnd, InitSays};

/// How often the sibling looks whether the listener is there. Nothing in the kernel could wake it.
const MOMENT: Duration = Duration::from_millis(1);
/// What the message and the arguments of execve need, and more.
const ROOM: usize = 64 << 10;

/// Loads the filter. On failure also says which step it was: 0 for the loading, 1 for the listener.
pub fn load(
    channel: &InitEnd,
    program: &Program,
    flags: Flags,
    courier: Option<Courier>,
) -> Result<(), (usize, Error)> {
    let place = match courier {
        Some(Courier::Sibling) => Some(sibling(channel).map_err(|e| (1, e))?),
        _ => None,
    };
    // The allocator has this much from now on, without asking the kernel, which might be forbidden to answer.
    drop(Vec::<u8>::with_capacity(ROOM));
    // The lowest free number is now what the listener will get.
    drop(place);
    let Some(listener) = sys::seccomp::install(program.instructions(), flags).map_err(|e| (0, e))? else {
        return Ok(());
    };
    let message = InitSays::Listener(listener);
    let said = match courier {
        Some(Courier::Init) => channel.say(&message).map_err(|e| (1, e)),
        _ => Ok(()),
    };
    // Not closed: that would be a call. execve closes it.
    std::mem::forget(message);
    said
}

/// Gives birth to a process with our descriptors that waits for the listener and sends it. Holds the number that the
/// listener will have until the filter is loaded.
fn sibling(channel: &InitEnd) -> sys::Result<OwnedFd> {
    let init = sys::process::pidfd(std::process::id() as i32)?;
    let place = sys::fs::duplicate_from(channel, 0)?;
    match sys::process::clone3(Birth { share_files: true, ..Birth::default() })? {
        Born::Child => {
            let code = wait_and_send(channel, &init, place);
            sys::process::exit_now(code)
        }
        Born::Parent { pidfd, .. } => {
            drop(pidfd);
            // The other one needs it, under this number.
            std::mem::forget(init);
            Ok(place)
        }
    }
}

/// Until the listener is there, or init is gone: whichever comes first, something does.
fn wait_and_send(channel: &InitEnd, init: impl AsFd, place: OwnedFd) -> i32 {
    while !sys::seccomp::is_listener(&place) {
        if !matches!(sys::process::wait_readable(&init, Some(MOMENT)), Ok(false)) {
            return 1;
        }
    }
    // Without a host to hear it the listener ends with us, and what it should have decided is ENOSYS.
    i32::from(channel.say(&InitSays::Listener(place)).is_err())
}
