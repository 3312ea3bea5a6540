//! The few calls for which the safe wrappers don't fit: waiting with a deadline, ptrace with raw signal numbers, changing
//! a system call on its way.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::unistd::Pid;

/// What was heard of a child or tracee.
pub enum Stop {
    /// It is gone; the status word of wait(2).
    Ended(i32),
    /// At the entry or the exit of a system call.
    Call,
    /// One of PTRACE_EVENT_*.
    Event(i32),
    /// Before a signal is delivered.
    Signal(i32),
}

/// What waiting came to.
pub enum Heard {
    /// Something happened to this process.
    Stop(i32, Stop),
    /// There is no child or tracee left.
    Nobody,
    /// The time is over.
    Late,
}

const TICK: Duration = Duration::from_millis(50);

extern "C" fn wake(_: libc::c_int) {}

/// A timer interrupts waits from now on, so that they can look at the clock.
pub fn keep_time() {
    let tick = libc::timeval { tv_sec: 0, tv_usec: i64::from(TICK.subsec_micros()) };
    let timer = libc::itimerval { it_interval: tick, it_value: tick };
    // SAFETY: the handler does nothing; without SA_RESTART a wait returns EINTR. All structures are locals that live through
    // the calls, and zero is a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = wake as *const () as usize;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
    }
}

/// How long a command may stand still. On a busy machine a command that waits for a processor doesn't: such time counts
/// up to a limit only, which ends one that runs in a circle.
pub struct Patience {
    left: Duration,
    last: Instant,
}

impl Patience {
    /// This much.
    pub fn of(limit: Duration) -> Patience {
        Patience { left: limit, last: Instant::now() + limit * 12 }
    }

    /// One tick of the timer has passed; whether it was one too many.
    fn tick(&mut self) -> bool {
        if !descendants().into_iter().any(wants_to_run) {
            self.left = self.left.saturating_sub(TICK);
        }
        self.left.is_zero() || Instant::now() > self.last
    }
}

fn wants_to_run(pid: i32) -> bool {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('R'))
}

/// Waits for any child or tracee.
pub fn wait(patience: &mut Patience) -> Heard {
    loop {
        let mut status = 0;
        // SAFETY: waitpid writes one int through the pointer, which is to a live local variable.
        let found = unsafe { libc::waitpid(-1, &mut status, libc::__WALL) };
        if found > 0 {
            return Heard::Stop(found, stop(status));
        }
        match io::Error::last_os_error().raw_os_error() {
            Some(libc::ECHILD) => return Heard::Nobody,
            _ if patience.tick() => return Heard::Late,
            _ => {}
        }
    }
}

fn stop(status: i32) -> Stop {
    if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
        Stop::Ended(status)
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        Stop::Call
    } else if status >> 16 != 0 {
        Stop::Event(status >> 16)
    } else {
        Stop::Signal(libc::WSTOPSIG(status))
    }
}

/// Lets a stopped tracee go on: to its next system call, or until something else happens. ESRCH: it was killed
/// meanwhile, and its end will be heard of.
pub fn resume(pid: i32, calls: bool, signal: i32) {
    let request = if calls { libc::PTRACE_SYSCALL } else { libc::PTRACE_CONT };
    // SAFETY: these requests read and write no memory of ours; address and data are plain numbers.
    unsafe { libc::ptrace(request, pid, 0, signal as libc::c_long) };
}

/// Lets go of a stopped tracee for good.
pub fn detach(pid: i32) {
    // SAFETY: as above.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) };
}

/// The number of the system call a tracee is about to make; None at the end of one.
pub fn entered_call(pid: i32) -> Option<i64> {
    let info = ptrace::syscall_info(Pid::from_raw(pid)).ok()?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the union's `entry` member is the one the kernel filled in, as `op` says.
    Some(unsafe { info.u.entry.nr } as i64)
}

/// At its entry: the call isn't made.
pub fn drop_call(pid: i32) {
    change(pid, |registers| registers.orig_rax = u64::MAX);
}

/// At its exit: this is what it came to.
pub fn answer_call(pid: i32, errno: i32) {
    change(pid, |registers| registers.rax = -i64::from(errno) as u64);
}

fn change(pid: i32, act: impl FnOnce(&mut libc::user_regs_struct)) {
    if let Ok(mut registers) = ptrace::getregs(Pid::from_raw(pid)) {
        act(&mut registers);
        // It may have been killed meanwhile.
        let _ = ptrace::setregs(Pid::from_raw(pid), registers);
    }
}

/// Orphans come to this process.
pub fn adopt_orphans() {
    // SAFETY: this prctl takes numbers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// One processor for tracer and tracees: a stop is then a switch, not a call to the other processor.
pub fn stay_on(cpu: usize) {
    // SAFETY: zero is an empty set; the set outlives the call, whose length is its own.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
    }
}

/// All descendants of this process, children first.
pub fn descendants() -> Vec<i32> {
    let mut found = Vec::new();
    let mut todo = vec![std::process::id() as i32];
    while let Some(pid) = todo.pop() {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<i32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            found.extend(&children);
            todo.extend(children);
        }
    }
    found
}

/// What each descendant waits for, for people: its state, the kernel's function, the system call.
pub fn where_they_stand() -> String {
    let about = |pid: i32| {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let state = read("stat").rsplit_once(") ").map_or(String::new(), |(_, rest)| rest.chars().take(1).collect());
        let call: String = read("syscall").split(' ').take(2).collect::<Vec<_>>().join(" ");
        format!("{pid} {state} {} call {}", read("wchan"), call.trim())
    };
    descendants().into_iter().map(about).collect::<Vec<_>>().join(", ")
}

/// Our own nice value, which those whom we start have too.
pub fn nice() -> i32 {
    // SAFETY: getpriority takes numbers.
    unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) }
}

/// Time that does not fail a healthy run on a busy machine.
pub fn patience() -> Duration {
    let factor = std::env::var("RT_TEST_TIMEOUT_FACTOR").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    Duration::from_secs(5).mul_f64(factor)
}
