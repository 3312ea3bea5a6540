//! The names of the system calls we make, small enough to cross the fork as a number.

macro_rules! calls {
    ($($variant:ident = $name:literal,)*) => {
        /// A system call, or a family of it, as errors and timings name it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Call { $(#[doc = $name] $variant,)* }

        impl Call {
            const ALL: &[(Call, &'static str)] = &[$((Call::$variant, $name),)*];

            /// The name as in the manual.
            pub fn name(self) -> &'static str { Self::ALL[self as usize].1 }

            /// The call with this number, if there is one.
            pub fn from_number(number: u16) -> Option<Call> { Self::ALL.get(usize::from(number)).map(|c| c.0) }
        }
    };
}

calls! {
    Accept = "accept4",
    Bind = "bind",
    Bpf = "bpf",
    Capset = "capset",
    Chdir = "chdir",
    Chmod = "fchmodat",
    Chown = "fchownat",
    Chroot = "chroot",
    Clone = "clone3",
    CloseRange = "close_range",
    Connect = "connect",
    Eventfd = "eventfd2",
    Execve = "execve",
    Fcntl = "fcntl",
    Flock = "flock",
    Fsconfig = "fsconfig",
    Fsmount = "fsmount",
    Fsopen = "fsopen",
    Fstat = "fstat",
    Getcwd = "getcwd",
    Getdents = "getdents64",
    Ioctl = "ioctl",
    Ioprio = "ioprio_set",
    Keyctl = "keyctl",
    Kill = "kill",
    Link = "linkat",
    Listen = "listen",
    Memfd = "memfd_create",
    Mkdir = "mkdirat",
    Mknod = "mknodat",
    Mount = "mount",
    MountSetattr = "mount_setattr",
    MoveMount = "move_mount",
    Netlink = "netlink",
    Open = "openat2",
    OpenTree = "open_tree",
    Openat = "openat",
    Personality = "personality",
    PidfdOpen = "pidfd_open",
    PidfdSignal = "pidfd_send_signal",
    PivotRoot = "pivot_root",
    Poll = "poll",
    Prctl = "prctl",
    Prlimit = "prlimit",
    Read = "read",
    Readlink = "readlinkat",
    Recv = "recvmsg",
    Rename = "renameat2",
    Rmdir = "rmdir",
    SchedAffinity = "sched_setaffinity",
    SchedSetattr = "sched_setattr",
    Seccomp = "seccomp",
    Send = "sendmsg",
    SetMempolicy = "set_mempolicy",
    Setdomainname = "setdomainname",
    Setgid = "setresgid",
    Setgroups = "setgroups",
    Sethostname = "sethostname",
    Setns = "setns",
    Setsid = "setsid",
    Setuid = "setresuid",
    Setxattr = "fsetxattr",
    Sigaction = "rt_sigaction",
    Sigprocmask = "rt_sigprocmask",
    Socket = "socket",
    Socketpair = "socketpair",
    Stat = "statx",
    Symlink = "symlinkat",
    Umask = "umask",
    Umount = "umount2",
    Unlink = "unlinkat",
    Unshare = "unshare",
    Wait = "waitid",
    Write = "write",
}
