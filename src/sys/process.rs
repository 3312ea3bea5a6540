//! Processes: birth, namespaces, signals by pidfd, waiting, execve.
//! Contracts: clone3(2), setns(2), unshare(2), pidfd_open(2), pidfd_send_signal(2), waitid(2), execve(2), execveat(2).

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{SigSet, SigmaskHow};

pub use super::ended::Ended;
use super::{Call, During, Errno, Error, Result};

/// Both sides of a birth.
pub enum Born {
    /// We are the child.
    Child,
    /// We are the parent: the child's pid as we see it, and a descriptor of it.
    Parent {
        /// The child's pid in our pid namespace.
        pid: i32,
        /// The child's pidfd.
        pidfd: OwnedFd,
    },
}

/// What a birth takes.
#[derive(Clone, Copy, Default)]
pub struct Birth {
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// Makes the child a sibling: our parent becomes its parent.
    pub for_parent: bool,
    /// The child has the same descriptor table, not a copy of it: what either opens or closes, both do, until one
    /// calls execve. The child must end by [`exit_now`], so that nothing of its copies of our owners is dropped.
    pub share_files: bool,
    /// The cgroup2 directory to be born in.
    pub cgroup: Option<RawFd>,
}

/// clone3(2), as fork: the child is a copy and returns from here too.
pub fn clone3(birth: Birth) -> Result<Born> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain integers; all-zero means "nothing asked".
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = birth.namespaces | libc::CLONE_PIDFD as u64;
    args.pidfd = &raw mut pidfd as u64;
    if birth.for_parent {
        // The exit signal is then inherited from us and must not be given.
        args.flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    if birth.share_files {
        args.flags |= libc::CLONE_FILES as u64;
    }
    if let Some(dir) = birth.cgroup {
        args.flags |= 0x2_0000_0000; // CLONE_INTO_CGROUP
        args.cgroup = dir as u64;
    }
    // SAFETY: no CLONE_VM and no stack: the child gets a copy-on-write copy of this single-threaded process, like fork(2).
    // `args` and `pidfd` are alive across the call and the true size is given.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(Born::Child),
        // SAFETY: on success the kernel stored a fresh close-on-exec descriptor that only we own.
        1.. => Ok(Born::Parent { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
        _ => Err(Error::last(Call::Clone)),
    }
}

/// setns(2): joins the namespace(s) of a descriptor; `kind` is a `CLONE_NEW*` flag, several for a pidfd, 0 for any.
pub fn setns(fd: impl AsFd, kind: i32) -> Result<()> {
    // SAFETY: numbers only; the descriptor is borrowed for the call.
    match unsafe { libc::setns(fd.as_fd().as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Setns)),
    }
}

/// unshare(2).
pub fn unshare(flags: i32) -> Result<()> {
    // SAFETY: numbers only; no CLONE_VM/THREAD/FILES flag is ever passed by our callers, so no memory or descriptor changes hands.
    match unsafe { libc::unshare(flags) } {
        0 => Ok(()),
        _ => Err(Error::last(Call::Unshare)),
    }
}

/// The `CLONE_NEW*` kind of a namespace descriptor; ENOTTY when it is no namespace.
pub fn namespace_kind(fd: impl AsFd) -> Result<i32> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: NS_GET_NSTYPE takes no argument and returns a number.
    match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), NS_GET_NSTYPE) } {
        n if n < 0 => Err(Error::last(Call::Ioctl)),
        n => Ok(n),
    }
}

/// pidfd_open(2).
pub fn pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: numbers only; a descriptor returned is fresh, close-on-exec and ours.
    match unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } {
        n if n < 0 => Err(Error::last(Call::PidfdOpen)),
        // SAFETY: the kernel just gave us this descriptor, close-on-exec; nobody else owns it.
        n => Ok(unsafe { OwnedFd::from_raw_fd(n as RawFd) }),
    }
}

/// pidfd_send_signal(2): can't hit a stranger. Signal 0 only asks.
pub fn signal(pidfd: impl AsFd, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo means "as kill(2) would fill it".
    match unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_fd().as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    } {
        0 => Ok(()),
        _ => Err(Error::last(Call::PidfdSignal)),
    }
}

/// Reaps a child that has ended or will.
pub fn wait(pidfd: impl AsFd) -> Result<Ended> {
    loop {
        // SAFETY: siginfo_t is plain data; all-zero is a valid value of it.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: `info` is alive and writable; the descriptor is borrowed for the call. (nix knows no real-time signals here.)
        let done = unsafe {
            libc::waitid(libc::P_PIDFD, pidfd.as_fd().as_raw_fd() as libc::id_t, &raw mut info, libc::WEXITED)
        };
        if done == 0 {
            // SAFETY: waitid succeeded with WEXITED, so the SIGCHLD member of the union is the one that was filled.
            let status = unsafe { info.si_status() };
            return Ok(if info.si_code == libc::CLD_EXITED { Ended::Exited(status) } else { Ended::Killed(status) });
        }
        if Errno::last() != Errno::EINTR {
            return Err(Error::last(Call::Wait));
        }
    }
}

/// `struct pidfd_info` in its first form, as linux/pidfd.h has it.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// How a process that is not our child ended, if the kernel still knows (Linux 6.15, and only once it has been reaped).
pub fn ended(pidfd: impl AsFd) -> Option<Ended> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    // _IOWR(0xFF, 11, struct pidfd_info)
    const PIDFD_GET_INFO: libc::c_ulong = 3 << 30 | (size_of::<PidfdInfo>() as libc::c_ulong) << 16 | 0xff << 8 | 11;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request carries the size of our struct, which the kernel fills at most; it is alive across the call.
    let done = unsafe { libc::ioctl(pidfd.as_fd().as_raw_fd(), PIDFD_GET_INFO, &raw mut info) };
    (done == 0 && info.mask & PIDFD_INFO_EXIT != 0).then(|| Ended::of_status(info.exit_code))
}

/// Reaps children that have ended, up to the first that is `but`: that one is for who holds its descriptor.
pub fn reap_all_but(but: &impl AsFd) -> Result<()> {
    loop {
        // SAFETY: as in `wait`; WNOWAIT leaves the child to be waited for, WNOHANG leaves an all-zero answer for "nobody".
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: `info` is alive and writable.
        if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } != 0 {
            return if Errno::last() == Errno::ECHILD { Ok(()) } else { Err(Error::last(Call::Wait)) };
        }
        // SAFETY: waitid succeeded: the SIGCHLD member is filled, or everything still is zero.
        let pid = unsafe { info.si_pid() };
        // Asked after the look, not before it: whoever is seen ended has a readable descriptor by now.
        if pid == 0 || wait_readable(but, Some(Duration::ZERO))? {
            return Ok(());
        }
        // SAFETY: as above; exactly this child, which is a zombie and ours, is reaped.
        unsafe { libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, libc::WEXITED | libc::WNOHANG) };
    }
}

/// Waits until a descriptor is readable (a pidfd: until the process ended). False when the time ran out.
pub fn wait_readable(fd: impl AsFd, limit: Option<Duration>) -> Result<bool> {
    let end = limit.map(|l| Instant::now() + l);
    loop {
        let left = end.map_or(PollTimeout::NONE, |e| {
            let ms = e.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
            PollTimeout::try_from(u32::try_from(ms).unwrap_or(u32::MAX) as i32).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, left) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Poll, errno)),
        }
    }
}

/// The threads of these processes; who has ended has none.
pub fn threads(pids: &[i32]) -> Result<Vec<i32>> {
    let mut threads = Vec::new();
    for pid in pids {
        match std::fs::read_dir(format!("/proc/{pid}/task")) {
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {}
            other => {
                let list = other.during(Call::Open)?;
                threads.extend(list.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()));
            }
        }
    }
    Ok(threads)
}

/// Waits until one of two descriptors is readable. Whether it is the first, which counts where both are.
pub fn wait_first(first: impl AsFd, second: impl AsFd) -> Result<bool> {
    loop {
        let mut fds = [PollFd::new(first.as_fd(), PollFlags::POLLIN), PollFd::new(second.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => return Ok(fds[0].any() == Some(true)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new(Call::Poll, errno)),
        }
    }
}

/// A null-terminated pointer array over C strings, as execve(2) takes it.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// execve(2). Returns only on failure.
pub fn execve(path: &CString, args: &[CString], env: &[CString]) -> Error {
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: all three are NUL-terminated and null-terminated and live until the call returns (only on failure).
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Error::last(Call::Execve)
}

/// execveat(2) of a descriptor. Returns only on failure.
pub fn execve_fd(file: impl AsFd, args: &[CString], env: &[CString]) -> Error {
    let (argv, envp) = (pointers(args), pointers(env));
    // SAFETY: as for execve; the path is the static empty string with AT_EMPTY_PATH.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    // Whoever reads it has asked for no such call: it runs the stub, or our own sealed copy.
    Error::last(Call::Execve).about("by execveat")
}

/// Whether the program that we run from is a sealed file that nobody can write to.
pub fn is_sealed() -> Result<bool> {
    let exe = super::fs::open_host("/proc/self/exe", nix::fcntl::OFlag::O_RDONLY)?;
    // SAFETY: F_GET_SEALS takes nothing and answers with a number, EINVAL for files that can't be sealed.
    let seals = unsafe { libc::fcntl(exe.as_raw_fd(), libc::F_GET_SEALS) };
    Ok(seals >= 0 && seals & libc::F_SEAL_WRITE != 0)
}

/// EPERM unless we run from a sealed file.
pub fn assert_sealed() -> Result<()> {
    if is_sealed()? { Ok(()) } else { Err(Error::new(Call::Execve, Errno::EPERM).about("not a sealed copy of rt")) }
}

/// Starts over from a sealed copy of our program, with the same arguments and environment; returns if we are one already.
pub fn run_sealed() -> Result<()> {
    use std::os::unix::ffi::OsStringExt;
    if is_sealed()? {
        return Ok(());
    }
    let exe = super::fs::open_host("/proc/self/exe", nix::fcntl::OFlag::O_RDONLY)?;
    let copy = super::fs::sealed_memfd("rt", &super::fs::read_fd(&exe, 1 << 30)?)?;
    let string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Error::new(Call::Execve, Errno::EINVAL));
    let args = std::env::args_os().map(|a| string(a.into_vec())).collect::<Result<Vec<_>>>()?;
    let join = |(k, v): (std::ffi::OsString, std::ffi::OsString)| [k.into_vec(), v.into_vec()].join(&b'=');
    let env = std::env::vars_os().map(|pair| string(join(pair))).collect::<Result<Vec<_>>>()?;
    Err(execve_fd(&copy, &args, &env))
}

/// setsid(2); already being a session's leader is fine, being in the caller's session is not (TIOCSTI).
pub fn new_session() -> Result<()> {
    match nix::unistd::setsid() {
        Ok(_) => Ok(()),
        Err(Errno::EPERM) if nix::unistd::getsid(None) == Ok(nix::unistd::getpid()) => Ok(()),
        Err(errno) => Err(Error::new(Call::Setsid, errno)),
    }
}

/// A set of signals: bit n - 1 is signal n, as /proc writes it.
pub type SignalMask = u64;

/// Every signal there is.
pub const ALL_SIGNALS: SignalMask = u64::MAX;

/// The signals that this process ignores: of all dispositions those that execve keeps.
pub fn ignored_signals() -> Result<SignalMask> {
    own_mask("SigIgn")
}

/// Where files may not grow for ever, one that may not is an error of write(2) to us, not our end: a half-made container would be
/// left. No limit, the common case, costs one call.
pub fn survive_full_files() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    if getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(soft, _)| soft != RLIM_INFINITY) {
        ignore(libc::SIGXFSZ);
    }
}

/// A signal from now on means nothing to us. The workload gets the default back.
pub fn ignore(signal: libc::c_int) {
    // SAFETY: SIG_IGN is a valid disposition, and no handler of ours is replaced.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// A hexadecimal mask of /proc/self/status, which is read once: our bounding set is not ours to change before we are init,
/// and signals that we stop ignoring ourselves may as well be reset again.
pub(super) fn own_mask(name: &str) -> Result<u64> {
    static STATUS: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let text = match STATUS.get() {
        Some(text) => text,
        None => {
            let text = super::fs::read_piece("/proc/self/status")?;
            STATUS.get_or_init(|| text)
        }
    };
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let mask = value.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    mask.ok_or_else(|| Error::new(Call::Read, Errno::EBADMSG).about(format!("/proc/self/status: {name}")))
}

/// These signals to their default, none blocked: what std, our caller or we changed must not reach the workload.
pub fn reset_signals(these: SignalMask) -> Result<()> {
    for number in (1..=libc::SIGRTMAX()).filter(|n| these & 1 << (n - 1) != 0) {
        match default_signal(number) {
            // KILL, STOP, and the two that libc keeps for itself: nothing to reset.
            Err(e) if e.errno == Errno::EINVAL => {}
            other => other?,
        }
    }
    set_mask(SigmaskHow::SIG_SETMASK, &SigSet::empty())
}

/// sigprocmask(2). Not pthread_sigmask(3), whose errors nix takes for success: they are positive numbers.
fn set_mask(how: SigmaskHow, set: &SigSet) -> Result<()> {
    nix::sys::signal::sigprocmask(how, Some(set), None).during(Call::Sigprocmask)
}

/// One signal to its default.
pub fn default_signal(number: i32) -> Result<()> {
    // SAFETY: SIG_DFL is a valid disposition for every catchable signal; no handler of ours is replaced, we have none.
    match unsafe { libc::signal(number, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(Error::last(Call::Sigaction)),
        _ => Ok(()),
    }
}

/// A program to be run beside us: everything it gets is said here.
pub struct Program<'a> {
    /// Absolute path.
    pub path: &'a str,
    /// `argv`.
    pub args: &'a [String],
    /// The whole environment, in this order.
    pub env: &'a [String],
    /// Where it starts.
    pub directory: &'a str,
    /// Descriptors 0, 1 and 2.
    pub stdio: [std::os::fd::BorrowedFd<'a>; 3],
    /// Descriptors from 3 up.
    pub more: &'a [std::os::fd::BorrowedFd<'a>],
}

/// Starts a program in a process group of its own, with no descriptor but those named and no signal ignored or blocked.
/// The error is the one of chdir or execve in the child.
pub fn spawn(program: &Program<'_>) -> Result<(i32, OwnedFd)> {
    let strings =
        |list: &[String]| list.iter().map(|s| super::fs::c_string(s, Call::Execve)).collect::<Result<Vec<_>>>();
    let (path, args, env) =
        (super::fs::c_string(program.path, Call::Execve)?, strings(program.args)?, strings(program.env)?);
    let (ours, theirs) = super::sock::pair()?;
    match clone3(Birth::default())? {
        Born::Child => {
            let error = become_program(program, &path, &args, &env);
            let _ = super::sock::send(&theirs, &(error.errno as i32).to_le_bytes(), &[]);
            exit_now(127)
        }
        Born::Parent { pid, pidfd } => {
            drop(theirs);
            let mut bytes = [0; 4];
            match super::sock::receive(&ours, &mut bytes)? {
                (4, _) => {
                    wait(&pidfd)?;
                    Err(Error::new(Call::Execve, Errno::from_raw(i32::from_le_bytes(bytes))).about(program.path))
                }
                _ => Ok((pid, pidfd)),
            }
        }
    }
}

/// The child's half of `spawn`; returns only on failure. Everything else is close-on-exec.
fn become_program(program: &Program<'_>, path: &CString, args: &[CString], env: &[CString]) -> Error {
    let prepare = || -> Result<()> {
        // Out of the way first, or one of them would be overwritten before it is used.
        let all = program.stdio.iter().chain(program.more);
        let high = all.map(|fd| super::fs::duplicate_from(fd, 64)).collect::<Result<Vec<_>>>()?;
        for (fd, number) in high.into_iter().zip(0..) {
            super::fs::place_at(fd, number)?;
        }
        super::mount::change_dir(program.directory)?;
        nix::unistd::setpgid(nix::unistd::Pid::from_raw(0), nix::unistd::Pid::from_raw(0)).during(Call::Setsid)?;
        reset_signals(ALL_SIGNALS)
    };
    match prepare() {
        Ok(()) => execve(path, args, env),
        Err(e) => e,
    }
}

/// Blocks every signal: a foreground `run` reads them from a descriptor instead.
pub fn block_signals() -> Result<()> {
    set_mask(SigmaskHow::SIG_BLOCK, &SigSet::all())
}

/// Gives back memory that a process which only waits has no use for: what is free of the heap, and the pages of our
/// program, which are read again when they are touched.
pub fn shed() {
    unsafe extern "C" {
        /// Where the program begins, and where its code ends: the linker's names.
        static __executable_start: u8;
        static etext: u8;
    }
    let (from, to) = (&raw const __executable_start, &raw const etext);
    // SAFETY: only addresses of the two are taken. Between them lie read-only private mappings of our own file, which
    // nobody can write to while it is executed: a page that is dropped comes back as it was.
    unsafe { libc::madvise(from.cast_mut().cast(), to.addr() - from.addr(), libc::MADV_DONTNEED) };
    #[cfg(target_env = "gnu")]
    // SAFETY: touches only memory that the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Ends this process at once: no destructors, no exit handlers, nothing printed. For the child of a birth only.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// What our parent is now; 0 when it is outside our pid namespace.
pub fn parent() -> i32 {
    nix::unistd::getppid().as_raw()
}

/// Becomes the reaper of orphaned descendants.
pub fn become_subreaper() -> Result<()> {
    nix::sys::prctl::set_child_subreaper(true).during(Call::Prctl)
}
