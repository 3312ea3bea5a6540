//! Callers that are not as tidy as a shell: what they leave behind for the runtime to inherit. Each function gives a
//! closure for `Runtime::before_exec`.

use std::fs::File;
use std::io::{Error, Result};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::stat::{Mode, umask};

fn checked(answer: i64) -> Result<()> {
    if answer == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Opens `path` on each of these descriptor numbers and leaves them open across execve.
pub fn careless(path: &'static str, numbers: Range<i32>) -> impl FnMut() -> Result<()> + Send + Sync {
    move || {
        let file = File::open(path)?;
        // A high number, so that it is none of the wanted ones.
        // SAFETY: F_DUPFD_CLOEXEC takes a number.
        let high = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 500) };
        checked(high.into())?;
        drop(file);
        for number in numbers.clone() {
            // SAFETY: dup2 takes two numbers; the new one is meant to stay open and to belong to nobody.
            checked(unsafe { libc::dup2(high, number) }.into())?;
        }
        Ok(())
    }
}

/// Hands a descriptor of ours on, as this number.
pub fn handed(file: &impl AsRawFd, number: i32) -> impl FnMut() -> Result<()> + Send + Sync + 'static {
    let from = file.as_raw_fd();
    move || {
        // A high number, so that the copy is never its own original, which would stay close-on-exec.
        // SAFETY: F_DUPFD_CLOEXEC takes a number.
        let high = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, 500) };
        checked(high.into())?;
        // SAFETY: dup2 takes two numbers; the new one is meant to stay open and to belong to nobody.
        checked(unsafe { libc::dup2(high, number) }.into())
    }
}

/// A umask.
pub fn with_umask(mask: u32) -> impl FnMut() -> Result<()> + Send + Sync {
    move || {
        umask(Mode::from_bits_truncate(mask));
        Ok(())
    }
}

/// An ambient (so also inheritable) CAP_NET_RAW.
pub fn with_ambient_net_raw() -> Result<()> {
    const NET_RAW: u32 = 13;
    let header = [0x2008_0522u32, 0];
    let mut data = [0u32; 6];
    // SAFETY: a version 3 header is followed by two triples of u32, which `data` is: capget writes it, capset reads it.
    // The prctl takes numbers.
    unsafe {
        checked(libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()))?;
        data[2] |= 1 << NET_RAW;
        checked(libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()))?;
        checked(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, NET_RAW, 0, 0).into())
    }
}

/// No CAP_SYS_PTRACE any more, not even in the bounding set.
pub fn without_ptrace() -> Result<()> {
    const SYS_PTRACE: u32 = 19;
    // SAFETY: this prctl takes a number.
    checked(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, SYS_PTRACE, 0, 0, 0) }.into())
}

/// Five ignored signals and three blocked ones.
pub fn deaf() -> Result<()> {
    for ignored in [Signal::SIGPIPE, Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGCHLD, Signal::SIGINT] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { signal(ignored, SigHandler::SigIgn)? };
    }
    let blocked: SigSet = [Signal::SIGTERM, Signal::SIGWINCH, Signal::SIGALRM].into_iter().collect();
    Ok(sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None)?)
}

/// Priority, personality, timer slack, parent-death signal, subreaper, affinity and core-dump filter of its own.
pub fn odd() -> Result<()> {
    // SAFETY: each of these takes numbers only, or a set that outlives the call.
    unsafe {
        checked(libc::setpriority(libc::PRIO_PROCESS, 0, 5).into())?;
        checked(libc::personality(0x0040_0000 | 0x0004_0000).into())?;
        checked(libc::prctl(libc::PR_SET_TIMERSLACK, 123_456, 0, 0, 0).into())?;
        checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0).into())?;
        checked(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).into())?;
        let mut one: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut one);
        checked(libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one).into())?;
    }
    std::fs::write("/proc/self/coredump_filter", "0x7f")
}

/// As `odd`, with an I/O priority and without transparent huge pages.
pub fn odder() -> Result<()> {
    odd()?;
    // SAFETY: both calls take numbers.
    unsafe {
        checked(libc::syscall(libc::SYS_ioprio_set, 1, 0, 2 << 13 | 7))?;
        checked(libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0).into())
    }
}

/// A parent-death signal, as conmon and containerd's shim set it.
pub fn dies_with_parent() -> Result<()> {
    // SAFETY: this prctl takes a number.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) }.into())
}

/// A parent that inherits what the runtime leaves behind and never waits for it: the dead stay zombies until it is killed. What was
/// started is this parent; the runtime is its child.
pub fn with_forgetful_parent() -> Result<()> {
    dies_with_parent()?;
    // SAFETY: the prctl and close_range take numbers; a forked child of a process with threads may make system calls.
    unsafe {
        checked(libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0).into())?;
        match libc::fork() {
            0 => return Ok(()),
            child => checked(child.into())?,
        }
        // Whoever started us waits for the end of a pipe, which is open for as long as we have it.
        checked(libc::close_range(3, libc::c_uint::MAX, 0).into())?;
        loop {
            libc::pause();
        }
    }
}

/// The network namespace that this path names.
pub fn in_network(path: String) -> impl FnMut() -> Result<()> + Send + Sync + 'static {
    move || Ok(nix::sched::setns(File::open(&path)?, CloneFlags::CLONE_NEWNET)?)
}

/// A mount namespace of its own, with `/` propagated as `flag` says.
pub fn own_mounts(flag: MsFlags) -> impl FnMut() -> Result<()> + Send + Sync + 'static {
    move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // First private: where the host's are shared, a copy is of the same group, and would hand on what is mounted.
        for flag in [MsFlags::MS_PRIVATE, flag] {
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | flag, None::<&str>)?;
        }
        Ok(())
    }
}

/// A mount namespace of its own whose `/` lies on a mount that is shared with every copy of the namespace.
pub fn on_a_shared_mount() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    let namespace = File::open("/proc/self/ns/mnt")?;
    // A copy of all, then all away: what is left is the first mount, and the copy is put on that.
    let flags = libc::AT_RECURSIVE | libc::O_CLOEXEC | 1; // OPEN_TREE_CLONE
    // SAFETY: the path is a static string; the rest are numbers.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, c"/".as_ptr(), flags) };
    checked(tree)?;
    nix::mount::umount2("/", nix::mount::MntFlags::MNT_DETACH)?;
    nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_SHARED, None::<&str>)?;
    let (empty, here) = (c"".as_ptr(), c".".as_ptr());
    // SAFETY: both paths are static strings; the rest are numbers. 4: MOVE_MOUNT_F_EMPTY_PATH.
    checked(unsafe { libc::syscall(libc::SYS_move_mount, tree, empty, libc::AT_FDCWD, here, 4) })?;
    nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNS)?;
    // It came shared by being put there.
    Ok(mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?)
}

/// A session of its own with stdin as the controlling terminal.
pub fn owns_terminal() -> Result<()> {
    nix::unistd::setsid()?;
    // SAFETY: TIOCSCTTY takes a number.
    checked(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }.into())
}

/// Closes these of its own descriptors.
pub fn closed_standard(fds: impl Iterator<Item = i32>) -> impl FnMut() -> Result<()> + Send + Sync + 'static {
    let fds: Vec<i32> = fds.collect();
    move || {
        for fd in &fds {
            // SAFETY: close takes a number; the forked child that calls this is about to become another program.
            unsafe { libc::close(*fd) };
        }
        Ok(())
    }
}

/// A filter that makes one system call come to an errno, for whoever it is loaded by and all its descendants.
pub fn without_call(call: i64, errno: i32) -> impl FnMut() -> Result<()> + Send + Sync + 'static {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let line = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let mut program = [
        line(LOAD, 0, 0),
        line(EQUAL, call as u32, 1),
        line(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32, 0),
        line(RETURN, libc::SECCOMP_RET_ALLOW, 0),
    ];
    move || {
        let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
        // SAFETY: the pointer is to a live local structure, and that one's to the closure's own array, as long as it says.
        match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter) } {
            0 => Ok(()),
            _ => Err(Error::last_os_error()),
        }
    }
}
