//! The system calls of the probe: thin wrappers that only ask. No wrapper here may change the process, apart from those
//! whose name says so.

use std::ffi::{CStr, CString};
use std::io::Error;

use libc::{c_int, c_long, c_ulong};

/// The errno name of the last failure: `EPERM`.
pub fn errno() -> String {
    name_of(Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// The name of an errno.
pub fn name_of(errno: c_int) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// A raw system call with up to six numbers.
pub fn call(number: c_long, args: [c_long; 6]) -> Result<i64, c_int> {
    // SAFETY: the numbers come from the test author, who passes pointers only to memory that `Words` keeps alive.
    let answer = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if answer == -1 { Err(Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(answer) }
}

/// prctl with one argument.
pub fn prctl(option: c_int, argument: c_ulong) -> i32 {
    // SAFETY: every option used here takes a number, or nothing.
    unsafe { libc::prctl(option, argument, 0, 0, 0) }
}

/// prctl that writes one int.
pub fn prctl_int(option: c_int) -> Option<i32> {
    let mut value: c_int = 0;
    // SAFETY: the options used here (PR_GET_PDEATHSIG, PR_GET_CHILD_SUBREAPER) write one int, and `value` is one.
    let answer = unsafe { libc::prctl(option, &raw mut value as c_ulong, 0, 0, 0) };
    (answer == 0).then_some(value)
}

/// The three capability sets of this thread as 64-bit masks: effective, permitted, inheritable.
pub fn capget() -> Option<[u64; 3]> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let mut header = Header { version: 0x2008_0522, pid: 0 };
    let mut data = [[0u32; 3]; 2];
    // SAFETY: version 3 of the header makes the kernel write two triples of u32, and `data` is two triples.
    let answer = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    (answer == 0).then(|| [0, 1, 2].map(|set| u64::from(data[0][set]) | u64::from(data[1][set]) << 32))
}

/// Whether a signal is ignored, and whether it has a handler.
pub fn disposition(signal: c_int) -> Option<(bool, bool)> {
    // SAFETY: all-zero is a valid sigaction; the kernel only writes to it.
    let mut old: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: a null new action only asks; `old` outlives the call.
    let answer = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut old) };
    (answer == 0).then_some((
        old.sa_sigaction == libc::SIG_IGN,
        old.sa_sigaction != libc::SIG_IGN && old.sa_sigaction != libc::SIG_DFL,
    ))
}

/// The signals blocked in this thread, as a 64-bit mask (bit 0 is signal 1).
pub fn blocked() -> u64 {
    let mut mask = 0u64;
    // SAFETY: the raw call with a null new mask writes eight bytes, the size that is passed.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, 0, std::ptr::null::<u64>(), &raw mut mask, 8usize) };
    mask
}

/// Soft and hard limit.
pub fn rlimit(resource: u32) -> Option<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: pid 0 and no new limit only ask; `limit` outlives the call.
    let answer = unsafe { libc::prlimit64(0, resource, std::ptr::null(), &raw mut limit) };
    (answer == 0).then_some((limit.rlim_cur, limit.rlim_max))
}

/// The CPUs this thread may run on.
pub fn affinity() -> Vec<usize> {
    // SAFETY: all-zero is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the size passed is the set's own.
    let answer = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    if answer != 0 {
        return Vec::new();
    }
    // SAFETY: CPU_ISSET only reads the set, and every index is below its size.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// What sched_getattr(2) says of this thread, as bytes: `struct sched_attr`.
pub fn scheduler() -> Option<[u8; 56]> {
    let mut attributes = [0u8; 56];
    // SAFETY: the kernel writes at most the size that is passed, which is the array's.
    let answer = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attributes.as_mut_ptr(), 56, 0) };
    (answer == 0).then_some(attributes)
}

/// The memory policy of this thread: mode with flags, and the first 64 nodes.
pub fn memory_policy() -> Option<(i32, u64)> {
    let (mut mode, mut nodes) = (0, [0u64; 16]);
    // SAFETY: the kernel writes one int and at most 1024 bits, which the array has.
    let answer =
        unsafe { libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes.as_mut_ptr(), 1024usize, 0usize, 0usize) };
    (answer == 0).then_some((mode, nodes[0]))
}

/// The umask, read by changing it twice.
pub fn umask() -> u32 {
    // SAFETY: umask has no failure and touches no memory; the second call undoes the first.
    unsafe {
        let mask = libc::umask(0);
        libc::umask(mask);
        mask
    }
}

/// The current directory as the kernel says it: begins with `(unreachable)` if it lies outside the root.
pub fn getcwd() -> Result<String, String> {
    let mut buffer = [0u8; 4096];
    // SAFETY: the kernel writes at most the length passed, which is the buffer's.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    if length <= 0 { Err(errno()) } else { Ok(String::from_utf8_lossy(&buffer[..length as usize - 1]).into_owned()) }
}

/// The flags of an open descriptor: `(F_GETFD, F_GETFL)`.
pub fn fd_flags(fd: c_int) -> Option<(c_int, c_int)> {
    // SAFETY: both commands only ask, on a number that need not be open.
    let (own, file) = unsafe { (libc::fcntl(fd, libc::F_GETFD), libc::fcntl(fd, libc::F_GETFL)) };
    (own != -1).then_some((own, file))
}

/// Rows and columns of the terminal on `fd`.
pub fn window_size(fd: c_int) -> Option<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one.
    let answer = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0).then_some((size.ws_row, size.ws_col))
}

/// Whether `fd` is a terminal.
pub fn isatty(fd: c_int) -> bool {
    // SAFETY: isatty only asks, on a number that need not be open.
    unsafe { libc::isatty(fd) == 1 }
}

/// Makes SIGWINCH interrupt a read instead of being discarded.
pub fn interrupt_on(signal: c_int) {
    extern "C" fn nothing(_: c_int) {}
    // SAFETY: all-zero is a valid sigaction: no flags (so no SA_RESTART), empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = nothing as *const () as usize;
    // SAFETY: the handler does nothing, so it is async-signal-safe.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

/// Blocks `signals` and waits for one of them.
pub fn wait_signal(signals: &[c_int], ready: impl FnOnce()) -> Option<c_int> {
    // SAFETY: all-zero is an empty set; the calls write only to `set`, with signal numbers the C library knows.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in signals {
        // SAFETY: as above.
        unsafe { libc::sigaddset(&raw mut set, *signal) };
    }
    // SAFETY: `set` is initialised and outlives both calls.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
    ready();
    let mut got: c_int = 0;
    // SAFETY: `got` outlives the call.
    let answer = unsafe { libc::sigwait(&raw const set, &raw mut got) };
    (answer == 0).then_some(got)
}

/// One network interface.
pub struct Interface {
    /// Its name.
    pub name: String,
    /// IFF_* flags.
    pub flags: u32,
}

/// The interfaces with index 1 to 64.
pub fn interfaces() -> Vec<Interface> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: no pointers.
    let raw = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Vec::new();
    }
    // SAFETY: the socket was opened just now and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let mut found = Vec::new();
    for index in 1..=64 {
        // SAFETY: all-zero is a valid ifreq.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        request.ifr_ifru.ifru_ifindex = index;
        // SAFETY: both requests read and write one ifreq, and `request` is one.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFNAME, &raw mut request) };
        if answer != 0 {
            continue;
        }
        // SAFETY: the kernel ends the name with a zero byte.
        let name = unsafe { CStr::from_ptr(request.ifr_name.as_ptr()) }.to_string_lossy().into_owned();
        // SAFETY: as above.
        let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &raw mut request) };
        // SAFETY: SIOCGIFFLAGS has written this member.
        let flags = if answer == 0 { unsafe { request.ifr_ifru.ifru_flags as u16 as u32 } } else { 0 };
        found.push(Interface { name, flags });
    }
    found
}

/// The addresses of all interfaces: name, address, length of the prefix.
pub fn addresses() -> Vec<(String, String, u32)> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the C library stores a list of its own, or fails.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let (mut found, mut next) = (Vec::new(), list);
    // SAFETY: the list ends with a null pointer; its entries, names and addresses live until it is freed, which nobody
    // does: this process is about to end.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: as above; the name is zero-terminated.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) }.to_string_lossy().into_owned();
        // SAFETY: both are null or a socket address of the family that it names.
        if let (Some(address), Some(mask)) = unsafe { (ip(entry.ifa_addr), ip(entry.ifa_netmask)) } {
            let bits = match mask {
                std::net::IpAddr::V4(mask) => mask.to_bits().count_ones(),
                std::net::IpAddr::V6(mask) => mask.to_bits().count_ones(),
            };
            found.push((name, address.to_string(), bits));
        }
        next = entry.ifa_next;
    }
    found
}

/// # Safety
/// Null, or a socket address that is as long as its family says.
unsafe fn ip(address: *const libc::sockaddr) -> Option<std::net::IpAddr> {
    // SAFETY: the caller's promise; the family decides how much is read.
    unsafe {
        match i32::from(address.as_ref()?.sa_family) {
            libc::AF_INET => {
                let bytes = (*address.cast::<libc::sockaddr_in>()).sin_addr.s_addr.to_ne_bytes();
                Some(std::net::IpAddr::from(bytes))
            }
            libc::AF_INET6 => Some(std::net::IpAddr::from((*address.cast::<libc::sockaddr_in6>()).sin6_addr.s6_addr)),
            _ => None,
        }
    }
}

/// The description of the session keyring: `keyring;0;0;3f1b0000;_ses.NAME`.
pub fn session_keyring() -> Result<String, String> {
    let mut buffer = [0u8; 512];
    let (describe, session) = (6, -3i64);
    // SAFETY: KEYCTL_DESCRIBE writes at most the length passed, which is the buffer's.
    let length =
        unsafe { libc::syscall(libc::SYS_keyctl, describe, session, buffer.as_mut_ptr(), buffer.len(), 0usize) };
    if length <= 0 {
        return Err(errno());
    }
    let end = (length as usize - 1).min(buffer.len());
    Ok(String::from_utf8_lossy(&buffer[..end]).into_owned())
}

/// The domain name of the UTS namespace; the C library's `utsname` has it, Rust's does not.
pub fn uts_names() -> (String, String) {
    // SAFETY: all-zero is a valid utsname; uname fills it with zero-terminated texts.
    let names = unsafe {
        let mut names: libc::utsname = std::mem::zeroed();
        libc::uname(&raw mut names);
        names
    };
    let text = |field: &[libc::c_char]| {
        // SAFETY: the field ends with a zero byte, as uname(2) promises.
        unsafe { CStr::from_ptr(field.as_ptr()) }.to_string_lossy().into_owned()
    };
    (text(&names.nodename), text(&names.domainname))
}

/// Seconds of a clock.
pub fn clock(id: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec
}

/// A text as the kernel wants it.
pub fn c_string(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}
