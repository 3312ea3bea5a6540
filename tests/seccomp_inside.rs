//! Seccomp from inside: the filter is there, does what the profile says, and comes last.

mod common;

use common::{Bundle, json};
use serde_json::Value;

/// The number of a system call on this machine, as text.
macro_rules! nr {
    ($name:ident) => {
        libc::$name.to_string()
    };
}

/// Runs `probe syscall` with these calls and gives the answers.
fn answers(bundle: &mut Bundle, calls: &[String]) -> Vec<String> {
    let words: Vec<&str> = ["/probe", "syscall"].into_iter().chain(calls.iter().map(String::as_str)).collect();
    bundle.set("/process/args", json!(words));
    bundle.run().ok().stdout.lines().map(str::to_owned).collect()
}

fn profile(default: &str, rules: Value) -> Value {
    json!({"defaultAction": default, "architectures": [native()], "syscalls": rules})
}

fn native() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "SCMP_ARCH_X86_64",
        "aarch64" => "SCMP_ARCH_AARCH64",
        other => panic!("name the seccomp architecture of {other}"),
    }
}

#[test]
fn without_a_profile_there_is_no_filter() {
    let mut bundle = Bundle::new("none");
    let seen = bundle.fingerprint(&[]);
    assert_eq!([&seen["seccomp"], &seen["seccomp_filters"]], [0, 0]);
}

#[test]
fn a_profile_is_one_filter() {
    let mut bundle = Bundle::new("one");
    let rule = json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule));
    let seen = bundle.fingerprint(&[]);
    assert_eq!([&seen["seccomp"], &seen["seccomp_filters"]], [2, 1]);
}

#[test]
fn errno_is_eperm_or_what_the_rule_says() {
    let mut bundle = Bundle::new("errno");
    let rules = json!([
        {"names": ["acct"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["getcwd", "chroot"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18},
        {"names": ["no_such_call_anywhere"], "action": "SCMP_ACT_ERRNO"}
    ]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rules));
    let calls = [nr!(SYS_acct), nr!(SYS_getcwd), nr!(SYS_chroot), nr!(SYS_getpid)];
    assert_eq!(answers(&mut bundle, &calls), ["EPERM", "EXDEV", "EXDEV", "1"]);
}

#[test]
fn arguments_are_compared_as_64_bits_with_every_operator() {
    let mut bundle = Bundle::new("operators");
    // One rule for each operator on the first argument of a call that answers ENOSYS-free and harmlessly: setpriority
    // with a bad class is EINVAL, so EXDEV shows that the rule matched.
    let rule = |call: &str, op: &str, value: u64, two: u64| {
        json!({"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": 18,
               "args": [{"index": 0, "value": value, "valueTwo": two, "op": op}]})
    };
    let rules = json!([
        rule("setpriority", "SCMP_CMP_EQ", 0x1_0000_0001, 0),
        rule("getpriority", "SCMP_CMP_GT", 0x1_0000_0000, 0),
        rule("ioprio_get", "SCMP_CMP_MASKED_EQ", 0xf0, 0x50),
        rule("sched_getscheduler", "SCMP_CMP_LT", 5, 0),
        rule("sched_getparam", "SCMP_CMP_GE", 0x2_0000_0000, 0),
        rule("capget", "SCMP_CMP_NE", 0, 0),
        rule("sched_get_priority_max", "SCMP_CMP_LE", 77, 0)
    ]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rules));
    let rows: Vec<(String, bool)> = vec![
        (format!("{},0x100000001", nr!(SYS_setpriority)), true),
        (format!("{},0x1", nr!(SYS_setpriority)), false),
        (format!("{},0x100000001", nr!(SYS_getpriority)), true),
        (format!("{},0x100000000", nr!(SYS_getpriority)), false),
        (format!("{},0xffffffff", nr!(SYS_getpriority)), false),
        (format!("{},0x5f", nr!(SYS_ioprio_get)), true),
        (format!("{},0x6f", nr!(SYS_ioprio_get)), false),
        (format!("{},4", nr!(SYS_sched_getscheduler)), true),
        (format!("{},99999999", nr!(SYS_sched_getscheduler)), false),
        (format!("{},0x200000000", nr!(SYS_sched_getparam)), true),
        (format!("{},0x1ffffffff", nr!(SYS_sched_getparam)), false),
        (format!("{},1", nr!(SYS_capget)), true),
        (format!("{},0", nr!(SYS_capget)), false),
        (format!("{},77", nr!(SYS_sched_get_priority_max)), true),
        (format!("{},78", nr!(SYS_sched_get_priority_max)), false),
    ];
    let calls: Vec<String> = rows.iter().map(|row| row.0.clone()).collect();
    let answers = answers(&mut bundle, &calls);
    for ((call, matched), answer) in rows.iter().zip(&answers) {
        assert_eq!(answer == "EXDEV", *matched, "{call}: {answer}");
    }
}

#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let mut bundle = Bundle::new("and");
    let rule = json!([{"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18, "args": [
        {"index": 0, "value": 9, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 8, "op": "SCMP_CMP_EQ"}]}]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule));
    let call = |text: &str| format!("{},{text}", nr!(SYS_getpriority));
    let calls = [call("9,8"), call("9,7"), call("7,8")];
    assert_eq!(answers(&mut bundle, &calls), ["EXDEV", "EINVAL", "EINVAL"]);
}

#[test]
fn a_killed_call_ends_the_process_with_sigsys() {
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        let mut bundle = Bundle::new("kill");
        bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", json!([{"names": ["acct"], "action": action}])));
        bundle.set("/process/args", json!(["/probe", "syscall", nr!(SYS_acct)]));
        bundle.run().exits(128 + libc::SIGSYS);
    }
}

#[test]
fn log_allows_and_trace_without_a_tracer_is_enosys() {
    let mut bundle = Bundle::new("log");
    let rules =
        json!([{"names": ["getppid"], "action": "SCMP_ACT_LOG"}, {"names": ["getuid"], "action": "SCMP_ACT_TRACE"}]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rules));
    assert_eq!(answers(&mut bundle, &[nr!(SYS_getppid), nr!(SYS_getuid)]), ["0", "ENOSYS"]);
}

/// What a Rust program, and this probe, need to start and print.
const NEEDED: &[&str] = &[
    "execve",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "arch_prctl",
    "prctl",
    "set_tid_address",
    "set_robust_list",
    "rseq",
    "prlimit64",
    "readlink",
    "readlinkat",
    "getrandom",
    "poll",
    "ppoll",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
    "rt_sigreturn",
    "write",
    "writev",
    "read",
    "open",
    "openat",
    "close",
    "fstat",
    "newfstatat",
    "lseek",
    "exit",
    "exit_group",
    "futex",
    "sched_getaffinity",
    "getpid",
    "gettid",
    "tgkill",
    "uname",
    "fcntl",
    "statx",
];

#[test]
fn a_default_of_errno_denies_what_is_not_listed() {
    let mut bundle = Bundle::new("deny");
    let mut seccomp = profile("SCMP_ACT_ERRNO", json!([{"names": NEEDED, "action": "SCMP_ACT_ALLOW"}]));
    bundle.set("/linux/seccomp", seccomp.clone());
    let calls = [nr!(SYS_acct), nr!(SYS_getcwd), nr!(SYS_getpid)];
    assert_eq!(answers(&mut bundle, &calls), ["EPERM", "EPERM", "1"]);
    seccomp["defaultErrnoRet"] = json!(18);
    bundle.set("/linux/seccomp", seccomp);
    assert_eq!(answers(&mut bundle, &calls), ["EXDEV", "EXDEV", "1"]);
}

#[test]
fn a_call_newer_than_the_profile_is_enosys_and_not_eperm() {
    let mut bundle = Bundle::new("newer");
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ERRNO", json!([{"names": NEEDED, "action": "SCMP_ACT_ALLOW"}])));
    // C libraries probe for new calls and fall back only on ENOSYS.
    assert_eq!(answers(&mut bundle, &["1000".into(), nr!(SYS_acct)]), ["ENOSYS", "EPERM"]);
}

#[test]
fn the_filter_comes_last_so_a_profile_may_deny_what_the_runtime_needs() {
    for privileges in [true, false] {
        let mut bundle = Bundle::new("last");
        let denied = [
            "getcwd",
            "chdir",
            "fchdir",
            "setresuid",
            "setresgid",
            "setgroups",
            "close_range",
            "umask",
            "mount",
            "prctl",
            "setsid",
            "rt_sigprocmask",
            "rt_sigaction",
            "sendmsg",
            "recvmsg",
            "clone",
            "clone3",
        ];
        let rules = json!([{"names": denied, "action": "SCMP_ACT_ERRNO", "errnoRet": 18}]);
        bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rules));
        bundle.set("/process/noNewPrivileges", json!(privileges));
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000, "umask": 18}));
        let calls = [nr!(SYS_getcwd), nr!(SYS_setsid), nr!(SYS_umask)];
        assert_eq!(answers(&mut bundle, &calls), ["EXDEV", "EXDEV", "EXDEV"], "noNewPrivileges {privileges}");
    }
}

#[test]
fn a_filter_without_no_new_privileges_leaves_the_capabilities_exact() {
    let mut bundle = Bundle::new("caps");
    let rule = json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule)).set("/process/noNewPrivileges", json!(false));
    let seen = bundle.fingerprint(&[]);
    assert_eq!(seen["no_new_privs"], false);
    assert_eq!(seen["seccomp"], 2);
    for set in ["effective", "permitted", "bounding"] {
        let mut names = common::texts(&seen["caps"][set]);
        names.sort();
        assert_eq!(names, common::config::CAPABILITIES, "{set}");
    }
}

#[test]
fn a_rule_equal_to_the_default_changes_nothing() {
    let mut bundle = Bundle::new("equal");
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", json!([{"names": ["acct"], "action": "SCMP_ACT_ALLOW"}])));
    let answer = answers(&mut bundle, &[nr!(SYS_getpid)]);
    assert_eq!(answer, ["1"]);
}

#[test]
fn known_flags_are_accepted() {
    for flags in [
        json!([]),
        json!(["SECCOMP_FILTER_FLAG_LOG"]),
        json!(["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]),
    ] {
        let mut bundle = Bundle::new("flags");
        let mut seccomp = profile("SCMP_ACT_ALLOW", json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO"}]));
        seccomp["flags"] = flags;
        bundle.set("/linux/seccomp", seccomp);
        assert_eq!(answers(&mut bundle, &[nr!(SYS_acct)]), ["EPERM"]);
    }
}

#[test]
fn the_x32_way_round_is_closed() {
    if std::env::consts::ARCH != "x86_64" {
        skip!("x32 is a matter of x86_64");
    }
    let mut bundle = Bundle::new("x32");
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", json!([{"names": ["getpid"], "action": "SCMP_ACT_ERRNO"}])));
    let number = libc::SYS_getpid | 0x4000_0000;
    bundle.set("/process/args", json!(["/probe", "syscall", number.to_string()]));
    let output = bundle.run();
    assert!(output.code() == Some(128 + libc::SIGSYS) || output.stdout != "1\n", "{output:?}");
}

#[test]
fn seccomp_works_in_a_user_namespace() {
    let mut bundle = Bundle::new("userns");
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    let rule = json!([{"names": ["acct"], "action": "SCMP_ACT_ERRNO", "errnoRet": 18}]);
    bundle.set("/linux/seccomp", profile("SCMP_ACT_ALLOW", rule)).set("/process/noNewPrivileges", json!(false));
    assert_eq!(answers(&mut bundle, &[nr!(SYS_acct)]), ["EXDEV"]);
}
