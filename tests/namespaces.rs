//! Namespaces, seen from inside: new, joined by path, inherited, none at all; id maps; names; loopback; time offsets.

mod common;

use common::caller::own_mounts;
use common::{Bundle, Running, json, namespace_of, own_namespace};
use nix::mount::MsFlags;
use serde_json::Value;

/// The names under /proc/PID/ns for the names of the spec.
const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("cgroup", "cgroup"),
    ("user", "user"),
    ("time", "time"),
];

fn inode(fingerprint: &Value, file: &str) -> u64 {
    fingerprint["ns"][file].as_u64().unwrap_or_else(|| panic!("no {file} namespace in {}", fingerprint["ns"]))
}

/// Maps container ids 0 to 65535 to 100000 and up.
fn with_user_namespace(bundle: &mut Bundle) {
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
}

#[test]
fn each_listed_namespace_is_new_and_the_others_are_inherited() {
    let mut bundle = Bundle::new("new");
    let seen = bundle.fingerprint(&[]);
    for (kind, file) in KINDS {
        let (inside, outside) = (inode(&seen, file), own_namespace(file));
        let listed = !matches!(kind, "user" | "time");
        assert_eq!(inside != outside, listed, "{kind}: inside {inside}, outside {outside}");
    }
}

#[test]
fn each_namespace_that_is_not_listed_is_inherited() {
    for (kind, file) in KINDS.iter().take(6).filter(|(kind, _)| *kind != "mount") {
        let mut bundle = Bundle::new("inherit");
        bundle.without_namespace(kind);
        if *kind == "uts" {
            bundle.remove("/hostname");
        }
        let seen = bundle.fingerprint(&[]);
        for (_, other) in KINDS.iter().take(6) {
            let same = inode(&seen, other) == own_namespace(other);
            assert_eq!(same, other == file, "{other} without {kind}");
        }
    }
}

#[test]
fn the_namespaces_of_a_created_container_are_those_of_its_process() {
    let bundle = Bundle::new("created");
    bundle.create().ok();
    let pid = bundle.pid();
    let before: Vec<u64> = KINDS.iter().map(|(_, file)| namespace_of(pid, file)).collect();
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
    assert_ne!(before[0], own_namespace("pid"));
    assert_ne!(before[4], own_namespace("mnt"));
}

#[test]
fn the_first_process_of_a_new_pid_namespace_is_1_and_leads_a_session() {
    let mut bundle = Bundle::new("pid");
    let seen = bundle.fingerprint(&[]);
    assert_eq!([&seen["pid"], &seen["ppid"]], [1, 0]);
    assert_eq!([&seen["sid"], &seen["pgid"]], [1, 1]);
}

#[test]
fn without_a_pid_namespace_the_process_leads_a_session_too() {
    let mut bundle = Bundle::new("nopid");
    bundle.without_namespace("pid");
    let seen = bundle.fingerprint(&[]);
    assert_ne!(seen["pid"], 1);
    assert_eq!(seen["pid"], seen["sid"]);
    assert_eq!(seen["pid"], seen["pgid"]);
}

/// A running container to join.
fn host_of(bundle: &mut Bundle) -> (Running, i64) {
    bundle.args(["/probe", "sleep"]);
    let running = bundle.run_until_ready();
    let pid = bundle.pid();
    (running, pid)
}

fn end(bundle: &Bundle, running: Running) {
    bundle.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn each_namespace_is_joined_by_its_path() {
    let mut first = Bundle::new("host");
    let (running, pid) = host_of(&mut first);
    for (kind, file) in KINDS.iter().take(6).filter(|(kind, _)| *kind != "mount") {
        let mut second = Bundle::new("join");
        second.join(kind, &format!("/proc/{pid}/ns/{file}"));
        let seen = second.fingerprint(&[]);
        for (_, other) in KINDS.iter().take(6) {
            let same = inode(&seen, other) == namespace_of(pid, other);
            assert_eq!(same, other == file, "{other} when {kind} is joined");
        }
        if *kind == "pid" {
            assert_ne!(seen["pid"], 1, "the joined namespace has its first process already");
        }
    }
    end(&first, running);
}

#[test]
fn all_namespaces_but_mount_are_joined_together() {
    let mut first = Bundle::new("pod");
    let (running, pid) = host_of(&mut first);
    let mut second = Bundle::new("member");
    for (kind, file) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
        second.join(kind, &format!("/proc/{pid}/ns/{file}"));
    }
    let seen = second.fingerprint(&[]);
    for file in ["pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(inode(&seen, file), namespace_of(pid, file), "{file}");
    }
    assert_ne!(inode(&seen, "mnt"), namespace_of(pid, "mnt"));
    end(&first, running);
}

#[test]
fn the_hostname_is_set_in_a_joined_uts_namespace() {
    let mut first = Bundle::new("uts");
    let (running, pid) = host_of(&mut first);
    let mut second = Bundle::new("uts-member");
    second.join("uts", &format!("/proc/{pid}/ns/uts")).set("/hostname", json!("renamed"));
    assert_eq!(second.fingerprint(&[])["hostname"], "renamed");
    end(&first, running);
}

#[test]
fn a_user_namespace_is_joined_with_the_namespaces_it_owns() {
    let mut first = Bundle::new("userns");
    with_user_namespace(&mut first);
    let (running, pid) = host_of(&mut first);
    let mut second = Bundle::new("userns-member");
    for (kind, file) in [("user", "user"), ("ipc", "ipc"), ("network", "net")] {
        second.join(kind, &format!("/proc/{pid}/ns/{file}"));
    }
    let seen = second.fingerprint(&[]);
    for file in ["user", "ipc", "net"] {
        assert_eq!(inode(&seen, file), namespace_of(pid, file), "{file}");
    }
    assert_eq!(seen["uid_map"], json!([[0, 100_000, 65536]]));
    assert_eq!(seen["uid"]["effective"], 0);
    end(&first, running);
}

#[test]
fn a_time_namespace_is_joined_by_its_path() {
    let mut first = Bundle::new("time-host");
    first.set("/linux/namespaces/-", json!({"type": "time"}));
    first.set("/linux/timeOffsets", json!({"boottime": {"secs": 7_000_000, "nanosecs": 0}}));
    let (running, pid) = host_of(&mut first);
    let mut second = Bundle::new("time-member");
    second.join("time", &format!("/proc/{pid}/ns/time"));
    let seen = second.fingerprint(&[]);
    assert_eq!(inode(&seen, "time"), namespace_of(pid, "time"));
    assert!(seen["clocks"]["boottime"].as_i64().expect("a clock") >= 7_000_000);
    end(&first, running);
}

#[test]
fn with_no_namespaces_at_all_the_process_sees_its_root_and_the_host() {
    let mut bundle = Bundle::new("none");
    bundle.namespaces(&[]).set("/mounts", json!([])).remove("/hostname");
    bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    bundle.args(["/probe", "fingerprint", "--stat", "/probe", "--stat", "/etc/passwd"]);
    // Nothing may be mounted, for there is no mount namespace to mount in; the caller's is private all the same.
    bundle.create_command().before_exec(own_mounts(MsFlags::MS_PRIVATE)).run().ok();
    let pid = bundle.pid();
    for (_, file) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
        assert_eq!(namespace_of(pid, file), own_namespace(file), "{file}");
    }
    let inode = |path: String| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).expect("a directory"));
    assert_eq!(inode(format!("/proc/{pid}/root/.")), inode(bundle.text("rootfs")));
    bundle.start().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn with_no_namespaces_at_all_run_prints_what_the_process_prints() {
    let mut bundle = Bundle::new("none-run");
    bundle.namespaces(&[]).set("/mounts", json!([])).remove("/hostname");
    bundle.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    bundle.args(["/probe", "fingerprint"]);
    let seen = bundle.run_command().before_exec(own_mounts(MsFlags::MS_PRIVATE)).run().ok().json();
    assert!(seen["root"].as_array().expect("entries").contains(&json!("probe")), "{}", seen["root"]);
    assert_ne!(seen["pid"], 1);
    assert_eq!(seen["hostname"].as_str().expect("a name"), nix::unistd::gethostname().expect("a name"));
}

#[test]
fn a_user_namespace_maps_as_the_config_says() {
    let mut bundle = Bundle::new("map");
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    let map = json!([
        {"containerID": 0, "hostID": 100_000, "size": 1}, {"containerID": 1, "hostID": 200_000, "size": 2000},
        {"containerID": 65534, "hostID": 300_000, "size": 1}
    ]);
    bundle.set("/linux/uidMappings", map.clone());
    bundle.set("/linux/gidMappings", json!([{"containerID": 0, "hostID": 400_000, "size": 70000}]));
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1001, "additionalGids": [7, 8]}));
    let seen = bundle.fingerprint(&["--stat", "/proc/self"]);
    assert_eq!(seen["uid_map"], json!([[0, 100_000, 1], [1, 200_000, 2000], [65534, 300_000, 1]]));
    assert_eq!(seen["gid_map"], json!([[0, 400_000, 70000]]));
    assert_eq!(seen["uid"], json!({"real": 1000, "effective": 1000, "saved": 1000}));
    assert_eq!(seen["gid"], json!({"real": 1001, "effective": 1001, "saved": 1001}));
    assert_eq!(seen["groups"], json!([7, 8]));
    assert_ne!(inode(&seen, "user"), own_namespace("user"));
}

#[test]
fn a_mapped_process_is_the_mapped_user_on_the_host() {
    use std::os::unix::fs::MetadataExt;
    let mut bundle = Bundle::new("mapped");
    with_user_namespace(&mut bundle);
    bundle.set("/process/user", json!({"uid": 5, "gid": 6})).args(["/probe", "sleep"]);
    let running = bundle.run_until_ready();
    let meta = std::fs::metadata(format!("/proc/{}/status", bundle.pid())).expect("the process");
    let status = std::fs::read_to_string(format!("/proc/{}/status", bundle.pid())).expect("the process");
    assert!(status.contains("Uid:\t100005\t100005\t100005\t100005"), "{status}");
    assert!(status.contains("Gid:\t100006\t100006\t100006\t100006"), "{status}");
    assert!(matches!(meta.uid(), 0 | 100_005));
    end(&bundle, running);
}

#[test]
fn a_container_with_a_user_namespace_is_complete() {
    let mut bundle = Bundle::new("complete");
    with_user_namespace(&mut bundle);
    let seen = bundle.fingerprint(&["--stat", "/dev/null", "--stat", "/dev/urandom", "--stat", "/dev/pts/ptmx"]);
    for (kind, file) in KINDS.iter().take(7) {
        assert_ne!(inode(&seen, file), own_namespace(file), "{kind}");
    }
    assert_eq!(seen["uid"]["effective"], 0);
    assert_eq!(seen["setgroups"], "allow");
    for (path, rdev) in [("/dev/null", [1, 3]), ("/dev/urandom", [1, 9])] {
        let device = &seen["stat"][path];
        assert_eq!([&device["type"], &device["read"], &device["write"]], ["char", "ok", "ok"], "{path}: {device}");
        assert_eq!(device["rdev"], json!(rdev), "{path}");
    }
    assert_eq!(common::texts(&seen["caps"]["effective"]).len(), 3);
}

#[test]
fn hostname_and_domainname_are_set() {
    let mut bundle = Bundle::new("names");
    bundle.set("/hostname", json!("the-host")).set("/domainname", json!("the-domain"));
    let seen = bundle.fingerprint(&[]);
    assert_eq!(seen["hostname"], "the-host");
    assert_eq!(seen["domainname"], "the-domain");
    assert_ne!(nix::unistd::gethostname().expect("a name").to_string_lossy(), "the-host", "the host keeps its own");
}

#[test]
fn a_new_network_namespace_has_loopback_up_and_nothing_else_up() {
    let mut bundle = Bundle::new("lo");
    let seen = bundle.fingerprint(&[]);
    let up: Vec<&Value> = seen["net"].as_array().expect("interfaces").iter().filter(|i| i["up"] == true).collect();
    assert_eq!(up, [&json!({"name": "lo", "up": true, "loopback": true})]);
}

#[test]
fn sysfs_shows_the_container_s_network_devices() {
    let mut bundle = Bundle::new("sysfs-net");
    let seen = bundle.fingerprint(&["--stat", "/sys/class/net"]);
    let names: Vec<&Value> = seen["net"].as_array().expect("interfaces").iter().map(|device| &device["name"]).collect();
    let mut shown: Vec<&Value> = seen["stat"]["/sys/class/net"]["entries"].as_array().expect("names").iter().collect();
    // Not a device: the file of the bonding driver, where it is loaded.
    shown.retain(|name| *name != "bonding_masters");
    assert_eq!(shown.len(), names.len(), "{shown:?} {names:?}");
    assert!(shown.iter().all(|name| names.contains(name)), "{shown:?} {names:?}");
}

#[test]
fn loopback_is_up_with_a_user_namespace_too() {
    let mut bundle = Bundle::new("lo-userns");
    with_user_namespace(&mut bundle);
    let seen = bundle.fingerprint(&[]);
    let lo = seen["net"].as_array().expect("interfaces").iter().find(|i| i["name"] == "lo").expect("lo");
    assert_eq!(lo["up"], true);
}

#[test]
fn time_offsets_move_the_clocks() {
    let mut bundle = Bundle::new("time");
    bundle.set("/linux/namespaces/-", json!({"type": "time"}));
    bundle.set(
        "/linux/timeOffsets",
        json!({"monotonic": {"secs": 1_000_000, "nanosecs": 5}, "boottime": {"secs": 2_000_000, "nanosecs": 6}}),
    );
    let seen = bundle.fingerprint(&[]);
    assert_ne!(inode(&seen, "time"), own_namespace("time"));
    let offsets = seen["timens_offsets"].as_str().expect("offsets");
    let words: Vec<&str> = offsets.split_whitespace().collect();
    assert_eq!(words, ["monotonic", "1000000", "5", "boottime", "2000000", "6"]);
    let clock = |name: &str| seen["clocks"][name].as_i64().expect("a clock");
    assert!(clock("monotonic") >= 1_000_000 && clock("monotonic") < 2_000_000);
    assert!(clock("boottime") >= 2_000_000);
}

#[test]
fn a_time_namespace_without_offsets_is_new_and_shows_the_host_s_time() {
    let mut bundle = Bundle::new("time-plain");
    bundle.set("/linux/namespaces/-", json!({"type": "time"}));
    let seen = bundle.fingerprint(&[]);
    assert_ne!(inode(&seen, "time"), own_namespace("time"));
    let own = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock").tv_sec();
    let inside = seen["clocks"]["boottime"].as_i64().expect("a clock");
    assert!((own - 600..=own).contains(&inside), "inside {inside}, outside {own}");
}

#[test]
fn a_new_cgroup_namespace_begins_at_the_container_s_cgroup() {
    let mut bundle = Bundle::new("cgroupns");
    let seen = bundle.fingerprint(&[]);
    let paths: Vec<&Value> = seen["cgroup"].as_array().expect("cgroups").iter().map(|c| &c["path"]).collect();
    assert!(!paths.is_empty());
    assert!(paths.iter().all(|path| *path == "/"), "{paths:?}");
}

#[test]
fn an_inherited_cgroup_namespace_shows_the_whole_path() {
    let mut bundle = Bundle::new("cgroupns-host");
    bundle.without_namespace("cgroup");
    let seen = bundle.fingerprint(&[]);
    let paths = common::texts(&seen["cgroup"].as_array().expect("cgroups").iter().map(|c| c["path"].clone()).collect());
    assert!(paths.iter().any(|path| path.ends_with(&bundle.id)), "{paths:?}");
}

#[test]
fn only_a_mount_namespace_is_enough() {
    let mut bundle = Bundle::new("onlymnt");
    bundle.namespaces(&["mount"]).remove("/hostname");
    let seen = bundle.fingerprint(&[]);
    for (kind, file) in KINDS.iter().take(6) {
        let same = inode(&seen, file) == own_namespace(file);
        assert_eq!(same, *kind != "mount", "{kind}");
    }
}
