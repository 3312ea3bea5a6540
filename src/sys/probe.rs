//! Asks whether the kernel has a system call without doing anything: with arguments that it refuses before it acts.
//! Contracts: the manual pages of the calls in [`number`].

use super::{Call, Errno};

/// The calls that can be asked for.
fn number(call: Call) -> Option<libc::c_long> {
    Some(match call {
        Call::Clone => libc::SYS_clone3,
        Call::CloseRange => libc::SYS_close_range,
        Call::Fsconfig => libc::SYS_fsconfig,
        Call::Fsmount => libc::SYS_fsmount,
        Call::Fsopen => libc::SYS_fsopen,
        Call::MountSetattr => libc::SYS_mount_setattr,
        Call::MoveMount => libc::SYS_move_mount,
        Call::Open => libc::SYS_openat2,
        Call::OpenTree => libc::SYS_open_tree,
        Call::PidfdOpen => libc::SYS_pidfd_open,
        _ => return None,
    })
}

/// Whether the kernel has the call, and nobody pretends that it hasn't. A call that can't be asked for is not there.
pub fn has(call: Call) -> bool {
    let Some(number) = number(call) else { return false };
    let null = std::ptr::null::<libc::c_void>();
    // SAFETY: none of the calls of `number` takes -1 for its first argument together with the rest: it is a descriptor
    // or a pid that can't be, a pointer outside of user space, or a range whose end is before its beginning. So each
    // fails before it reads or writes memory of ours or changes anything.
    let answer = unsafe { libc::syscall(number, -1 as libc::c_long, null, u32::MAX as libc::c_long, null, 0) };
    answer == -1 && Errno::last() != Errno::ENOSYS
}

/// The version of the kernel, see uname(2); 0.0 if it can't be told.
pub fn kernel() -> (u32, u32) {
    let name = nix::sys::utsname::uname();
    let release = name.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Whether a file has this extended attribute.
pub fn has_attribute(path: &str, name: &str) -> bool {
    let (Ok(path), Ok(name)) = (super::fs::c_string(path, Call::Stat), super::fs::c_string(name, Call::Stat)) else {
        return false;
    };
    // SAFETY: both strings are NUL-terminated and alive; with a length of 0 the kernel only says how long the value is.
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) >= 0 }
}

/// Our hard limit of a resource.
pub fn hard_limit(resource: u32) -> super::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is alive and writable; a resource that the kernel doesn't know is EINVAL.
    match unsafe { libc::getrlimit(resource as _, &raw mut limit) } {
        0 => Ok(limit.rlim_max),
        _ => Err(super::Error::last(Call::Prlimit)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_release() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let (major, minor) = kernel();
        assert!(major > 0 && release.starts_with(&format!("{major}.{minor}")), "{release}");
    }

    #[test]
    fn what_we_use_is_there_and_what_can_not_be_asked_for_is_not() {
        assert!(has(Call::Clone) && has(Call::Open) && has(Call::PidfdOpen) && has(Call::CloseRange));
        assert!(!has(Call::Umask));
    }
}
