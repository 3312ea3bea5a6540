//! Without root's rights: as an ordinary user with a user namespace of its own, as root of a user namespace of somebody
//! else's, inside another container. The tests are root and become the user right before the runtime's execve.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use common::{Bundle, Output, Runtime, cgroups, json};
use serde_json::Value;

/// A user whom no file of this machine knows.
const UID: u32 = 54_321;

/// Becomes that user: no groups, no capabilities, no way back.
fn become_user() -> std::io::Result<()> {
    nix::unistd::setgroups(&[])?;
    nix::unistd::setresgid(UID.into(), UID.into(), UID.into())?;
    Ok(nix::unistd::setresuid(UID.into(), UID.into(), UID.into())?)
}

/// A bundle that belongs to the user, with the config that such a user begins with.
fn users_bundle(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    let template = rt::spec::template::template(Some((UID, UID)));
    let mut config: Value = serde_json::from_str(&template).expect("the template is JSON");
    config["process"]["terminal"] = json!(false);
    config["process"]["env"] = json!([common::config::PATH, format!("RT_TEST_ID={}", bundle.id)]);
    bundle.config = config;
    bundle.save();
    bring(&bundle.path("rt"));
    give(&bundle.path(""));
    bundle
}

/// Puts the runtime where the user can execute it.
fn bring(to: &Path) {
    let from = Runtime::program();
    fs::hard_link(&from, to).or_else(|_| fs::copy(&from, to).map(|_| ())).expect("the runtime");
}

/// Gives a directory and all below it to the user.
fn give(path: &Path) {
    chown(path, Some(UID), Some(UID)).expect("chown");
    for entry in fs::read_dir(path).expect("a directory").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            give(&entry.path());
        } else if kind.is_file() && entry.metadata().expect("metadata").nlink() == 1 {
            // Not the probe and the runtime, which all bundles share.
            chown(entry.path(), Some(UID), Some(UID)).expect("chown");
        }
    }
}

fn rt(bundle: &Bundle, words: &[&str]) -> Runtime {
    bundle.save();
    Runtime::with_program(&bundle.path("rt"), bundle, words).before_exec(become_user)
}

fn run(bundle: &Bundle) -> Output {
    rt(bundle, &["run", "--bundle", &bundle.text(""), &bundle.id]).run()
}

fn fingerprint(bundle: &mut Bundle) -> Value {
    bundle.args(["/probe", "fingerprint"]);
    run(bundle).ok().json()
}

/// The last mount at a place.
fn mount_at<'a>(seen: &'a Value, target: &str) -> &'a Value {
    let all = seen["mounts"].as_array().expect("mounts");
    all.iter().rev().find(|m| m["target"] == target).unwrap_or_else(|| panic!("nothing mounted at {target}"))
}

fn has_option(mount: &Value, option: &str) -> bool {
    mount["options"].as_array().expect("options").contains(&json!(option))
}

#[test]
fn an_ordinary_user_is_root_in_its_own_container() {
    let mut bundle = users_bundle("plain");
    let seen = fingerprint(&mut bundle);
    assert_eq!(seen["uid_map"], json!([[0, UID, 1]]));
    assert_eq!(seen["gid_map"], json!([[0, UID, 1]]));
    assert_eq!((&seen["uid"]["effective"], &seen["gid"]["effective"]), (&json!(0), &json!(0)));
    assert_eq!(seen["setgroups"], "deny");
    assert_eq!(seen["hostname"], "rt");
    let mut capabilities = common::texts(&seen["caps"]["effective"]);
    capabilities.sort();
    assert_eq!(capabilities, common::config::CAPABILITIES);
    assert!(has_option(mount_at(&seen, "/sys"), "ro"));
    assert_eq!(mount_at(&seen, "/dev/null")["fstype"], "devtmpfs");
}

#[test]
fn an_ordinary_user_s_container_has_a_whole_life() {
    let mut bundle = users_bundle("life");
    bundle.args(["/bin/sleep", "1000"]);
    let words = |verb: &'static str| rt(&bundle, &[verb, &bundle.id]);
    rt(&bundle, &["create", "--bundle", &bundle.text(""), &bundle.id]).run().ok();
    words("state").run().ok();
    words("start").run().ok();
    let inside = rt(&bundle, &["exec", &bundle.id, "/probe", "fingerprint"]).run().ok().json();
    assert_eq!((&inside["uid"]["real"], &inside["uid_map"]), (&json!(0), &json!([[0, UID, 1]])));
    let listed = rt(&bundle, &["ps", "--format", "json", &bundle.id]).run().ok().json();
    assert_eq!(listed.as_array().expect("pids").len(), 1);
    words("delete").run().fails(&["is not stopped"]);
    rt(&bundle, &["kill", &bundle.id, "KILL"]).run().ok();
    let stopped = || words("state").run().ok().json()["status"] == "stopped";
    common::wait_until(common::patience(), || stopped().then_some(())).expect("it stops");
    words("delete").run().ok();
    words("state").run().fails(&["does not exist"]);
}

#[test]
fn the_state_of_a_user_is_in_its_runtime_directory_and_sticky() {
    let mut bundle = users_bundle("xdg");
    bundle.args(["/bin/true"]);
    bundle.save();
    let place = bundle.directory("xdg");
    chown(&place, Some(UID), Some(UID)).expect("chown");
    let script = "program=$1; shift 3; exec \"$program\" \"$@\"";
    let command = Runtime::in_shell(script, &bundle, &["run", "--bundle", &bundle.text(""), &bundle.id]);
    command.env("XDG_RUNTIME_DIR", &bundle.text("xdg")).before_exec(become_user).run().ok();
    let state = fs::metadata(place.join("rt")).expect("the state root");
    assert_eq!((state.mode() & 0o7777, state.uid()), (0o1700, UID));
    let command = Runtime::in_shell(script, &bundle, &["run", "--bundle", &bundle.text(""), &bundle.id]);
    command.before_exec(become_user).run().fails(&["/run/rt", "set XDG_RUNTIME_DIR, or use --root"]);
}

#[test]
fn without_a_user_namespace_an_ordinary_user_is_told_what_is_missing() {
    let mut bundle = users_bundle("nouserns");
    bundle.without_namespace("user");
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.remove(map);
    }
    run(&bundle).fails(&["/linux/namespaces: rootless containers require user namespaces", "rt spec --rootless"]);
}

#[test]
fn more_ids_than_one_s_own_need_the_tools_and_the_error_says_which() {
    let mut bundle = users_bundle("tools");
    bundle.set("/linux/uidMappings/-", json!({"containerID": 1, "hostID": 100_000, "size": 65536}));
    bundle.args(["/bin/true"]);
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    rt(&bundle, &words)
        .env("PATH", "/nonexistent")
        .run()
        .fails(&["/linux/uidMappings: ", "newgidmap, which maps more than one's own id (Debian: package uidmap)"]);
}

#[test]
fn ids_of_others_can_t_be_mapped() {
    let mut bundle = users_bundle("others");
    bundle.set("/linux/uidMappings/0/hostID", json!(0)).args(["/bin/true"]);
    run(&bundle).fails(&["/linux/uidMappings: ", "0 0 1: only ids of our own can be mapped"]);
}

#[test]
fn the_clocks_of_an_ordinary_user_s_time_namespace_are_set() {
    let mut bundle = users_bundle("time");
    bundle.set("/linux/namespaces/-", json!({"type": "time"}));
    bundle.set("/linux/timeOffsets", json!({"boottime": {"secs": 7_000_000, "nanosecs": 0}}));
    let seen = fingerprint(&mut bundle);
    assert!(seen["clocks"]["boottime"].as_i64().expect("a clock") >= 7_000_000);
    assert_eq!(seen["dumpable"], 1, "the workload itself hides from nobody");
}

/// Without a network namespace of its own sysfs can't be mounted, without an IPC namespace no message queues.
#[test]
fn what_the_kernel_does_not_mount_anew_is_the_hosts_with_the_same_flags() {
    let mut bundle = users_bundle("fallbacks");
    bundle.without_namespace("ipc");
    let mounts = bundle.config["mounts"].as_array().expect("mounts").clone();
    let at = mounts.iter().position(|m| m["destination"] == "/sys").expect("/sys");
    bundle.set(&format!("/mounts/{at}/type"), json!("sysfs"));
    bundle.set(&format!("/mounts/{at}/source"), json!("sysfs"));
    bundle.set(&format!("/mounts/{at}/options"), json!(["nosuid", "noexec", "nodev", "ro"]));
    if fs::metadata("/dev/mqueue").is_err() {
        let at = mounts.iter().position(|m| m["destination"] == "/dev/mqueue").expect("/dev/mqueue");
        bundle.remove(&format!("/mounts/{at}"));
    }
    let seen = fingerprint(&mut bundle);
    let all = seen["mounts"].as_array().expect("mounts");
    let below: Vec<&Value> = all.iter().filter(|m| m["target"].as_str().expect("text").starts_with("/sys")).collect();
    for mount in below {
        assert!(has_option(mount, "ro") && has_option(mount, "nosuid"), "{mount}");
    }
    assert_eq!(mount_at(&seen, "/sys")["fstype"], "sysfs");
}

#[test]
fn files_that_only_the_caller_may_see_can_be_bound() {
    let mut bundle = users_bundle("private");
    bundle.write("private/word", "secret\n");
    let directory = bundle.path("private");
    give(&directory);
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).expect("chmod");
    bundle.mount("/mnt", "bind", &bundle.text("private"), &["rbind", "ro"]).args(["/bin/cat", "/mnt/word"]);
    assert_eq!(run(&bundle).ok().stdout, "secret\n");
}

#[test]
fn limits_that_nobody_delegated_are_left_out_with_one_warning() {
    let mut bundle = users_bundle("undelegated");
    bundle.set("/linux/resources", json!({"memory": {"limit": 50_000_000}, "pids": {"limit": 50}}));
    bundle.args(["/bin/echo", "ran"]);
    let output = run(&bundle).ok();
    assert_eq!(output.stdout, "ran\n");
    let warnings: Vec<&str> = output.stderr.lines().filter(|line| line.contains("warning")).collect();
    let [warning] = warnings[..] else { panic!("{}", output.stderr) };
    assert!(warning.contains("/linux/resources: running without memory/limit, pids/limit"), "{warning}");
    if cgroups::is_v2() {
        assert!(warning.contains("/etc/systemd/system/user@.service.d/delegate.conf"), "{warning}");
    } else {
        assert!(warning.contains("only root can manage"), "{warning}");
    }
    let words = ["--rootless=false", "run", "--bundle", &bundle.text(""), &bundle.id];
    rt(&bundle, &words).run().fails(&["no right to make cgroups there"]);
}

/// A cgroup of the unified tree that belongs to the user, with a place for the runtime itself in it.
struct Delegated {
    top: PathBuf,
    own: PathBuf,
    controllers: bool,
}

impl Delegated {
    fn new(bundle: &Bundle) -> Self {
        let all = cgroups::hierarchies();
        let mount = &all.iter().find(|h| h.unified).expect("cgroup2 is mounted").mount;
        let top = mount.join(format!("{}.delegated", bundle.id));
        let own = top.join("own");
        fs::create_dir(&top).expect("a cgroup");
        let controllers = cgroups::is_v2() && {
            fs::write(mount.join("cgroup.subtree_control"), "+pids +memory").expect("controllers");
            true
        };
        fs::create_dir(&own).expect("a cgroup");
        for directory in [&top, &own] {
            for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                chown(directory.join(name), Some(UID), Some(UID)).expect("chown");
            }
        }
        Self { top, own, controllers }
    }

    /// A runtime that is in there.
    fn rt(&self, bundle: &Bundle, words: &[&str]) -> Runtime {
        let procs = self.own.join("cgroup.procs");
        let inside = move || fs::write(&procs, "0").and_then(|()| become_user());
        bundle.save();
        Runtime::with_program(&bundle.path("rt"), bundle, words).before_exec(inside)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for directory in [&self.own, &self.top] {
            common::wait_until(common::patience(), || fs::remove_dir(directory).ok());
        }
    }
}

#[test]
fn in_a_delegated_cgroup_a_user_s_container_has_its_own_with_limits() {
    let mut bundle = users_bundle("delegated");
    let delegated = Delegated::new(&bundle);
    if delegated.controllers {
        bundle.set("/linux/resources", json!({"pids": {"limit": 50}, "memory": {"limit": 64 << 20}}));
    }
    bundle.args(["/probe", "sleep"]);
    let running = delegated.rt(&bundle, &["run", "--bundle", &bundle.text(""), &bundle.id]).spawn();
    running.wait_for("ready");
    let cgroup = delegated.top.join(&bundle.id);
    assert_eq!(cgroups::value(&cgroup.join("cgroup.procs")).lines().count(), 1);
    if delegated.controllers {
        assert_eq!(cgroups::value(&cgroup.join("pids.max")), "50");
        assert_eq!(cgroups::value(&cgroup.join("memory.max")), (64 << 20).to_string());
        delegated.rt(&bundle, &["update", "--pids-limit", "40", &bundle.id]).run().ok();
        assert_eq!(cgroups::value(&cgroup.join("pids.max")), "40");
    }
    delegated.rt(&bundle, &["pause", &bundle.id]).run().ok();
    assert_eq!(delegated.rt(&bundle, &["state", &bundle.id]).run().ok().json()["status"], "paused");
    delegated.rt(&bundle, &["resume", &bundle.id]).run().ok();
    let inside = delegated.rt(&bundle, &["exec", &bundle.id, "/bin/cat", "/proc/self/cgroup"]).run().ok();
    assert!(inside.stdout.lines().any(|line| line == "0::/"), "{}", inside.stdout);
    delegated.rt(&bundle, &["kill", &bundle.id, "KILL"]).run().ok();
    running.wait().exits(137);
    assert!(fs::metadata(&cgroup).is_err(), "its cgroup went with it");
}

/// A controller that somebody above keeps to himself: the error names it, and where it is missing.
#[test]
fn a_controller_that_was_not_passed_on_is_named() {
    if !cgroups::is_v2() {
        skip!("controllers are passed on only where all are on the unified hierarchy");
    }
    let mut bundle = users_bundle("kept");
    let delegated = Delegated::new(&bundle);
    let below = delegated.top.join("below");
    fs::create_dir(&below).expect("a cgroup");
    let mount = delegated.top.parent().expect("a mount point");
    let path = format!("/{}/{}", below.strip_prefix(mount).expect("below it").display(), bundle.id);
    // The one above belongs to root again, who enables nothing in it.
    chown(delegated.top.join("cgroup.subtree_control"), Some(0), Some(0)).expect("chown");
    for name in ["", "cgroup.procs", "cgroup.subtree_control"] {
        chown(below.join(name), Some(UID), Some(UID)).expect("chown");
    }
    bundle.set("/linux/cgroupsPath", json!(path)).set("/linux/resources", json!({"memory": {"limit": 64 << 20}}));
    bundle.args(["/bin/true"]);
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    delegated.rt(&bundle, &words).run().fails(&["the memory controller is not delegated to us"]);
    fs::remove_dir(&below).expect("nothing was left in it");
}

/// The outer container, in which the runtime and an inner bundle lie; everything a container may have is granted.
fn outer(name: &str, inner: &Value) -> Bundle {
    let mut bundle = users_bundle(name);
    let rootfs = bundle.rootfs();
    bring(&rootfs.join("rt"));
    fs::create_dir_all(rootfs.join("inner/rootfs/bin")).expect("the inner root");
    for file in ["proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join("inner/rootfs").join(file)).expect("a directory");
    }
    fs::copy(rootfs.join("probe"), rootfs.join("inner/rootfs/probe")).expect("the probe");
    bundle.write("rootfs/inner/config.json", &inner.to_string());
    give(&rootfs);
    let all: Vec<String> = rt::identity::lower::all_capabilities().map(|(name, _)| name).collect();
    for set in ["bounding", "effective", "permitted"] {
        bundle.set(&format!("/process/capabilities/{set}"), json!(all));
    }
    bundle.set("/root/readonly", json!(false)).set("/linux/maskedPaths", json!([]));
    bundle.set("/linux/readonlyPaths", json!([])).set("/process/noNewPrivileges", json!(false));
    bundle.args(["/rt", "--root", "/tmp/state", "run", "--bundle", "/inner", "inner"]);
    bundle
}

/// The config of the inner container: as callers in a user namespace send it, without one of its own.
fn inner(change: impl FnOnce(&mut Value)) -> Value {
    let mut config = common::config::default("inner");
    config["process"]["args"] = json!(["/probe", "fingerprint"]);
    config["linux"].as_object_mut().expect("linux").remove("cgroupsPath");
    change(&mut config);
    config
}

#[test]
fn root_of_a_user_namespace_runs_containers_in_it() {
    let bundle = outer("nested", &inner(|_| ()));
    let seen = run(&bundle).ok().json();
    assert_eq!((&seen["uid_map"], &seen["hostname"]), (&json!([[0, UID, 1]]), &json!("rt-test")));
    assert_eq!(seen["pid"], 1);
    assert_eq!(mount_at(&seen, "/sys")["fstype"], "sysfs");
}

/// With a user namespace of its own, in which the one root is 5.
fn with_own_user_namespace(config: &mut Value) {
    config["linux"]["namespaces"].as_array_mut().expect("a list").push(json!({"type": "user"}));
    for map in ["uidMappings", "gidMappings"] {
        config["linux"][map] = json!([{"containerID": 5, "hostID": 0, "size": 1}]);
    }
    config["process"]["user"] = json!({"uid": 5, "gid": 5});
}

#[test]
fn a_user_namespace_nests_in_another() {
    let bundle = outer("nested-userns", &inner(with_own_user_namespace));
    let seen = run(&bundle).ok().json();
    assert_eq!((&seen["uid_map"], &seen["uid"]["real"]), (&json!([[5, 0, 1]]), &json!(5)));
}

#[test]
fn inside_a_container_with_masked_proc_the_error_says_so() {
    let mut bundle = outer("masked", &inner(with_own_user_namespace));
    bundle.set("/linux/maskedPaths", json!(["/proc/keys"]));
    run(&bundle).fails(&["/mounts/0: ", "the procfs that we see is partly covered"]);
}

/// Root in a container that may make no device nodes: what it has it passes on.
#[test]
fn without_the_right_to_make_devices_root_binds_its_own() {
    let mut bundle = Bundle::new("nomknod");
    let without =
        || caps::drop(None, caps::CapSet::Bounding, caps::Capability::CAP_MKNOD).map_err(std::io::Error::other);
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(without).run().ok().json();
    assert_eq!(mount_at(&seen, "/dev/null")["fstype"], mount_of_dev_null());
    bundle.args(["/bin/sh", "-c", "echo gone >/dev/null"]);
    bundle.run_command().before_exec(without).run().ok();
}

/// The filesystem in which this machine has its /dev/null.
fn mount_of_dev_null() -> String {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let at = |wanted: &str| {
        let line = table.lines().rfind(|l| l.split(' ').nth(4) == Some(wanted))?;
        line.split(" - ").nth(1)?.split(' ').next().map(str::to_owned)
    };
    at("/dev/null").or_else(|| at("/dev")).or_else(|| at("/")).expect("a root")
}

/// A user of its own, for the limit counts all processes of a user: one is the runtime, and the next is one too many.
#[test]
fn when_no_more_processes_may_be_made_the_error_says_so() {
    const POOR: u32 = UID + 1;
    let mut bundle = users_bundle("nproc");
    bundle.args(["/bin/true"]);
    bundle.save();
    chown(bundle.state_root(), Some(POOR), Some(POOR)).expect("chown");
    let poor = || {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NPROC, 1, 1)?;
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(POOR.into(), POOR.into(), POOR.into())?;
        Ok(nix::unistd::setresuid(POOR.into(), POOR.into(), POOR.into())?)
    };
    let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
    let run = Runtime::with_program(&bundle.path("rt"), &bundle, &words).before_exec(poor).run();
    run.fails(&["clone3", "RLIMIT_NPROC"]);
}

/// A real user of this machine, with a line in /etc/subuid: the VM has one.
#[test]
fn a_user_with_subordinate_ids_maps_them_all() {
    let granted = fs::read_to_string("/etc/subuid").unwrap_or_default();
    let line = granted.lines().find(|line| line.starts_with("vmuser:100000:65536"));
    if line.is_none() || fs::metadata("/usr/bin/newuidmap").is_err() {
        skip!("no user vmuser with subordinate ids, or no newuidmap");
    }
    let mut bundle = users_bundle("subids");
    let as_vmuser = || {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setresgid(1000.into(), 1000.into(), 1000.into())?;
        Ok(nix::unistd::setresuid(1000.into(), 1000.into(), 1000.into())?)
    };
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(
            map,
            json!([
                {"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536}
            ]),
        );
    }
    bundle.set("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}));
    bundle.args(["/probe", "fingerprint"]);
    bundle.save();
    chown(bundle.state_root(), Some(1000), Some(1000)).expect("chown");
    let run = |bundle: &Bundle| {
        let words = ["run", "--bundle", &bundle.text(""), &bundle.id];
        Runtime::new(bundle, &words).env("PATH", "/usr/bin").before_exec(as_vmuser).run()
    };
    let seen = run(&bundle).ok().json();
    assert_eq!(seen["uid_map"], json!([[0, 1000, 1], [1, 100_000, 65536]]));
    assert_eq!((&seen["uid"]["real"], &seen["groups"]), (&json!(7), &json!([9])));
    bundle.set("/linux/uidMappings/1/hostID", json!(300_000)).save();
    run(&bundle).fails(&[
        "/linux/uidMappings: newuidmap: ",
        "/etc/subuid has no line that gives vmuser the ids 300000-365535; as root: usermod --add-subuids 300000-365535 vmuser",
    ]);
}
