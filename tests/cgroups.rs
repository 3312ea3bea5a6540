//! Cgroups on the real kernel: child cgroups of every tree of this host are made, used and removed. Needs root.
//!
//! What only one kind of hierarchy has is asserted where it is there, and said when it is not.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod common;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use oci_spec::runtime::Spec;
use rt::cgroups::{Cgroup, Lowered, Op, Place, Placement, Purpose, Version, lower, lower_resources, probe};
use rt::facts::Facts;
use rt::step::Step;
use rt::sys::process::{self, Birth, Born, Ended};
use serde_json::{Value, json};

const KILL: i32 = 9;
const TERM: i32 = 15;

/// One test at a time: a child that is forked without exec must not find a lock of another test taken.
static TURN: Mutex<()> = Mutex::new(());

/// A container's cgroup under a name of its own, killed and removed when the test ends, however it ends.
struct Sandbox {
    lowered: Lowered,
    path: String,
    _turn: MutexGuard<'static, ()>,
}

impl Sandbox {
    fn new(name: &str, resources: Value) -> Sandbox {
        Self::on(name, resources, facts())
    }

    fn on(name: &str, resources: Value, facts: Facts) -> Sandbox {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(nix::unistd::geteuid().is_root(), "this test makes cgroups: run it as root");
        let path = format!("/rt-test-{}/{name}", std::process::id());
        let lowered = lowered(&path, resources, &facts);
        assert!(lowered.placement.trees.iter().all(|t| !there(t.dir())), "left by an earlier run");
        Sandbox { lowered, path, _turn: turn }
    }

    fn create(&mut self) -> Cgroup {
        let mut cgroup = Cgroup::prepare(&self.lowered.placement).unwrap();
        for step in &self.lowered.prepare {
            cgroup.apply(step).unwrap_or_else(|e| panic!("{}: {}: {e}", step.origin, step.op));
        }
        self.lowered.placement = cgroup.placement();
        cgroup
    }

    fn placement(&self) -> &Placement {
        &self.lowered.placement
    }

    /// The value of a control file in the tree where it is.
    fn file(&self, name: &str) -> Option<String> {
        self.placement().trees.iter().find_map(|t| fs::read_to_string(format!("{}/{name}", t.dir())).ok())
    }

    fn v1(&self, controller: &str) -> Option<String> {
        self.placement().trees.iter().find(|t| is_v1(t, controller)).map(Place::dir)
    }

    fn left(&self) -> Vec<String> {
        let top = format!("/{}", self.path.split('/').nth(1).unwrap());
        let trees = self.placement().trees.iter();
        trees.map(|t| format!("{}{top}", t.mountpoint)).filter(|dir| there(dir)).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Ok(cgroup) = Cgroup::open(&self.lowered.placement) {
            let _ = cgroup.kill_all(KILL);
        }
        let _ = Cgroup::destroy(&self.lowered.placement);
        for dir in self.left() {
            for child in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(child.path());
            }
            let _ = fs::remove_dir(dir);
        }
    }
}

fn is_v1(place: &Place, controller: &str) -> bool {
    place.version == Version::V1 && place.controllers.iter().any(|c| c == controller)
}

fn there(path: impl AsRef<Path>) -> bool {
    path.as_ref().try_exists().unwrap()
}

fn facts() -> Facts {
    Facts { cgroups: probe::trees().unwrap(), ..Facts::default() }
}

/// This host as if it had its unified tree only.
fn unified_facts() -> Option<Facts> {
    let mut facts = facts();
    facts.cgroups.v1.clear();
    facts.cgroups.v2.is_some().then_some(facts)
}

fn lowered(path: &str, resources: Value, facts: &Facts) -> Lowered {
    let spec = json!({"ociVersion": "1.2.0", "linux": {"cgroupsPath": path, "resources": resources}});
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let mut complaints = Vec::new();
    let lowered = lower(&spec, facts, "id", true, &mut complaints);
    assert_eq!(complaints, []);
    lowered
}

/// A process that joins `cgroup` as a container's init does, then does `act` and ends with its answer, or waits.
fn child(cgroup: &Cgroup, act: Option<fn() -> i32>) -> (i32, OwnedFd) {
    let join = cgroup.join().unwrap();
    let into = join.into_fd().map(|fd| fd.as_raw_fd());
    match process::clone3(Birth { cgroup: into, ..Birth::default() }).unwrap() {
        Born::Parent { pid, pidfd } => (pid, pidfd),
        Born::Child => {
            if join.join_self().is_err() {
                process::exit_now(99);
            }
            if let Some(act) = act {
                process::exit_now(act());
            }
            loop {
                nix::unistd::pause();
            }
        }
    }
}

/// A waiting child that has arrived in every tree.
fn member(cgroup: &Cgroup) -> (i32, OwnedFd) {
    let (pid, pidfd) = child(cgroup, None);
    let place = |line: &str| line.splitn(3, ':').nth(2).unwrap().to_owned();
    let trees = cgroup.placement().trees;
    eventually("the child is in all of its cgroups", || {
        let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        let home = format!("/{}", trees[0].path);
        table.lines().filter(|line| place(line) == home).count() == trees.len()
    });
    (pid, pidfd)
}

fn open(path: &str) -> i32 {
    match nix::fcntl::open(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()) {
        Ok(_) => 0,
        Err(errno) => errno as i32,
    }
}

/// Waits for what the kernel does in its own time.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("never: {what}");
}

#[test]
fn a_process_lives_in_its_cgroup_in_every_tree_and_nothing_is_left_behind() {
    let mut sandbox = Sandbox::new("lives", json!({"pids": {"limit": 17}}));
    let cgroup = sandbox.create();
    let (pid, pidfd) = member(&cgroup);
    assert_eq!(cgroup.pids().unwrap(), [pid]);
    assert_eq!(sandbox.file("pids.max").unwrap().trim(), "17");
    assert_eq!(cgroup.oom_kills().unwrap(), 0);
    cgroup.kill_all(KILL).unwrap();
    assert_eq!(process::wait(&pidfd).unwrap(), Ended::Killed(KILL));
    Cgroup::destroy(sandbox.placement()).unwrap();
    assert_eq!(sandbox.left(), Vec::<String>::new());
    Cgroup::destroy(sandbox.placement()).unwrap(); // gone already is as good
}

#[test]
fn limits_reach_the_kernel() {
    let mut sandbox = Sandbox::new(
        "limits",
        json!({"memory": {"limit": 67_108_864, "reservation": 33_554_432, "swap": 134_217_728},
            "cpu": {"shares": 512, "quota": 50_000, "period": 200_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 33}}),
    );
    sandbox.create();
    let v1 = [
        ("memory.limit_in_bytes", "67108864"),
        ("memory.memsw.limit_in_bytes", "134217728"),
        ("memory.soft_limit_in_bytes", "33554432"),
        ("cpu.shares", "512"),
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.cfs_period_us", "200000"),
    ];
    let v2 = [
        ("memory.max", "67108864"),
        ("memory.swap.max", "67108864"),
        ("memory.low", "33554432"),
        ("cpu.weight", "59"),
        ("cpu.max", "50000 200000"),
    ];
    let expected = if sandbox.v1("memory").is_some() { &v1[..] } else { &v2[..] };
    for (file, value) in expected.iter().chain(&[("cpuset.cpus", "0"), ("cpuset.mems", "0"), ("pids.max", "33")]) {
        assert_eq!(sandbox.file(file).as_deref().map(str::trim), Some(*value), "{file}");
    }
}

#[test]
fn an_update_raises_and_lowers_memory_and_swap_in_whatever_order_the_kernel_wants() {
    let mut sandbox = Sandbox::new("update", json!({"memory": {"limit": 50_000_000, "swap": 50_000_000}}));
    let mut cgroup = sandbox.create();
    for limit in [200_003_584, 40_000_000u64] {
        let resources =
            json!({"memory": {"limit": limit, "swap": limit}, "cpu": {"quota": limit / 1000, "period": 100_000}});
        let resources = serde_json::from_value(resources).unwrap();
        let mut complaints = Vec::new();
        let update = lower_resources(&resources, sandbox.placement(), "", Purpose::Update, &mut complaints);
        update.steps.iter().for_each(|step| cgroup.apply(step).unwrap());
        let file = if sandbox.v1("memory").is_some() { "memory.memsw.limit_in_bytes" } else { "memory.max" };
        let now: u64 = sandbox.file(file).unwrap().trim().parse().unwrap();
        assert_eq!(now, limit / 4096 * 4096);
    }
}

#[test]
fn frozen_processes_stay_frozen_through_a_signal_and_die_of_a_kill() {
    let mut sandbox = Sandbox::new("frozen", json!({}));
    let cgroup = sandbox.create();
    let (_, pidfd) = member(&cgroup);
    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.kill_all(TERM).unwrap();
    assert!(cgroup.is_frozen().unwrap());
    if sandbox.v1("freezer").is_some() {
        // The v2 freezer lets go of what a signal ends; the v1 one does not.
        assert!(!process::wait_readable(&pidfd, Some(Duration::from_millis(50))).unwrap(), "frozen, so alive");
    }
    cgroup.thaw().unwrap();
    assert_eq!(process::wait(&pidfd).unwrap(), Ended::Killed(TERM));

    let (_, pidfd) = member(&cgroup);
    cgroup.freeze().unwrap();
    cgroup.kill_all(KILL).unwrap();
    assert_eq!(process::wait(&pidfd).unwrap(), Ended::Killed(KILL));
    assert!(sandbox.v1("freezer").is_none() || !cgroup.is_frozen().unwrap());
}

#[test]
fn cgroups_that_the_container_made_are_killed_and_removed_however_deep_and_oddly_named() {
    let mut sandbox = Sandbox::new("deep", json!({}));
    let cgroup = sandbox.create();
    let mut pidfds = Vec::new();
    for tree in sandbox.placement().trees.clone() {
        // Deeper than a path can be long, with a name that is no text.
        let name = std::ffi::CString::new([&[b'x', 0xff, 0xfe, b'y'][..], &[b'n'; 200]].concat()).unwrap();
        let mut dir: OwnedFd = fs::File::open(tree.dir()).unwrap().into();
        for _ in 0..40 {
            nix::sys::stat::mkdirat(&dir, name.as_c_str(), Mode::S_IRWXU).unwrap();
            let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            dir = nix::fcntl::openat(&dir, name.as_c_str(), flags, Mode::empty()).unwrap();
        }
        // Somebody lives at the bottom of each tree that can stop or kill.
        if tree.version == Version::V2 || is_v1(&tree, "freezer") {
            let (pid, pidfd) = member(&cgroup);
            rt::sys::fs::write(&dir, "cgroup.procs", &pid.to_string()).unwrap();
            pidfds.push(pidfd);
        }
        if is_v1(&tree, "freezer") {
            rt::sys::fs::write(&dir, "freezer.state", "FROZEN").unwrap();
        }
    }
    assert_eq!(cgroup.pids().unwrap().len(), pidfds.len());
    cgroup.kill_all(KILL).unwrap();
    for pidfd in &pidfds {
        assert_eq!(process::wait(pidfd).unwrap(), Ended::Killed(KILL));
    }
    Cgroup::destroy(sandbox.placement()).unwrap();
    assert_eq!(sandbox.left(), Vec::<String>::new());
}

#[test]
fn a_create_that_fails_takes_back_what_it_made() {
    let mut sandbox = Sandbox::new("fails/below", json!({"cpu": {"cpus": "4000"}}));
    let mut cgroup = Cgroup::prepare(sandbox.placement()).unwrap();
    let error = sandbox.lowered.prepare.iter().find_map(|step| cgroup.apply(step).err()).expect("no such cpu");
    assert!(error.to_string().contains("cpuset.cpus = 4000 (not among those of the parent cgroup)"), "{error}");
    sandbox.lowered.placement = cgroup.placement();
    assert!(!sandbox.left().is_empty());
    cgroup.undo().unwrap();
    assert_eq!(sandbox.left(), Vec::<String>::new());
}

#[test]
fn an_existing_cgroup_will_do_when_it_is_empty_and_only_then() {
    let mut sandbox = Sandbox::new("again", json!({}));
    let first = sandbox.create();
    let steps: Vec<Step<Op>> = sandbox.lowered.prepare.clone();
    let again = || {
        let mut cgroup = Cgroup::prepare(sandbox.placement())?;
        steps.iter().try_for_each(|step| cgroup.apply(step))?;
        cgroup.undo() // made nothing, so it takes nothing away
    };
    again().unwrap();
    assert_eq!(sandbox.left().len(), sandbox.placement().trees.len());

    first.freeze().unwrap();
    let error = again().unwrap_err();
    assert_eq!(error.errno, Errno::EBUSY);
    assert!(error.to_string().contains("/again (it is frozen)"), "{error}");
    first.thaw().unwrap();

    let (pid, pidfd) = member(&first);
    let error = again().unwrap_err().to_string();
    assert!(error.contains(&format!("(not empty: 1 process(es) live in this cgroup, one is {pid})")), "{error}");

    // What a failed create does next must not reach the processes of the other container.
    let mut refused = Cgroup::prepare(sandbox.placement()).unwrap();
    assert!(steps.iter().any(|step| refused.apply(step).is_err()));
    refused.kill_all(KILL).unwrap();
    refused.undo().unwrap();
    refused.remove(false).unwrap();
    assert!(!process::wait_readable(&pidfd, Some(Duration::from_millis(50))).unwrap(), "the other one was killed");
    assert_eq!(first.pids().unwrap(), [pid]);

    first.kill_all(KILL).unwrap();
    process::wait(&pidfd).unwrap();
}

#[test]
fn a_limit_of_no_process_holds_from_birth_on() {
    let mut sandbox = Sandbox::new("none", json!({"pids": {"limit": 0}}));
    let mut cgroup = sandbox.create();
    let (_, pidfd) = member(&cgroup);
    sandbox.lowered.adopt.iter().for_each(|step| cgroup.apply(step).unwrap());
    assert_eq!(sandbox.file("pids.max").unwrap().trim(), "0");
    cgroup.kill_all(KILL).unwrap();
    process::wait(&pidfd).unwrap();
}

#[test]
fn a_process_killed_for_want_of_memory_is_counted() {
    let mut sandbox = Sandbox::new("oom", json!({"memory": {"limit": 8 << 20, "swap": 8 << 20}}));
    let cgroup = sandbox.create();
    let script = ["-c", "read go; exec tail /dev/zero"];
    let stdin = std::process::Stdio::piped();
    let mut glutton = std::process::Command::new("sh").args(script).stdin(stdin).spawn().unwrap();
    cgroup.attach(glutton.id() as i32).unwrap();
    drop(glutton.stdin.take());
    glutton.wait().unwrap();
    assert_eq!(cgroup.oom_kills().unwrap(), 1);
}

#[test]
fn a_parent_that_cannot_pass_controllers_on_is_named_with_the_reason() {
    let Some(facts) = unified_facts().filter(|_| facts().cgroups.v1.is_empty()) else {
        skip!("controllers are passed on only where all are on the unified hierarchy");
    };
    let sandbox = Sandbox::on("crowded/child", json!({"memory": {"limit": 8 << 20}}), facts);
    let parent = PathBuf::from(sandbox.placement().trees[0].dir()).parent().unwrap().to_owned();
    let refused = |file: &str, value: &str, said: &str| {
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(file), value).unwrap();
        let mut cgroup = Cgroup::prepare(&sandbox.lowered.placement).unwrap();
        let error = sandbox.lowered.prepare.iter().find_map(|step| cgroup.apply(step).err()).expect(file).to_string();
        assert!(error.contains(said), "{error}");
        cgroup.undo().unwrap();
    };
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    refused(
        "cgroup.procs",
        &sleeper.id().to_string(),
        "(processes live in this cgroup, so it cannot pass controllers on",
    );
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    // A new ancestor: the old one passes domain controllers on by now, so nothing below it can become threaded.
    fs::remove_dir(&parent).unwrap();
    fs::remove_dir(parent.parent().unwrap()).unwrap();
    refused("cgroup.type", "threaded", "(a threaded cgroup is below it, and memory does not work with one)");
    fs::remove_dir(&parent).unwrap();
}

#[test]
fn removing_waits_for_the_last_process() {
    let mut sandbox = Sandbox::new("waits", json!({}));
    let cgroup = sandbox.create();
    let lingers = || {
        std::thread::sleep(Duration::from_millis(100));
        0
    };
    let (_, pidfd) = child(&cgroup, Some(lingers));
    Cgroup::destroy(sandbox.placement()).unwrap();
    assert_eq!(sandbox.left(), Vec::<String>::new());
    assert_eq!(process::wait(&pidfd).unwrap(), Ended::Exited(0));
}

#[test]
fn another_containers_directory_keeps_the_ancestors_that_we_made() {
    let mut sandbox = Sandbox::new("mine", json!({}));
    sandbox.create();
    let trees = &sandbox.placement().trees;
    let theirs: Vec<PathBuf> = trees.iter().map(|t| PathBuf::from(t.dir()).with_file_name("theirs")).collect();
    theirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    Cgroup::destroy(sandbox.placement()).unwrap();
    assert!(theirs.iter().all(there));
    assert!(trees.iter().all(|t| !there(t.dir())));
    theirs.iter().for_each(|dir| fs::remove_dir(dir).unwrap());
}

#[test]
fn the_v1_device_list_stands_in_the_order_of_the_config() {
    let mut sandbox = Sandbox::new(
        "devlist",
        json!({"devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            {"allow": true, "type": "b", "major": 8, "minor": 20, "access": "rw"},
            {"allow": true, "type": "b", "major": 10, "minor": 200, "access": "r"}]}),
    );
    sandbox.create();
    let Some(dir) = sandbox.v1("devices") else {
        skip!("there is no v1 devices hierarchy");
    };
    let list = fs::read_to_string(format!("{dir}/devices.list")).unwrap();
    assert!(list.starts_with("c 10:229 rwm\nb 8:20 rw\nb 10:200 r\nc *:* m\nb *:* m\nc 1:3 rwm\n"), "{list}");
}

#[test]
fn without_device_rules_only_the_default_devices_open() {
    let mut sandbox = Sandbox::new("devices", json!({}));
    devices_are_denied(&sandbox.create());
}

fn devices_are_denied(cgroup: &Cgroup) {
    let outcome = |act| process::wait(child(cgroup, Some(act)).1).unwrap();
    assert_eq!(outcome(|| open("/dev/null")), Ended::Exited(0));
    assert_eq!(outcome(|| open("/dev/kmsg")), Ended::Exited(Errno::EPERM as i32));
}

#[test]
fn the_v2_filter_denies_and_is_replaced_not_stacked() {
    let Some(facts) = unified_facts() else {
        skip!("there is no unified hierarchy");
    };
    let mut sandbox = Sandbox::on("filter", json!({}), facts);
    let mut cgroup = sandbox.create();
    devices_are_denied(&cgroup);
    let dir = fs::File::open(sandbox.placement().trees[0].dir()).unwrap();
    let filters = || rt::sys::bpf::device_filters(dir.as_fd()).unwrap().len();
    assert_eq!(filters(), 1);

    // The same path once more, with other rules: the directory is there, and so is the old filter.
    let kmsg = json!({"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]});
    let again = lowered(&sandbox.path, kmsg, &unified_facts().unwrap());
    cgroup = Cgroup::prepare(&again.placement).unwrap();
    again.prepare.iter().for_each(|step| cgroup.apply(step).unwrap());
    assert_eq!(filters(), 1);
    assert_eq!(process::wait(child(&cgroup, Some(|| open("/dev/kmsg"))).1).unwrap(), Ended::Exited(0));

    let all = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let all = lowered(&sandbox.path, all, &unified_facts().unwrap());
    cgroup = Cgroup::prepare(&all.placement).unwrap();
    all.prepare.iter().for_each(|step| cgroup.apply(step).unwrap());
    assert_eq!(filters(), 0);
}

#[test]
fn the_v2_freezer_and_kill_work_without_any_controller() {
    let Some(facts) = unified_facts() else {
        skip!("there is no unified hierarchy");
    };
    let mut sandbox = Sandbox::on("unified", json!({}), facts);
    let cgroup = sandbox.create();
    let (_, pidfd) = member(&cgroup);
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.kill_all(TERM).unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.kill_all(KILL).unwrap();
    assert!(matches!(process::wait(&pidfd).unwrap(), Ended::Killed(_)));
    Cgroup::destroy(sandbox.placement()).unwrap();
    assert_eq!(sandbox.left(), Vec::<String>::new());
}

#[test]
fn a_process_can_be_attached_from_outside() {
    let mut sandbox = Sandbox::new("attach", json!({}));
    let cgroup = sandbox.create();
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    cgroup.attach(sleeper.id() as i32).unwrap();
    assert_eq!(cgroup.pids().unwrap(), [sleeper.id() as i32]);
    cgroup.kill_all(KILL).unwrap();
    sleeper.wait().unwrap();
}

#[test]
fn a_record_whose_tree_is_no_cgroup_file_system_touches_nothing() {
    let mut sandbox = Sandbox::new("record", json!({}));
    sandbox.create();
    let mut record = sandbox.placement().clone();
    let elsewhere = tempfile::tempdir().unwrap();
    let ordinary = elsewhere.path().join(record.trees[0].path.as_str());
    fs::create_dir_all(&ordinary).unwrap();
    record.trees.truncate(1);
    record.trees[0].mountpoint = elsewhere.path().to_str().unwrap().to_owned();
    let error = Cgroup::open(&record).unwrap_err();
    assert!(error.to_string().contains("no cgroup v"), "{error}");
    Cgroup::destroy(&record).unwrap();
    assert!(there(&ordinary), "an ordinary directory was removed");
}
