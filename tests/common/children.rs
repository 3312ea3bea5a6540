//! The test process as its callers are: a subreaper. What a runtime leaves behind (the init of a created container)
//! becomes our child, and we wait for it; so its end does not depend on how often the machine's pid 1 looks around.

use std::collections::BTreeSet;
use std::process::{Child, Command};
use std::sync::{Mutex, Once, PoisonError};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

/// The children that somebody holds a `Child` of, and waits for.
static HELD: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
static SUBREAPER: Once = Once::new();

/// Starts a program; its end is the caller's to wait for.
pub fn spawn(command: &mut Command) -> std::io::Result<Child> {
    // Under the lock, so that `reap` cannot see the child before it is known.
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let child = command.spawn()?;
    held.insert(child.id());
    Ok(child)
}

/// The program has ended and was waited for: its number may come again.
pub fn release(child: &Child) {
    HELD.lock().unwrap_or_else(PoisonError::into_inner).remove(&child.id());
}

/// From now on orphans come to this process.
pub fn adopt() {
    SUBREAPER.call_once(|| {
        // SAFETY: this prctl takes a number.
        let answer = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        assert_eq!(answer, 0, "PR_SET_CHILD_SUBREAPER");
    });
}

/// Waits for the adopted children that have ended.
pub fn reap() {
    let Ok(entries) = std::fs::read_dir("/proc") else { return };
    let held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        if !held.contains(&pid) && is_our_zombie(pid) {
            // Another thread may have been quicker.
            let _ = waitid(Id::Pid(Pid::from_raw(pid as i32)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
        }
    }
}

fn is_our_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // What was adopted from a container has a session of its own; what a test has started itself is in ours, and waited for.
    let own_session = nix::unistd::getsid(None).map_or(0, Pid::as_raw).to_string();
    fields.first() == Some(&"Z")
        && fields.get(1) == Some(&std::process::id().to_string().as_str())
        && fields.get(3).is_some_and(|session| *session != own_session)
}

/// A child of ours that has this pid and does nothing; none while somebody else has it.
pub fn born_as(pid: i32) -> Option<Pid> {
    let wanted = [pid];
    // SAFETY: clone_args is plain numbers, and zero means "nothing asked"; without CLONE_VM this is a fork, and the child
    // makes one async-signal-safe call for ever. `wanted` and `args` outlive the call.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.exit_signal = libc::SIGCHLD as u64;
        args.set_tid = wanted.as_ptr() as u64;
        args.set_tid_size = 1;
        match libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) {
            0 => loop {
                libc::pause();
            },
            -1 => None,
            born => Some(Pid::from_raw(born as i32)),
        }
    }
}
