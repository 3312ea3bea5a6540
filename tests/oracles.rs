//! The oracles themselves: each must go red on a planted leak, or the green of all other tests means nothing.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use common::{Bundle, Canary, Machine, Running, Runtime, cgroups, children, json, machine, patience, wait_until};

/// Asserts that the bundle's leaks are exactly one, of this kind; then that cleaning takes it away.
fn seen_and_cleaned(bundle: &Bundle, kind: &str) {
    let leaks = bundle.leaks();
    assert!(!leaks.is_empty(), "the planted {kind} was not seen");
    assert!(leaks.iter().all(|leak| leak.starts_with(kind)), "{leaks:?}");
    Machine::now().clean(&bundle.marks());
}

#[test]
fn a_clean_machine_has_no_leaks() {
    assert_eq!(Bundle::new("clean").leaks(), Vec::<String>::new());
}

#[test]
fn a_process_that_stays_is_seen_by_its_environment() {
    let bundle = Bundle::new("process");
    let mut child = children::spawn(sleeper().env("RT_TEST_ID", &bundle.id)).expect("a process");
    seen_and_cleaned(&bundle, "process");
    child.wait().expect("our own child");
    bundle.nothing_left();
}

#[test]
fn a_process_that_stays_is_seen_by_its_cgroup() {
    let bundle = Bundle::new("process-cgroup");
    let directory = cgroups::hierarchies()[0].mount.join(&bundle.id);
    fs::create_dir(&directory).expect("a cgroup");
    let mut child = children::spawn(&mut sleeper()).expect("a process");
    fs::write(directory.join("cgroup.procs"), child.id().to_string()).expect("attach");
    assert_eq!(machine::processes(&bundle.id), [child.id() as i32]);
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    seen_and_cleaned(&bundle, "cgroup");
    bundle.nothing_left();
}

#[test]
fn the_process_of_another_test_is_not_ours() {
    let (bundle, other) = (Bundle::new("mine"), Bundle::new("other"));
    let mut child = children::spawn(sleeper().env("RT_TEST_ID", &other.id)).expect("a process");
    assert_eq!(machine::processes(&bundle.id), Vec::<i32>::new());
    child.kill().expect("our own child");
    child.wait().expect("our own child");
}

#[test]
fn a_cgroup_that_stays_is_seen_in_every_hierarchy() {
    for hierarchy in cgroups::hierarchies() {
        let bundle = Bundle::new("cgroup");
        let directory = hierarchy.mount.join(&bundle.id);
        fs::create_dir_all(directory.join("below")).expect("a cgroup");
        assert_eq!(bundle.leaks().len(), 2, "{} and its child", directory.display());
        seen_and_cleaned(&bundle, "cgroup");
        bundle.nothing_left();
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a thread of its own may have a mount namespace of its own")]
fn a_mount_that_stays_is_seen() {
    // The mount is made in a private mount namespace, which this test then looks at from inside.
    let bundle = Bundle::new("mount");
    let target = bundle.path("rootfs/mnt");
    let seen = std::thread::scope(|scope| {
        let looks = scope.spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS | nix::sched::CloneFlags::CLONE_NEWNS)
                .expect("unshare");
            let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
            nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).expect("private");
            let none = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("none"), &target, Some("tmpfs"), none, None::<&str>).expect("mount");
            // The oracle reads /proc/self, which is the main thread; here the thread's own table is needed.
            fs::read_to_string("/proc/thread-self/mountinfo").expect("mountinfo")
        });
        looks.join().expect("no panic")
    });
    let leaks = machine::new_mounts(&Machine::now(), &seen, &bundle.marks());
    assert_eq!(leaks.len(), 1, "{leaks:?}");
}

#[test]
fn state_that_stays_is_seen() {
    let bundle = Bundle::new("state");
    bundle.write(&format!("state/{}", bundle.id), "x");
    seen_and_cleaned(&bundle, "state");
    fs::remove_file(bundle.state_root().join(&bundle.id)).expect("the planted file");
    bundle.nothing_left();
}

#[test]
fn a_temporary_file_that_stays_is_seen() {
    let bundle = Bundle::new("temporary");
    let planted = std::env::temp_dir().join(format!("left-by-{}", bundle.id));
    fs::write(&planted, "x").expect("a file");
    let leaks = bundle.leaks();
    fs::remove_file(&planted).expect("the planted file");
    assert_eq!(leaks, [format!("temporary file {}", planted.display())]);
}

#[test]
fn a_bundle_that_leaves_something_panics_when_dropped() {
    let bundle = Bundle::new("drop");
    let directory = cgroups::hierarchies()[0].mount.join(&bundle.id);
    fs::create_dir(&directory).expect("a cgroup");
    let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || drop(bundle)));
    assert!(dropped.is_err(), "dropping did not complain");
    assert!(fs::metadata(&directory).is_err(), "dropping did not clean up");
}

#[test]
fn every_change_of_the_canary_is_seen() {
    type Change = (&'static str, fn(&std::path::Path));
    let changes: [Change; 9] = [
        ("content of the same length", |root| fs::write(root.join("secret"), "UNtouched\n").unwrap()),
        ("a rewrite with the same content", |root| fs::write(root.join("secret"), "untouched\n").unwrap()),
        ("mode", |root| fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o600)).unwrap()),
        ("owner", |root| std::os::unix::fs::chown(root.join("secret"), Some(1), None).unwrap()),
        ("a new file", |root| fs::write(root.join("sub/new"), "").unwrap()),
        ("a file gone", |root| fs::remove_file(root.join("ptmx")).unwrap()),
        ("type", |root| {
            fs::remove_file(root.join("fd")).unwrap();
            fs::create_dir(root.join("fd")).unwrap();
        }),
        ("link target", |root| {
            fs::remove_file(root.join("link")).unwrap();
            symlink("sub", root.join("link")).unwrap();
        }),
        ("a hard link to it", |root| {
            fs::hard_link(root.join("secret"), root.parent().unwrap().join("stolen")).unwrap()
        }),
    ];
    for (name, change) in changes {
        let directory = tempfile::tempdir().expect("a directory");
        let canary = Canary::plant(&directory.path().join("canary"));
        canary.untouched();
        std::thread::sleep(std::time::Duration::from_millis(10)); // the file system's clock ticks every 4 ms
        change(canary.root());
        assert!(!canary.changes().is_empty(), "not seen: {name}");
    }
}

#[test]
fn a_pointer_sets_what_it_says() {
    let mut bundle = Bundle::new("pointer");
    bundle.set("/linux/resources/memory/limit", json!(1)).set("/process/env/-", json!("A=B"));
    assert_eq!(bundle.config["linux"]["resources"], json!({"memory": {"limit": 1}}));
    assert_eq!(bundle.config["process"]["env"].as_array().unwrap().last(), Some(&json!("A=B")));
    bundle.remove("/linux/resources");
    assert!(bundle.config["linux"].get("resources").is_none());
}

#[test]
fn an_invocation_that_hangs_is_killed_and_named() {
    // A program that never ends in the runtime's place.
    let bundle = Bundle::new("hang");
    let program = bundle.script("hang", "#!/bin/sh\nexec sleep 1000\n");
    let running: Running = Runtime::with_program(&program, &bundle, &["state"]).env("PATH", "/bin:/usr/bin").spawn();
    // It is seen by its command line, which it has some time after it was born.
    let named = || Some(machine::stuck(&bundle.id)).filter(|text| text.contains("hang") || text.contains("sleep"));
    let text = wait_until(patience(), named);
    running.signal(nix::sys::signal::Signal::SIGKILL);
    assert!(running.wait().code().is_none());
    assert!(text.is_some(), "nobody saw it");
}

fn sleeper() -> Command {
    let mut command = Command::new("/bin/sleep");
    command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null());
    command
}
