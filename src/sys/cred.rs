//! Who a process is: ids, groups, capabilities, limits, keyring, dumpable, no_new_privs.
//! Contracts: setresuid(2), setgroups(2), capset(2), prctl(2), prlimit(2), keyctl(2), umask(2).

use super::{Call, During, Errno, Error, Result};

/// The five capability sets as bit masks, bit n for capability number n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// The effective set.
    pub effective: u64,
    /// The permitted set.
    pub permitted: u64,
    /// The inheritable set.
    pub inheritable: u64,
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// capset(2) of the calling thread.
pub fn set_caps(sets: CapSets) -> Result<()> {
    let half = |shift: u32| CapData {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [half(0), half(32)];
    // SAFETY: version 3 takes two data structs; header and data are alive and laid out as the kernel's.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Capset)),
    }
}

/// capget(2) of the calling thread.
pub fn caps() -> Result<CapSets> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: as for capset; `data` is writable for two structs.
    match unsafe { libc::syscall(libc::SYS_capget, &raw const header, data.as_mut_ptr()) } {
        0 => Ok(CapSets {
            effective: u64::from(data[0].effective) | u64::from(data[1].effective) << 32,
            permitted: u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32,
            inheritable: u64::from(data[0].inheritable) | u64::from(data[1].inheritable) << 32,
        }),
        _ => Err(Error::last(Call::Capset)),
    }
}

fn prctl(option: i32, a: u64, b: u64) -> Result<i32> {
    // SAFETY: every option used in this file takes plain numbers, no pointers; unused arguments are zero as required.
    match unsafe { libc::prctl(option, a, b, 0u64, 0u64) } {
        n if n < 0 => Err(Error::last(Call::Prctl)),
        n => Ok(n),
    }
}

/// Drops every capability that is not in `keep` from the bounding set. One call a capability: the kernel has no other.
pub fn limit_bounding(keep: u64, last: u32) -> Result<()> {
    for number in (0..=last).filter(|n| keep & (1 << n) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, number.into(), 0) {
            Ok(_) => {}
            // Beyond the kernel's last capability: nothing to drop.
            Err(e) if e.errno == Errno::EINVAL => break,
            Err(e) => return Err(e.about(format!("PR_CAPBSET_DROP {number}"))),
        }
    }
    Ok(())
}

/// Our bounding set. /proc tells it at once; prctl(2) wants to be asked for each capability.
pub fn bounding() -> Result<u64> {
    super::process::own_mask("CapBnd")
}

/// Empties the ambient set, then raises `set`.
pub fn set_ambient(set: u64) -> Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0)?;
    for number in (0..64).filter(|n| set & (1 << n) != 0) {
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, number)
            .map_err(|e| e.about(format!("PR_CAP_AMBIENT_RAISE {number}")))?;
    }
    Ok(())
}

/// Whether capabilities survive the change of ids that follows.
pub fn keep_caps(on: bool) -> Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, on.into(), 0).map(drop)
}

/// Securebits back to zero: a caller's own must not reach the workload.
pub fn clear_securebits() -> Result<()> {
    prctl(libc::PR_SET_SECUREBITS, 0, 0).map(drop)
}

/// PR_SET_NO_NEW_PRIVS; can't be undone.
pub fn no_new_privs() -> Result<()> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map(drop)
}

/// PR_SET_DUMPABLE: off, nobody without CAP_SYS_PTRACE over us may look into `/proc/PID` of this process.
pub fn dumpable(on: bool) -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, on.into(), 0).map(drop)
}

/// The caller's timer slack back to the kernel's default. Zero would mean "as at birth", which was the caller's.
pub fn reset_timer_slack() -> Result<()> {
    const NANOSECONDS: u64 = 50_000;
    prctl(libc::PR_SET_TIMERSLACK, NANOSECONDS, 0).map(drop)
}

/// Exactly these supplementary groups.
pub fn set_groups(groups: &[u32]) -> Result<()> {
    let groups: Vec<_> = groups.iter().map(|&g| nix::unistd::Gid::from_raw(g)).collect();
    nix::unistd::setgroups(&groups).during(Call::Setgroups)
}

/// Real, effective and saved gid. The raw call: libc's would signal other threads, and there are none.
pub fn set_gid(gid: u32) -> Result<()> {
    // SAFETY: numbers only.
    match unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Setgid).about(gid.to_string())),
    }
}

/// Real, effective and saved uid.
pub fn set_uid(uid: u32) -> Result<()> {
    // SAFETY: numbers only.
    match unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Setuid).about(uid.to_string())),
    }
}

/// prlimit(2) on ourselves: soft and hard.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is alive; the old value is not asked for; pid 0 is ourselves.
    match unsafe { libc::prlimit64(0, resource, &raw const limit, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Prlimit)),
    }
}

/// The umask. There is no call that only looks; nobody else is here who could make a file meanwhile.
pub fn current_umask() -> u32 {
    let mask = umask(0);
    umask(mask);
    mask
}

/// umask(2); gives the old one.
pub fn umask(mask: u32) -> u32 {
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(mask)).bits()
}

/// Joins a new session keyring of this name, so that the caller's keys are out of reach.
pub fn new_session_keyring(name: &str) -> Result<()> {
    let name = super::fs::c_string(name, Call::Keyctl)?;
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING (1) takes a NUL-terminated name that is alive across the call.
    match unsafe { libc::syscall(libc::SYS_keyctl, 1, name.as_ptr()) } {
        n if n < 0 => Err(Error::last(Call::Keyctl)),
        _ => Ok(()),
    }
}

/// setdomainname(2) in our uts namespace.
pub fn set_domainname(name: &str) -> Result<()> {
    // SAFETY: pointer and length of one live string; the kernel copies it.
    match unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Setdomainname).about(name)),
    }
}

/// sethostname(2) in our uts namespace.
pub fn set_hostname(name: &str) -> Result<()> {
    nix::unistd::sethostname(name).map_err(|errno| Error::new(Call::Sethostname, errno).about(name))
}

/// personality(2).
pub fn set_personality(persona: u64) -> Result<()> {
    // SAFETY: a number only.
    match unsafe { libc::personality(persona) } {
        n if n < 0 => Err(Error::last(Call::Personality)),
        _ => Ok(()),
    }
}
