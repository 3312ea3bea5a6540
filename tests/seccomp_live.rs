//! The compiled filters in the running kernel: a child installs one (with no_new_privs, so no root is needed), makes
//! calls, and reports what came back. Linux as the last oracle.
#![allow(unsafe_code)] // the child of a fork calls the kernel directly

mod common;
mod seccomp_support;

use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd;
use std::time::Instant;

use rt::seccomp::{Profile, compile};
use rt::sys::Errno;
use rt::sys::seccomp::{Flags, Instruction, install};
use seccomp_support::lowered;
use seccomp_support::model::Reading;
use seccomp_support::oracle::{Filter, Options};
use seccomp_support::profiles::{DOCKER_CAPS, docker};
use serde_json::{Value, json};

/// How a child ended.
#[derive(Debug, PartialEq)]
enum End {
    Exit(i32),
    Signal(i32),
}

/// Runs `act` in a child, which must not return from it other than by a small number.
fn in_child(act: impl FnOnce() -> i32) -> End {
    // SAFETY: the child of a multi-threaded test may only make async-signal-safe calls: what the tests below do after
    // the fork is system calls, without allocation; it leaves by _exit.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", Errno::last()),
        0 => {
            let code = act();
            // SAFETY: exit_group by hand: nothing of the parent's is flushed or torn down.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let mut status = 0;
            // SAFETY: waits for the child just made and writes to a local.
            assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
            match libc::WIFSIGNALED(status) {
                true => End::Signal(libc::WTERMSIG(status)),
                false => End::Exit(libc::WEXITSTATUS(status)),
            }
        }
    }
}

/// Runs `act` under the filter of `profile`.
fn under(profile: &Profile, act: impl FnOnce() -> i32) -> End {
    let program = compile(profile).expect("a program");
    in_child(|| {
        // SAFETY: plain numbers; only this child is concerned.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        match install(program.instructions(), profile.flags) {
            Ok(None) => act(),
            _ => 99,
        }
    })
}

/// The errno of a system call, or 0.
fn errno_of(number: i64, args: [u64; 3]) -> i32 {
    // SAFETY: the tests give numbers, or null pointers that the kernel refuses.
    match unsafe { libc::syscall(number, args[0], args[1], args[2], 0, 0, 0) } {
        -1 => Errno::last_raw(),
        _ => 0,
    }
}

fn allow_but(entries: Value) -> Profile {
    lowered(&json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": entries}))
}

#[test]
fn errno_and_its_number() {
    let profile = allow_but(json!([
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["getsid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77},
        {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0},
    ]));
    assert_eq!(under(&profile, || errno_of(libc::SYS_getppid, [0; 3])), End::Exit(libc::EPERM));
    assert_eq!(under(&profile, || errno_of(libc::SYS_getsid, [0; 3])), End::Exit(77));
    assert_eq!(under(&profile, || errno_of(libc::SYS_getpgid, [u64::MAX, 0, 0])), End::Exit(0));
    assert_eq!(under(&profile, || errno_of(libc::SYS_getuid, [0; 3])), End::Exit(0));
}

#[test]
fn the_killing_actions_and_trap_end_in_sigsys() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let profile = allow_but(json!([{"names": ["getppid"], "action": action}]));
        assert_eq!(under(&profile, || errno_of(libc::SYS_getppid, [0; 3])), End::Signal(libc::SIGSYS), "{action}");
    }
}

#[test]
fn trace_without_a_tracer_is_enosys_and_log_lets_through() {
    let profile = allow_but(json!([
        {"names": ["getppid"], "action": "SCMP_ACT_TRACE"},
        {"names": ["getsid"], "action": "SCMP_ACT_LOG"},
    ]));
    assert_eq!(under(&profile, || errno_of(libc::SYS_getppid, [0; 3])), End::Exit(libc::ENOSYS));
    assert_eq!(under(&profile, || errno_of(libc::SYS_getsid, [0; 3])), End::Exit(0));
}

#[test]
fn arguments_are_compared_with_all_their_bits() {
    let profile = allow_but(json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77, "args": [
        {"index": 1, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_GE"},
        {"index": 2, "value": 0xff00, "valueTwo": 0x1200, "op": "SCMP_CMP_MASKED_EQ"},
    ]}]));
    let call = |who: u64, third: u64| under(&profile, || errno_of(libc::SYS_getpriority, [0, who, third]));
    assert_eq!(call(0x1_0000_0005, 0x3412ff), End::Exit(77));
    assert_eq!(call(0x2_0000_0000, 0x1200), End::Exit(77));
    assert_ne!(call(0x1_0000_0004, 0x1200), End::Exit(77));
    assert_ne!(call(0xffff_ffff, 0x1200), End::Exit(77));
    assert_ne!(call(0x2_0000_0000, 0x1300), End::Exit(77));
}

#[test]
fn dockers_profile_runs_a_process_and_tells_newer_calls_from_forbidden_ones() {
    let profile = lowered(&docker(&DOCKER_CAPS));
    let newest = profile.sections[0].newest.expect("an ERRNO default");
    assert_eq!(under(&profile, || errno_of(libc::SYS_getppid, [0; 3])), End::Exit(0));
    assert_eq!(under(&profile, || errno_of(libc::SYS_swapon, [0; 3])), End::Exit(libc::EPERM));
    assert_eq!(under(&profile, || errno_of(libc::SYS_clone3, [0; 3])), End::Exit(libc::ENOSYS));
    assert_eq!(under(&profile, || errno_of(libc::SYS_personality, [8, 0, 0])), End::Exit(0));
    assert_eq!(under(&profile, || errno_of(libc::SYS_personality, [4, 0, 0])), End::Exit(libc::EPERM));
    assert_eq!(under(&profile, || errno_of(i64::from(newest) + 1, [0; 3])), End::Exit(libc::ENOSYS));
    assert_eq!(under(&profile, || errno_of(100_000, [0; 3])), End::Exit(libc::ENOSYS));
}

#[test]
#[cfg(target_arch = "x86_64")]
fn an_unlisted_abi_kills() {
    let profile = allow_but(json!([]));
    // getpid by the x32 number, and getpid by the i386 gate.
    assert_eq!(under(&profile, || errno_of(0x4000_0000 | libc::SYS_getpid, [0; 3])), End::Signal(libc::SIGSYS));
    if common::kernel::user_mode_linux() {
        return common::skipped("user-mode Linux takes the i386 gate for its own, of one ABI");
    }
    let i386 = || {
        let result: i32;
        // SAFETY: int 0x80 with eax = 20 is i386's getpid: no memory is touched, only eax changes.
        unsafe { std::arch::asm!("int 0x80", inlateout("eax") 20 => result, options(nostack)) };
        i32::from(result <= 0)
    };
    assert_eq!(under(&profile, i386), End::Signal(libc::SIGSYS));
    let both = lowered(&json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}));
    assert_eq!(under(&both, i386), End::Exit(0));
}

#[test]
fn every_flag_is_taken_and_notify_gives_a_listener() {
    let mut section = json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]});
    assert_eq!(under(&lowered(&section), || 0), End::Exit(0));

    section["syscalls"] = json!([{"names": ["getppid"], "action": "SCMP_ACT_NOTIFY"}]);
    section["listenerPath"] = json!("/run/nobody.sock");
    let profile = lowered(&section);
    let program = compile(&profile).expect("a program");
    let end = in_child(|| {
        // SAFETY: plain numbers; only this child is concerned.
        unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
        let Ok(Some(listener)) = install(program.instructions(), profile.flags) else { return 1 };
        // SAFETY: asks about a descriptor that we own.
        let flags = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_GETFD) };
        i32::from(flags != libc::FD_CLOEXEC)
    });
    assert_eq!(end, End::Exit(0));
}

#[test]
fn without_no_new_privs_and_without_privilege_the_kernel_refuses_and_we_say_so() {
    let program = compile(&allow_but(json!([]))).expect("a program");
    let end = in_child(|| {
        // SAFETY: gives up all ids of this child; as root it also gives up CAP_SYS_ADMIN. Fails harmlessly otherwise.
        unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        match install(program.instructions(), Default::default()) {
            Err(e) if e.errno == Errno::EACCES => 0,
            _ => 1,
        }
    });
    assert_eq!(end, End::Exit(0));
}

/// How long the kernel takes to check, translate and attach a program, in nanoseconds: the middle of many children.
fn load_time(program: &[Instruction]) -> u64 {
    let once = || {
        let (mut from, to) = std::io::pipe().expect("a pipe");
        let end = in_child(|| {
            // SAFETY: plain numbers; only this child is concerned.
            unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            let start = Instant::now();
            let installed = install(program, Flags { asked: Flags::SPEC_ALLOW, wished: 0 });
            // Neither profile forbids what reading the clock and writing to the pipe take.
            let took = (start.elapsed().as_nanos() as u64).to_ne_bytes();
            i32::from(installed.is_err() || (&to).write(&took).is_err())
        });
        assert_eq!(end, End::Exit(0));
        let mut took = [0; 8];
        from.read_exact(&mut took).expect("a time");
        u64::from_ne_bytes(took)
    };
    let mut times: Vec<_> = (0..51).map(|_| once()).collect();
    times.sort_unstable();
    times[times.len() / 2]
}

/// Printed, not asserted: the benchmarks judge.
#[test]
fn loading_dockers_profile_beside_libseccomps() {
    let section = docker(&DOCKER_CAPS);
    let ours = compile(&lowered(&section)).expect("a program");
    let theirs = |tree| Filter::of(&Reading::of(&section), Options { foreign: None, tree, elsewhere: false });
    let (list, tree) = (theirs(false), theirs(true));
    for (whose, program) in
        [("rt", ours.instructions()), ("libseccomp, list", list.program()), ("libseccomp, tree", tree.program())]
    {
        println!("{whose}: {} instructions, loaded in {} us", program.len(), load_time(program) / 1000);
    }
}
