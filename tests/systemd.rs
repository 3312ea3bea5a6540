//! The systemd driver on a host that runs systemd, with pure cgroup v2: the VM of conformance/vm. What needs no systemd is
//! in tests/systemd_bus.rs and in unit tests. Needs root.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "common/mod.rs"]
mod common;
use common::{Bundle, Output, Runtime, Value, caller, children, json, patience, wait_until};

/// Leaves the test where there is no systemd to ask.
macro_rules! needs_systemd {
    () => {
        if fs::metadata("/run/systemd/system").is_err() {
            skip!("systemd does not run here");
        }
        if !common::cgroups::is_v2() {
            skip!("the driver is for pure cgroup v2");
        }
    };
}

/// A bundle whose container systemd is to hold, in `ID.scope`; deleted at the end, however that comes.
struct Held {
    bundle: Bundle,
}

impl std::ops::Deref for Held {
    type Target = Bundle;
    fn deref(&self) -> &Bundle {
        &self.bundle
    }
}

impl std::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Bundle {
        &mut self.bundle
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.rt(&["delete", "--force", &self.id]).try_run();
    }
}

impl Held {
    fn new(name: &str) -> Held {
        let mut bundle = Bundle::new(name);
        let path = format!("rttest-deep.slice::{}", bundle.id);
        bundle.set("/linux/cgroupsPath", json!(path)).args(["/bin/sleep", "10000"]);
        Held { bundle }
    }

    fn unit(&self) -> String {
        format!("{}.scope", self.id)
    }

    fn create_command(&self) -> Runtime {
        self.save();
        self.rt(&["--systemd-cgroup", "create", "--bundle", &self.text(""), &self.id])
    }

    /// Created and started.
    fn run(&self) {
        self.create_command().run().ok();
        self.start().ok();
    }

    fn update(&self, words: &[&str]) -> Output {
        self.rt(&[&["update"], words, &[&self.id]].concat()).run()
    }

    fn exec(&self, script: &str) -> Output {
        self.rt(&["exec", &self.id, "/bin/sh", "-c", script]).run()
    }

    /// The scope's directory.
    fn scope(&self) -> PathBuf {
        PathBuf::from(format!("/sys/fs/cgroup/rttest.slice/rttest-deep.slice/{}", self.unit()))
    }

    /// A control file of the container's own cgroup.
    fn file(&self, name: &str) -> String {
        common::cgroups::value(&self.scope().join("container").join(name))
    }

    /// Opening a device in the container: whether the rules let it.
    fn may_open(&self, device: &str) -> bool {
        let said = self.exec(&format!("true < {device}")).stderr;
        !said.contains("not permitted")
    }

    fn wait_gone(&self) {
        let gone = wait_until(patience(), || (shown(&self.unit())["LoadState"] == "not-found").then_some(()));
        assert!(gone.is_some(), "{:?}", shown(&self.unit()));
    }
}

/// What `systemctl show` says of a unit.
fn shown(unit: &str) -> BTreeMap<String, String> {
    let output = Command::new("systemctl").args(["show", unit]).output().expect("systemctl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(|line| line.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
}

fn systemctl(words: &[&str]) {
    let output = Command::new("systemctl").args(words).output().expect("systemctl");
    assert!(output.status.success(), "systemctl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn resources() -> Value {
    json!({
        "devices": [{"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
        "memory": {"limit": 268_435_456, "swap": 536_870_912, "reservation": 134_217_728},
        "cpu": {"shares": 512, "quota": 50000, "period": 20000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": block_io(),
        "unified": {"memory.high": "201326592", "memory.min": "4096"}
    })
}

/// A weight, and limits for the first disk that takes some.
fn block_io() -> Value {
    let rate =
        |n: u32| common::kernel::disk().map(|(major, minor)| json!([{"major": major, "minor": minor, "rate": n}]));
    json!({"weight": 200, "throttleReadBpsDevice": rate(1_048_576), "throttleWriteIOPSDevice": rate(500)})
}

/// Names, times, counters: what no two units have in common.
fn is_its_own(name: &str) -> bool {
    let own = ["Id", "Names", "ControlGroup", "ControlGroupId", "FragmentPath", "InvocationID", "TransientFiles"];
    let ends = ["Timestamp", "TimestampMonotonic", "Current", "NSec", "Peak", "Bytes", "Operations", "Available"];
    own.contains(&name) || ends.iter().any(|end| name.ends_with(end)) || name.starts_with("Effective")
}

#[test]
fn the_scope_is_what_crun_s_is() {
    needs_systemd!();
    let mut ours = Held::new("systemd-show");
    ours.set("/linux/resources", resources());
    ours.set("/annotations", json!({"org.systemd.property.TimeoutStopUSec": "uint64 5000000"}));
    ours.run();
    let (id, state) = (format!("{}-crun", ours.id), ours.text("crun"));
    let theirs = format!("peer-{id}.scope");
    let mut config = ours.config.clone();
    config["linux"]["cgroupsPath"] = json!(format!("rttest-deep.slice:peer:{id}"));
    ours.write("crun-bundle/config.json", &config.to_string());
    std::os::unix::fs::symlink(ours.rootfs(), ours.path("crun-bundle/rootfs")).unwrap();
    // Into a file: the container has it open for as long as it lives.
    let log = ours.path("crun.log");
    let crun = |words: &[&str]| {
        let mut command = Command::new("crun");
        command.args(["--root", &state, "--systemd-cgroup"]).args(words).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&log).unwrap()).status().unwrap();
        fs::read_to_string(&log).unwrap()
    };
    let said = crun(&["create", "--bundle", &ours.text("crun-bundle"), &id]);
    let (mine, peer) = (shown(&ours.unit()), shown(&theirs));
    crun(&["delete", "--force", &id]);
    assert_eq!(peer["ActiveState"], "active", "crun: {said}");
    // Where crun is not to be followed. It gives the sum of memory and swap to what limits swap alone; its scale of I/O
    // weights is not the kernel's (the file below has the same as the unit); a failed scope of its stays. And it pins its device
    // filter (BPFProgram) for systemd to attach to the scope again, where ours is on a cgroup that systemd leaves alone.
    let other = [
        ("MemorySwapMax", "268435456"),
        ("IOWeight", "1920"),
        ("CollectMode", "inactive-or-failed"),
        ("Description", &format!("rt container {}", ours.id)),
    ];
    for (name, value) in other {
        assert_eq!(mine[name], value, "{name}");
    }
    let mut wrong = Vec::new();
    let same = |name: &str| !is_its_own(name) && name != "BPFProgram" && !other.iter().any(|o| o.0 == name);
    for (name, value) in peer.iter().filter(|(name, _)| same(name)) {
        if mine.get(name) != Some(value) {
            wrong.push(format!("{name}: crun {value:?}, rt {:?}", mine.get(name)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The comparison is worth something only if there is something to compare.
    for (name, value) in [("MemoryMax", "268435456"), ("TasksMax", "100"), ("Delegate", "yes"), ("AllowedCPUs", "0")] {
        assert_eq!(mine[name], value, "{name}");
    }
    for (file, value) in [
        ("memory.max", "268435456"),
        ("memory.swap.max", "268435456"),
        ("memory.high", "201326592"),
        ("memory.min", "4096"),
        ("cpu.max", "50000 20000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "100"),
    ] {
        assert_eq!(ours.file(file), value, "{file}");
    }
    // As it was asked for, where the I/O scheduler that has weights of that scale is in the kernel.
    let bfq = ours.scope().join("container/io.bfq.weight").try_exists().expect("a look at the cgroup");
    let (file, value) = if bfq { ("io.bfq.weight", "default 200") } else { ("io.weight", "default 1920") };
    assert_eq!(ours.file(file), value, "{file}");
    // Rates of a disk are in the container's file and, as with every runtime, no property of the unit.
    let (major, minor) = common::kernel::disk().expect("the machine has a disk");
    assert_eq!(ours.file("io.max"), format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=500"));
    let rates: Vec<_> = mine.keys().filter(|n| n.ends_with("BandwidthMax") || n.ends_with("IOPSMax")).collect();
    assert!(rates.is_empty(), "{rates:?}");
}

#[test]
fn a_reload_of_systemd_keeps_limits_and_devices() {
    needs_systemd!();
    let mut held = Held::new("systemd-reload");
    held.set("/linux/resources", resources());
    held.set(
        "/linux/devices",
        json!([
            {"path": "/dev/allowed", "type": "c", "major": 10, "minor": 229},
            {"path": "/dev/denied", "type": "c", "major": 1, "minor": 4},
            {"path": "/dev/later", "type": "c", "major": 1, "minor": 3 + 256}
        ]),
    );
    held.run();
    assert_eq!(
        (held.may_open("/dev/allowed"), held.may_open("/dev/denied"), held.may_open("/dev/later")),
        (true, false, false)
    );
    // What is allowed later is what reloads are known to take away.
    let list = held.write(
        "devices.json",
        r#"[{"allow":true,"type":"c","major":10,"minor":229},{"allow":true,"type":"c","major":1,"minor":259}]"#,
    );
    held.update(&["--devices", list.to_str().unwrap(), "--pids-limit", "77"]).ok();
    for _ in 0..2 {
        systemctl(&["daemon-reload"]);
        // Makes systemd write the unit's files again.
        systemctl(&["set-property", "--runtime", &held.unit(), "CPUWeight=77"]);
        assert_eq!(
            (held.may_open("/dev/allowed"), held.may_open("/dev/denied"), held.may_open("/dev/later")),
            (true, false, true)
        );
        assert_eq!((held.file("pids.max"), held.file("memory.max")), ("77".to_owned(), "268435456".to_owned()));
        assert_eq!(held.file("cpu.weight"), "59", "only the unit's was changed");
        assert_eq!(shown(&held.unit())["TasksMax"], "77");
    }
}

#[test]
fn an_update_is_one_for_the_unit_too() {
    needs_systemd!();
    let mut held = Held::new("systemd-update");
    held.set("/linux/resources", resources());
    held.run();
    let words = [
        "--memory",
        "300003328",
        "--memory-swap",
        "-1",
        "--cpu-quota",
        "10000",
        "--pids-limit",
        "-1",
        "--cpuset-cpus",
        "0-1",
    ];
    held.update(&words).ok();
    let check = || {
        let unit = shown(&held.unit());
        for (name, value) in [
            ("MemoryMax", "300003328"),
            ("MemorySwapMax", "infinity"),
            ("CPUQuotaPerSecUSec", "500ms"),
            ("CPUQuotaPeriodUSec", "20ms"),
            ("TasksMax", "infinity"),
            ("AllowedCPUs", "0-1"),
            ("MemoryLow", "134217728"),
        ] {
            assert_eq!(unit[name], value, "{name}");
        }
        assert_eq!((held.file("memory.max"), held.file("cpu.max")), ("300003328".to_owned(), "10000 20000".to_owned()));
    };
    check();
    // All or nothing: a file that refuses, and a systemd that is not there.
    held.update(&["--memory", "310001664", "--cpuset-cpus", "900"]).fails(&["cpuset.cpus"]);
    check();
    let nobody = ("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
    let update = held.rt(&["update", "--memory", "310001664", &held.id]).env(nobody.0, nobody.1);
    update.run().fails(&["/nonexistent/bus: no such file or directory"]);
    check();
}

#[test]
fn nothing_is_left_of_a_unit() {
    needs_systemd!();
    let held = Held::new("systemd-delete");
    for _ in 0..2 {
        held.run();
        assert_eq!(held.exec("cat /proc/self/cgroup").ok().stdout.trim(), "0::/", "inside its own cgroup");
        assert_eq!(fs::read_to_string(held.scope().join("cgroup.procs")).unwrap(), "", "nobody beside it");
        assert_eq!(held.file("cgroup.procs"), held.pid().to_string());
        held.rt(&["pause", &held.id]).run().ok();
        assert_eq!(held.status(), "paused");
        held.rt(&["resume", &held.id]).run().ok();
        held.kill("KILL").ok();
        held.wait_status("stopped");
        held.delete().ok();
        assert_eq!(shown(&held.unit())["LoadState"], "not-found", "gone when delete comes back");
    }
    held.run();
    held.rt(&["delete", "--force", &held.id]).run().ok();
    assert_eq!(shown(&held.unit())["LoadState"], "not-found");
    held.nothing_left();
}

#[test]
fn a_failed_unit_of_the_same_name_is_no_obstacle() {
    needs_systemd!();
    let held = Held::new("systemd-failed");
    let unit = format!("--unit={}", held.unit());
    let words =
        ["--scope", "--quiet", &unit, "-p", "RuntimeMaxSec=1", "-p", "Slice=rttest-deep.slice", "sleep", "1000"];
    // It ends when its time is over, which makes it a failed one.
    Command::new("systemd-run").args(words).output().unwrap();
    let failed = wait_until(patience(), || (shown(&held.unit())["ActiveState"] == "failed").then_some(()));
    assert!(failed.is_some(), "{:?}", shown(&held.unit()).get("ActiveState"));
    held.run();
    assert_eq!(shown(&held.unit())["ActiveState"], "active");
}

#[test]
fn a_living_unit_of_the_same_name_is_somebody_else_s() {
    needs_systemd!();
    let held = Held::new("systemd-taken");
    held.run();
    let mut other = Held::new("systemd-taker");
    other.set("/linux/cgroupsPath", json!(format!("rttest-deep.slice::{}", held.id)));
    other.create_command().run().fails(&["/linux/cgroupsPath", "it holds another container"]);
    other.nothing_left();
    // And the next one: killed before it could ask, cleaned up after, it has not touched the unit.
    other.rt(&["delete", "--force", &other.id]).run().ok();
    assert_eq!(shown(&held.unit())["ActiveState"], "active");
    assert_eq!(held.status(), "running");
}

#[test]
fn a_creation_that_was_killed_leaves_nothing_that_delete_cannot_end() {
    needs_systemd!();
    let mut held = Held::new("systemd-killed");
    let hook = held.script(
        "hook",
        &format!("#!/bin/sh\necho $$ > {0}.new\nmv {0}.new {0}\nexec sleep 1000\n", held.text("in-hook")),
    );
    held.set("/hooks/createRuntime", json!([{"path": hook}]));
    let creating = held.create_command().spawn();
    let hook = wait_until(patience(), || fs::read_to_string(held.path("in-hook")).ok()).expect("the hook never ran");
    assert_eq!(shown(&held.unit())["ActiveState"], "active");
    creating.signal(nix::sys::signal::Signal::SIGKILL);
    creating.wait();
    // The hook is its own program, and outlives who has called it.
    let hook = nix::unistd::Pid::from_raw(hook.trim().parse().unwrap());
    nix::sys::signal::kill(hook, nix::sys::signal::Signal::SIGKILL).unwrap();
    held.rt(&["delete", "--force", &held.id]).run().ok();
    held.wait_gone();
}

#[test]
fn without_a_bus_systemd_s_own_socket_will_do() {
    needs_systemd!();
    let held = Held::new("systemd-private");
    held.save();
    let hidden = "exec unshare -m sh -c 'mount -t tmpfs none /run/dbus && exec \"$@\"' sh \"$@\"";
    let words = ["--systemd-cgroup", "create", "--bundle", &held.text(""), &held.id];
    Runtime::in_shell(hidden, &held, &words).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").run().ok();
    assert_eq!(shown(&held.unit())["ActiveState"], "active");
}

#[test]
fn without_systemd_it_is_said_in_time_and_nothing_is_left() {
    needs_systemd!();
    let held = Held::new("systemd-absent");
    held.save();
    let nobody = "unix:path=/nonexistent/bus";
    held.create_command()
        .env("DBUS_SYSTEM_BUS_ADDRESS", nobody)
        .run()
        .fails(&["nobody listens there (/nonexistent/bus: "]);
    held.nothing_left();
    // Somebody listens, and never says a word.
    let socket = held.text("silent");
    let _listener = UnixListener::bind(&socket).unwrap();
    let silent = format!("unix:path={socket}");
    let create = held.create_command().env("DBUS_SYSTEM_BUS_ADDRESS", &silent);
    create.run().fails(&["connect to the system instance of systemd", "no answer within 20 s", &socket]);
    held.nothing_left();
    // One that is there can be deleted all the same: a unit that is empty ends by itself.
    held.run();
    let deleted = held.rt(&["delete", "--force", &held.id]).env("DBUS_SYSTEM_BUS_ADDRESS", nobody).run().ok();
    assert!(deleted.stderr.contains("deleted all the same"), "{}", deleted.stderr);
    held.wait_gone();
}

#[test]
fn a_slice_can_hold_a_container_too() {
    needs_systemd!();
    let mut held = Held::new("systemd-slice");
    // A dash in a slice's name is a step down, and the ids of tests have some.
    let name = format!("rttest-{}", held.id.replace('-', "_"));
    held.set("/linux/cgroupsPath", json!(format!("rttest.slice:x:{name}.slice")));
    held.set("/linux/resources", json!({"pids": {"limit": 50}}));
    held.run();
    let unit = format!("{name}.slice");
    assert_eq!(shown(&unit)["ActiveState"], "active");
    assert_eq!(shown(&unit)["TasksMax"], "50");
    let place = format!("/sys/fs/cgroup/rttest.slice/{unit}/container/cgroup.procs");
    assert_eq!(common::cgroups::value(Path::new(&place)), held.pid().to_string());
    held.rt(&["delete", "--force", &held.id]).run().ok();
    assert_eq!(shown(&unit)["ActiveState"], "inactive", "ended when delete comes back");
}

/// A slice has nobody in it but zombies, which systemd counts among its tasks.
#[test]
fn a_slice_ends_though_nobody_has_waited_for_its_dead() {
    needs_systemd!();
    let mut held = Held::new("systemd-zombie");
    let name = format!("rttest-{}", held.id.replace('-', "_"));
    let unit = format!("{name}.slice");
    held.set("/linux/cgroupsPath", json!(format!("rttest.slice:x:{unit}")));
    let parent = held.create_command().before_exec(caller::with_forgetful_parent).spawn();
    held.wait_status("created");
    let init = held.pid();
    held.rt(&["delete", "--force", &held.id]).run().ok();
    let dead = fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
    let slice = shown(&unit);
    parent.signal(nix::sys::signal::Signal::SIGKILL);
    parent.wait();
    assert!(dead.contains(") Z "), "somebody has waited for it: {dead}");
    assert_eq!(slice["ActiveState"], "inactive");
}

/// Who lives in the slice beside the container stays there, and so does the slice.
#[test]
fn a_slice_with_others_in_it_stays() {
    needs_systemd!();
    let mut held = Held::new("systemd-shared");
    let name = format!("rttest-{}", held.id.replace('-', "_"));
    let unit = format!("{name}.slice");
    held.set("/linux/cgroupsPath", json!(format!("rttest.slice:x:{unit}")));
    held.run();
    let other = format!("{}-other.scope", held.id);
    let mut neighbour = Command::new("systemd-run")
        .args(["--scope", "--quiet", &format!("--unit={other}"), &format!("--slice={unit}"), "sleep", "1000"])
        .spawn()
        .expect("systemd-run");
    let active = wait_until(patience(), || (shown(&other)["ActiveState"] == "active").then_some(()));
    assert!(active.is_some(), "{:?}", shown(&other).get("ActiveState"));
    held.rt(&["delete", "--force", &held.id]).run().ok();
    assert_eq!((&*shown(&unit)["ActiveState"], &*shown(&other)["ActiveState"]), ("active", "active"));
    assert_eq!(neighbour.try_wait().expect("our child"), None, "it lives");
    systemctl(&["stop", &unit]);
    neighbour.wait().expect("our child");
}

#[test]
fn an_annotation_that_reaches_too_far_is_refused() {
    needs_systemd!();
    let mut held = Held::new("systemd-annotation");
    held.set("/annotations", json!({"org.systemd.property.BindsTo": "['dbus.service']"}));
    held.create_command().run().fails(&["/annotations/org.systemd.property.BindsTo: no property"]);
    held.nothing_left();
}

/// Where some controllers are on v1 hierarchies, systemd's cgroups are not for containers, and the error says so.
#[test]
fn on_a_host_with_v1_hierarchies_it_is_refused() {
    if common::cgroups::is_v2() {
        skip!("all controllers are on cgroup v2 here");
    }
    let held = Held::new("systemd-hybrid");
    held.save();
    let words = ["--systemd-cgroup", "create", "--bundle", &held.text(""), &held.id];
    // How systemd is known to run: sd_booted(3).
    let booted =
        "exec unshare -m sh -c 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec \"$@\"' sh \"$@\"";
    Runtime::in_shell(booted, &held, &words).run().fails(&[
        "/linux/cgroupsPath",
        "the systemd driver needs pure cgroup v2, and this host has v1 hierarchies",
        "systemd.unified_cgroup_hierarchy=1",
    ]);
    let not_booted = "exec unshare -m sh -c 'mount -t tmpfs none /run && exec \"$@\"' sh \"$@\"";
    Runtime::in_shell(not_booted, &held, &words).run().fails(&["systemd not running on this host"]);
    held.nothing_left();
}

/// An ordinary user of the VM, who has a systemd of their own.
struct User {
    state: PathBuf,
    id: String,
}

impl Drop for User {
    fn drop(&mut self) {
        // Its record is the user's. What lives on after a test that failed would be waited for: long, and in vain.
        let _ = self.script(User::IN_SESSION, "rt delete --force $id");
    }
}

impl User {
    const IN_SESSION: &str = "as-user";
    /// Somebody who has logged in: processes of another session than the user's systemd and its units.
    const ELSEWHERE: &str = "setpriv --reuid 1000 --regid 1000 --init-groups env XDG_RUNTIME_DIR=/run/user/1000";

    fn new(held: &Held) -> Self {
        assert!(Command::new("loginctl").args(["enable-linger", "vmuser"]).status().unwrap().success());
        let state = held.directory("user-state");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
        User { state, id: held.id.clone() }
    }

    /// What a script says and complains of, in which `rt` is the runtime and `$id` the container.
    fn script(&self, how: &str, script: &str) -> (String, String) {
        let (program, state) = (Runtime::program(), self.state.display());
        let start = format!("rt() {{ {} --root {state}/rt \"$@\"; }}; id={}; set -e\n", program.display(), self.id);
        let mut words = how.split(' ');
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["sh", "-c", &(start + script)]).stdin(Stdio::null());
        // Into files, and no waiting for the script alone: a container's init does not go before those of its processes that
        // were left to us have been waited for.
        let output = |name: &str| self.state.join(name);
        command.stdout(fs::File::create(output("out")).unwrap()).stderr(fs::File::create(output("err")).unwrap());
        let mut child = children::spawn(&mut command).unwrap();
        let ended = wait_until(patience(), || child.try_wait().unwrap());
        if ended.is_none() {
            let _ = child.kill().and_then(|()| child.wait());
        }
        children::release(&child);
        let read = |name: &str| String::from_utf8_lossy(&fs::read(output(name)).unwrap()).into_owned();
        let (said, error) = (read("out"), read("err"));
        assert!(ended.is_some() || std::thread::panicking(), "{how} {script}\ndoes not end: {said}{error}");
        (said, error)
    }
}

/// Whether there is such a user.
fn has_user() -> bool {
    let paths = "/usr/local/bin:/usr/local/sbin:/usr/bin:/bin";
    Command::new("as-user").arg("true").env("PATH", paths).output().is_ok()
}

/// With all their subordinate ids, which newuidmap maps; and from another session than the one of their systemd, whose border
/// the kernel lets no user take a process across.
#[test]
fn a_user_with_subordinate_ids_asks_their_systemd_from_any_session() {
    needs_systemd!();
    if !has_user() {
        skip!("no as-user here: it is the VM's way to be an ordinary user");
    }
    for how in [User::IN_SESSION, User::ELSEWHERE] {
        let mut held = Held::new("systemd-subids");
        let mut config: Value = serde_json::from_str(&rt::spec::template::template(Some((1000, 1000)))).unwrap();
        config["process"]["args"] = json!(["/bin/sleep", "10000"]);
        config["process"]["terminal"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("app.slice::{}", held.id));
        config["linux"]["resources"] = json!({"memory": {"limit": 268_435_456}, "pids": {"limit": 100}});
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536}]);
        for kind in ["uidMappings", "gidMappings"] {
            config["linux"][kind] = map.clone();
        }
        held.config = config;
        held.save();
        let user = User::new(&held);
        // Who lives on keeps what it got as output.
        let (bundle, log) = (held.text(""), user.state.join("log").display().to_string());
        let (said, error) = user.script(
            how,
            &format!(
                "rt --systemd-cgroup create --bundle {bundle} $id </dev/null >{log} 2>&1 || cat {log} >&2; rt start $id
                 rt exec $id cat /proc/self/uid_map | tr -s ' '
                 rt exec --user 7 $id cat /proc/self/status | sed -n 's/^Uid:[[:space:]]*\\([0-9]*\\).*/\\1/p'
                 cat /proc/$(rt state $id | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p')/cgroup
                 rt exec $id cat /proc/self/cgroup /sys/fs/cgroup/memory.max; rt update --pids-limit 50 $id
                 rt exec $id cat /sys/fs/cgroup/pids.max"
            ),
        );
        let group = format!("0::/user.slice/user-1000.slice/user@1000.service/app.slice/{}.scope/container", held.id);
        let expected = [" 0 1000 1", " 1 100000 65536", "7", &group, "0::/", "268435456", "50"];
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{how}: {error}");
        // Whoever creates it, both can enter it.
        let (said, error) = user.script(
            User::ELSEWHERE,
            "rt exec $id cat /proc/self/cgroup; rt exec -d $id /bin/sleep 9999 </dev/null >/dev/null 2>&1; rt ps $id",
        );
        assert!(said.starts_with("0::/\n") && said.contains("sleep 9999"), "{said}{error}");
        let (said, error) = user.script(how, "rt delete --force $id; systemctl --user show $id.scope -p LoadState");
        assert_eq!(said, "LoadState=not-found\n", "{error}");
    }
}

/// As podman has it: inside the user's own user namespace, in which they are root.
#[test]
fn a_user_s_own_systemd_makes_the_scope() {
    needs_systemd!();
    if !has_user() {
        skip!("no as-user here: it is the VM's way to be an ordinary user");
    }
    let mut held = Held::new("systemd-user");
    let path = format!("app.slice::{}", held.id);
    held.set("/linux/cgroupsPath", json!(path));
    held.set("/linux/resources", json!({"memory": {"limit": 268_435_456}, "pids": {"limit": 100}}));
    held.remove("/process/capabilities").save();
    let user = User::new(&held);
    let as_user = |script: &str| user.script("as-user unshare -Urm", script);
    let bundle = held.text("");
    let (said, error) = as_user(&format!(
        "rt --systemd-cgroup create --bundle {bundle} $id </dev/null >/dev/null
         rt start $id; rt update --pids-limit 50 $id; rt exec $id cat /proc/self/cgroup
         systemctl --user show $id.scope -p ControlGroup -p MemoryMax -p TasksMax -p Delegate
         cat /proc/$(cat /proc/self/cgroup >/dev/null; rt state $id | sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p')/cgroup
         rt delete --force $id; systemctl --user show $id.scope -p LoadState"
    ));
    let group = format!("/user.slice/user-1000.slice/user@1000.service/app.slice/{}.scope", held.id);
    for line in [
        "0::/",
        &format!("ControlGroup={group}"),
        "MemoryMax=268435456",
        "TasksMax=50",
        "Delegate=yes",
        &format!("0::{group}/container"),
        "LoadState=not-found",
    ] {
        assert!(said.lines().any(|l| l == line), "no line {line}\n{said}\n{error}");
    }
    // Without the words for where it is, what is missing is named.
    let (_, error) = as_user(&format!(
        "unset XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS; rt --systemd-cgroup create --bundle {bundle} $id </dev/null"
    ));
    assert!(error.contains("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"), "{error}");
    // And without the bus, the user's systemd itself answers.
    let (said, error) = as_user(&format!(
        "export DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent
         rt --systemd-cgroup create --bundle {bundle} $id </dev/null >/dev/null; rt delete --force $id; echo done"
    ));
    assert_eq!(said, "done\n", "{error}");
}
