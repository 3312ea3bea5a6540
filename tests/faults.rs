//! What `make faults` once found, one test for each: a system call that fails must be an error, never less isolation than
//! was asked for, and never something that stays. The faults are injected with strace.

mod common;

use std::fs::OpenOptions;

use common::{Bundle, Output, Runtime, json, patience, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The runtime with these words, in which every (or the `when`th) such call comes to an error.
fn with_fault(bundle: &Bundle, fault: &str, words: &[&str]) -> Output {
    let call = fault.split(':').next().unwrap_or_default();
    let script = format!("exec strace -f -qq -o /dev/null -e trace={call} -e inject={fault} \"$@\"");
    bundle.save();
    Runtime::in_shell(&script, bundle, words).run()
}

fn run_with_fault(fault: &str) -> Output {
    let mut bundle = Bundle::new("fault");
    bundle.args(["/probe", "exit", "0"]);
    let base = bundle.text("");
    let id = bundle.id.clone();
    // Dropping the bundle asserts that nothing is left.
    with_fault(&bundle, fault, &["run", "--bundle", &base, &id])
}

#[test]
fn an_id_whose_lock_fails_is_free_again() {
    run_with_fault("flock:error=EAGAIN:when=1").fails(&["flock"]);
}

#[test]
fn a_bounding_set_that_cannot_be_read_is_not_an_empty_one() {
    run_with_fault("prctl:error=EIO:when=3").fails(&["prctl"]);
}

#[test]
fn a_workload_is_never_in_the_session_of_the_caller() {
    run_with_fault("setsid:error=EPERM").fails(&["setsid"]);
}

#[test]
fn signals_that_cannot_be_reset_are_an_error() {
    run_with_fault("rt_sigprocmask:error=EIO").fails(&["sigprocmask"]);
}

#[test]
fn a_container_whose_init_cannot_be_asked_for_is_not_stopped() {
    let mut bundle = Bundle::new("fault-alive");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let id = bundle.id.clone();
    for call in ["pidfd_open:error=EMFILE", "poll:error=ENOMEM:when=2+"] {
        with_fault(&bundle, call, &["state", &id]).fails(&[]);
        with_fault(&bundle, call, &["delete", &id]).fails(&[]);
        assert_eq!(bundle.status(), "running", "{call}");
    }
    bundle.rt(&["delete", "--force", &id]).run().ok();
}

/// `create` has said success by then, or is about to: that must stay true.
#[test]
fn an_init_that_waits_outlives_one_failure() {
    for fault in ["recvmsg:error=ENOMEM:when=2", "accept4:error=ENFILE:when=1"] {
        let mut bundle = Bundle::new("fault-waiting");
        bundle.args(["/probe", "exit", "7"]);
        bundle.save();
        let (call, id, base) = (fault.split(':').next().unwrap_or_default(), bundle.id.clone(), bundle.text(""));
        let script = format!("exec strace -f -qq -o {} -e trace={call} -e inject={fault} \"$@\"", bundle.text("trace"));
        // The tracer stays as long as init.
        let traced = Runtime::in_shell(&script, &bundle, &["create", "--bundle", &base, &id]).spawn();
        bundle.wait_status("created");
        let injected = || std::fs::read_to_string(bundle.path("trace")).ok().filter(|text| text.contains("INJECTED"));
        assert!(wait_until(patience(), injected).is_some(), "{fault} came too late");
        bundle.start().ok();
        bundle.wait_status("stopped");
        bundle.delete().ok();
        traced.wait().ok();
    }
}

/// A success would be a lie: the kernel knows that nobody has read the word.
#[test]
fn a_start_that_init_does_not_live_to_hear_is_an_error() {
    let mut bundle = Bundle::new("fault-unheard");
    bundle.args(["/probe", "exit", "0"]);
    bundle.create().ok();
    let init = Pid::from_raw(bundle.pid() as i32);
    let in_call = |pid: i32, number: i64| {
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        call.starts_with(&format!("{number} ")).then_some(())
    };
    wait_until(patience(), || in_call(init.as_raw(), libc::SYS_accept4)).expect("init waits");
    kill(init, Signal::SIGSTOP).expect("our own container");
    let starting = bundle.rt(&["start", &bundle.id]).spawn();
    wait_until(patience(), || in_call(starting.pid(), libc::SYS_recvmsg)).expect("the word is said");
    kill(init, Signal::SIGKILL).expect("our own container");
    starting.wait().fails(&["cannot start a container that has stopped"]);
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn exec_that_cannot_open_the_cgroup_does_not_run_outside_of_it() {
    let mut bundle = Bundle::new("fault-exec");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let id = bundle.id.clone();
    let output = with_fault(&bundle, "fstatfs:error=EIO", &["exec", &id, "/probe", "exit", "0"]);
    output.fails(&["input/output error"]);
    bundle.rt(&["delete", "--force", &id]).run().ok();
}

#[test]
fn an_answer_that_nobody_gets_is_an_error() {
    let mut bundle = Bundle::new("fault-full");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    let id = bundle.id.clone();
    for words in [vec!["state", &id], vec!["list", "--format", "json"], vec!["ps", "--format", "json", &id]] {
        let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let err = std::fs::File::create(bundle.path("full.err")).expect("a file");
        let output = bundle.rt(&words).spawn_with(full, err).wait();
        assert!(!output.success(), "{words:?}");
    }
    bundle.rt(&["delete", "--force", &id]).run().ok();
}

#[test]
fn a_passwd_file_that_leads_nowhere_is_the_images_own_business() {
    let mut bundle = Bundle::new("fault-home");
    std::fs::remove_file(bundle.path("rootfs/etc/passwd")).expect("the bundle's own file");
    std::os::unix::fs::symlink("/no/such/file", bundle.path("rootfs/etc/passwd")).expect("a link");
    let seen = bundle.fingerprint(&[]);
    assert!(seen["env"].as_array().is_some_and(|env| env.contains(&json!("HOME=/"))), "{}", seen["env"]);
}

#[test]
fn a_foreground_run_that_cannot_watch_its_workload_ends_it() {
    let mut bundle = Bundle::new("fault-watch");
    bundle.args(["/probe", "sleep"]);
    bundle.save();
    let (base, id) = (bundle.text(""), bundle.id.clone());
    // The first poll is Rust's own, and the last of its kind is the one that waits for the workload's end.
    with_fault(&bundle, "poll:error=ENOSPC:when=2+", &["run", "--bundle", &base, &id]).fails(&["poll"]);
}

/// As real root, or where the container has an IPC namespace of its own, the kernel has no reason to refuse: the host's sysfs or
/// message queues in place of new ones would be less isolation than was asked for.
#[test]
fn a_filesystem_that_may_not_be_made_is_the_hosts_only_where_the_plan_has_it() {
    let mounts = |kind: &str, target: &str| {
        json!([{"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
               {"destination": target, "type": kind, "source": kind}])
    };
    for (kind, target, user, hosts) in [
        ("sysfs", "/sys", false, false),
        ("mqueue", "/dev/mqueue", false, false),
        ("mqueue", "/dev/mqueue", true, false),
        ("sysfs", "/sys", true, true),
    ] {
        let mut bundle = Bundle::new("fault-hosts");
        bundle.args(["/probe", "exit", "0"]).set("/mounts", mounts(kind, target));
        bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        if user {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
            bundle.set("/linux/namespaces/-", json!({"type": "user"}));
            bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        }
        bundle.directory("rootfs/sys");
        let (base, id) = (bundle.text(""), bundle.id.clone());
        let plan = bundle.rt(&["explain", &base]);
        bundle.save();
        assert_eq!(plan.run().ok().stdout.contains("or the host's"), hosts, "{kind}, user namespace: {user}");
        let output = with_fault(&bundle, "fsmount:error=EPERM:when=2", &["run", "--bundle", &base, &id]);
        if hosts {
            output.ok();
        } else {
            output.fails(&[target, "operation not permitted"]);
        }
    }
}
