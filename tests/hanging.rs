//! What hangs keeps nobody from ending it: hooks that never come back, and a lock that is never given up.

mod common;

use std::fs;

use common::saved::{Saved, counting};
use common::{Bundle, Running, json, patience, wait_until};
use nix::fcntl::{Flock, FlockArg};

/// A container with a hook at this point that says that it is there and then hangs, with a child.
fn with_hanging(name: &str, point: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    bundle.args(["/probe", "sleep"]);
    hang(&mut bundle, point);
    bundle
}

fn hang(bundle: &mut Bundle, point: &str) {
    let script = "#!/bin/sh\necho here > \"$1\"\nsleep 1000 &\nsleep 1000\n";
    let (hook, mark) = match point {
        // In the container there are no paths of the host.
        "startContainer" => {
            bundle.script("rootfs/bin/hang", script);
            ("/bin/hang".to_owned(), "/tmp/mark".to_owned())
        }
        _ => (bundle.script("hang", script).to_str().expect("text").to_owned(), bundle.text("rootfs/tmp/mark")),
    };
    bundle.set(&format!("/hooks/{point}"), json!([{"path": hook, "args": ["hang", mark]}]));
}

/// Waits until the hook hangs.
#[track_caller]
fn hangs(bundle: &Bundle) {
    let there = wait_until(patience(), || fs::metadata(bundle.path("rootfs/tmp/mark")).ok());
    assert!(there.is_some(), "the hook never came");
}

fn starting(bundle: &Bundle) -> Running {
    bundle.create().ok();
    let starting = bundle.rt(&["start", &bundle.id]).spawn();
    hangs(bundle);
    starting
}

#[test]
fn while_a_poststart_hook_hangs_all_verbs_work() {
    let bundle = with_hanging("hangpost", "poststart");
    let id = bundle.id.as_str();
    let starting = starting(&bundle);
    assert_eq!(bundle.status(), "running");
    bundle.rt(&["exec", id, "/bin/true"]).run().ok();
    bundle.rt(&["pause", id]).run().ok();
    bundle.rt(&["resume", id]).run().ok();
    bundle.rt(&["update", "--pids-limit", "99", id]).run().ok();
    bundle.kill("0").ok();
    bundle.rt(&["start", id]).run().fails(&["already running"]);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    // With the container the hook has lost its meaning.
    starting.wait().fails(&["/hooks/poststart/0", "was ended, for the container has ended"]);
    bundle.nothing_left();
}

#[test]
fn delete_force_ends_a_start_that_hangs() {
    for point in ["poststart", "startContainer"] {
        let bundle = with_hanging("hangdel", point);
        let starting = starting(&bundle);
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        starting.wait();
        assert_eq!(bundle.status(), "gone");
        bundle.nothing_left();
    }
}

#[test]
fn what_hangs_in_a_start_container_hook_can_be_killed() {
    let bundle = with_hanging("hangstart", "startContainer");
    let starting = starting(&bundle);
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    starting.wait();
    bundle.delete().ok();
    bundle.nothing_left();
}

#[test]
fn without_a_pid_namespace_what_the_hook_has_left_ends_too() {
    let mut bundle = with_hanging("hangpids", "startContainer");
    bundle.without_namespace("pid");
    let starting = starting(&bundle);
    bundle.kill("KILL").ok();
    starting.wait();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn a_create_that_hangs_is_ended_by_delete_force() {
    for point in ["prestart", "createRuntime", "createContainer"] {
        let bundle = with_hanging("hangmake", point);
        let creating = bundle.create_command().spawn();
        hangs(&bundle);
        assert_eq!(bundle.status(), "creating");
        bundle.kill("KILL").fails(&["cannot signal a container that is still being created"]);
        assert_eq!(bundle.status(), "creating", "a signal has no effect before it is created");
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        assert!(!creating.wait().success(), "{point}");
        assert_eq!(bundle.status(), "gone");
        bundle.nothing_left();
    }
}

#[test]
fn a_run_that_hangs_in_its_hooks_is_ended_too() {
    for point in ["createRuntime", "poststart"] {
        let bundle = with_hanging("hangrun", point);
        let running = bundle.run_command().spawn();
        hangs(&bundle);
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        running.wait().fails(&[&format!("/hooks/{point}/0"), "was ended, for the container has ended"]);
        bundle.nothing_left();
    }
}

#[test]
fn a_poststart_hook_outlives_a_process_that_was_quick() {
    let mut bundle = with_hanging("hangquick", "poststart");
    let script = format!("#!/bin/sh\nsleep 0.5\necho done > {}\n", bundle.text("done"));
    bundle.script("hang", &script);
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    bundle.start().ok();
    assert_eq!(fs::read_to_string(bundle.path("done")).expect("it ran to its end"), "done\n");
    bundle.delete().ok();
}

#[test]
fn a_restore_that_hangs_is_ended_too() {
    need_criu!();
    let mut bundle = counting("hangback", &[]);
    bundle.begin();
    bundle.checkpoint(&[]).ok();
    hang(&mut bundle, "createRuntime");
    let restoring = bundle.restore_command(&["--detach"]).spawn();
    hangs(&bundle);
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    restoring.wait().fails(&["/hooks/createRuntime/0", "was ended, for the container has ended"]);
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
}

#[test]
fn a_lock_that_is_never_given_up_keeps_nobody_from_killing() {
    let mut bundle = Bundle::new("hanglock");
    let script = "trap 'echo heard >> /tmp/heard' USR1; while :; do sleep 0.05; done";
    bundle.args(["/bin/sh", "-c", &format!("({script}) & {script}")]);
    bundle.create().ok();
    bundle.start().ok();
    let processes = || bundle.rt(&["ps", "--format", "json", &bundle.id]).run().ok().json();
    wait_until(patience(), || (processes().as_array()?.len() == 4).then_some(()))
        .expect("two shells and what they wait for");
    let directory = fs::File::open(bundle.state_root().join(&bundle.id)).expect("its state");
    let lock = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, errno)| errno).expect("a lock");
    bundle.kill("0").ok();
    bundle.rt(&["kill", "--all", &bundle.id, "0"]).run().ok();
    bundle.rt(&["kill", "--all", &bundle.id, "USR1"]).run().ok();
    let heard = || fs::read_to_string(bundle.path("rootfs/tmp/heard")).unwrap_or_default().lines().count();
    assert!(wait_until(patience(), || (heard() == 2).then_some(())).is_some(), "{} of 2 have heard it", heard());
    let fails = bundle.rt(&["delete", "--force", &bundle.id]).run();
    fails.fails(&["another rt is at work on the container"]);
    assert_eq!(bundle.status(), "stopped", "ended it has all the same");
    drop(lock);
    bundle.delete().ok();
    bundle.nothing_left();
}
