//! Control groups: where the container is put, every limit as the kernel shows it, that limits bite, and that all of it
//! goes away again. One table for v1 and one for v2; what the host does not have is skipped with its reason.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Bundle, cgroups, json, kernel, texts};
use serde_json::Value;

/// The directory of the container's cgroup for a v1 controller, or on v2.
fn directory(bundle: &Bundle, controller: &str) -> Option<PathBuf> {
    cgroups::v1(controller).or_else(|| cgroups::v2(controller)).map(|mount| mount.join(&bundle.id))
}

/// Creates the container and gives the values of these control files (`controller`, `file`).
fn values(bundle: &mut Bundle, files: &[(&str, &str)]) -> Vec<String> {
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    let read = |(controller, file): &(&str, &str)| match directory(bundle, controller) {
        Some(directory) => cgroups::value(&directory.join(file)),
        None => format!("no {controller}"),
    };
    let values = files.iter().map(read).collect();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    values
}

/// A row: the resources, the v1 file and its value, the v2 file and its value. An empty file name: not on that kind.
struct Row {
    resources: Value,
    controller: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
}

fn row(
    resources: Value,
    controller: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Row {
    Row { resources, controller, v1, v2 }
}

/// Sets each row's resources and compares the control file; rows that this host cannot have are named.
fn hold(name: &str, rows: &[Row]) {
    for row in rows {
        let on_v1 = cgroups::v1(row.controller).is_some();
        let (file, expected) = if on_v1 { row.v1 } else { row.v2 };
        let Some(mount) = cgroups::v1(row.controller).or_else(|| cgroups::v2(row.controller)) else {
            common::skipped(&format!("{}: this host has no {} controller", row.resources, row.controller));
            continue;
        };
        if file.is_empty() {
            continue;
        }
        let mut bundle = Bundle::new(name);
        bundle.set("/linux/resources", row.resources.clone()).args(["/bin/true"]);
        let output = bundle.create();
        let path = mount.join(&bundle.id).join(file);
        if !output.success()
            && fs::metadata(path.parent().expect("a parent").parent().expect("a parent").join(file)).is_err()
        {
            common::skipped(&format!("{}: this kernel has no {file}", row.resources));
            output.fails(&[file]);
            continue;
        }
        output.ok();
        assert_eq!(cgroups::value(&path), expected, "{file} for {}", row.resources);
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        bundle.nothing_left();
    }
}

#[test]
fn cpu_limits() {
    let cpu = |value: Value| json!({ "cpu": value });
    hold(
        "cpu",
        &[
            row(cpu(json!({"shares": 1024})), "cpu", ("cpu.shares", "1024"), ("cpu.weight", "100")),
            row(cpu(json!({"shares": 2})), "cpu", ("cpu.shares", "2"), ("cpu.weight", "1")),
            row(cpu(json!({"shares": 262_144})), "cpu", ("cpu.shares", "262144"), ("cpu.weight", "10000")),
            row(
                cpu(json!({"quota": 50000, "period": 200_000})),
                "cpu",
                ("cpu.cfs_quota_us", "50000"),
                ("cpu.max", "50000 200000"),
            ),
            row(
                cpu(json!({"quota": 50000, "period": 200_000})),
                "cpu",
                ("cpu.cfs_period_us", "200000"),
                ("cpu.max", "50000 200000"),
            ),
            row(cpu(json!({"quota": 50000})), "cpu", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
            row(cpu(json!({"quota": -1})), "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
            row(cpu(json!({"period": 200_000})), "cpu", ("cpu.cfs_period_us", "200000"), ("cpu.max", "max 200000")),
            row(
                cpu(json!({"quota": 50000, "period": 100_000, "burst": 20000})),
                "cpu",
                ("cpu.cfs_burst_us", "20000"),
                ("cpu.max.burst", "20000"),
            ),
            row(cpu(json!({"idle": 1})), "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
            row(cpu(json!({})), "cpu", ("cpu.shares", "1024"), ("cpu.weight", "100")),
        ],
    );
}

#[test]
fn memory_limits() {
    let memory = |value: Value| json!({ "memory": value });
    let limit = 268_435_456_u64;
    hold(
        "memory",
        &[
            row(
                memory(json!({"limit": limit})),
                "memory",
                ("memory.limit_in_bytes", "268435456"),
                ("memory.max", "268435456"),
            ),
            row(
                memory(json!({"limit": -1})),
                "memory",
                ("memory.limit_in_bytes", "9223372036854771712"),
                ("memory.max", "max"),
            ),
            row(
                memory(json!({"limit": 0})),
                "memory",
                ("memory.limit_in_bytes", "9223372036854771712"),
                ("memory.max", "max"),
            ),
            row(
                memory(json!({"limit": limit, "reservation": limit / 2})),
                "memory",
                ("memory.soft_limit_in_bytes", "134217728"),
                ("memory.low", "134217728"),
            ),
            row(
                memory(json!({"limit": limit, "swap": limit * 2})),
                "memory",
                ("memory.memsw.limit_in_bytes", "536870912"),
                ("memory.swap.max", "268435456"),
            ),
            row(
                memory(json!({"limit": limit, "swap": -1})),
                "memory",
                ("memory.memsw.limit_in_bytes", "9223372036854771712"),
                ("memory.swap.max", "max"),
            ),
            row(memory(json!({"swappiness": 30})), "memory", ("memory.swappiness", "30"), ("", "")),
            row(
                memory(json!({"disableOOMKiller": false})),
                "memory",
                ("memory.limit_in_bytes", "9223372036854771712"),
                ("memory.max", "max"),
            ),
        ],
    );
}

#[test]
fn the_out_of_memory_killer_is_disabled_on_v1() {
    if cgroups::v1("memory").is_none() {
        skip!("memory is not on cgroup v1");
    }
    let mut bundle = Bundle::new("oom-disable");
    bundle.set("/linux/resources", json!({"memory": {"disableOOMKiller": true}}));
    assert!(values(&mut bundle, &[("memory", "memory.oom_control")])[0].contains("oom_kill_disable 1"));
}

#[test]
fn pids_limits() {
    let pids = |limit: i64| json!({"pids": {"limit": limit}});
    hold(
        "pids",
        &[
            row(pids(99), "pids", ("pids.max", "99"), ("pids.max", "99")),
            row(pids(-1), "pids", ("pids.max", "max"), ("pids.max", "max")),
            row(json!({"pids": {}}), "pids", ("pids.max", "max"), ("pids.max", "max")),
            row(json!({}), "pids", ("pids.max", "max"), ("pids.max", "max")),
        ],
    );
}

#[test]
fn cpusets() {
    let cpuset = |value: Value| json!({ "cpu": value });
    hold(
        "cpuset",
        &[
            row(cpuset(json!({"cpus": "0"})), "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
            row(cpuset(json!({"cpus": "0-1"})), "cpuset", ("cpuset.cpus", "0-1"), ("cpuset.cpus", "0-1")),
            row(cpuset(json!({"mems": "0"})), "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
        ],
    );
}

#[test]
fn the_process_may_run_on_the_cpus_of_its_set_only() {
    let mut bundle = Bundle::new("affinity");
    bundle.set("/linux/resources", json!({"cpu": {"cpus": "0"}}));
    assert_eq!(bundle.fingerprint(&[])["affinity"], json!([0]));
}

#[test]
fn without_limits_the_cpuset_is_the_parent_s() {
    let mut bundle = Bundle::new("cpuset-default");
    let seen = bundle.fingerprint(&[]);
    let cpus = std::thread::available_parallelism().expect("a number").get();
    assert_eq!(texts(&seen["affinity"]).len(), cpus);
}

#[test]
fn block_io_limits() {
    let Some(number) = kernel::disk() else { skip!("this host has no block device") };
    let (major, minor) = number;
    let rate = |key: &str| json!({"blockIO": {key: [{"major": major, "minor": minor, "rate": 1_048_576}]}});
    let text: &'static str = Box::leak(format!("{major}:{minor} 1048576").into_boxed_str());
    let max = |word: &str| -> &'static str {
        let words =
            ["rbps", "wbps", "riops", "wiops"].map(|w| format!("{w}={}", if w == word { "1048576" } else { "max" }));
        Box::leak(format!("{major}:{minor} {}", words.join(" ")).into_boxed_str())
    };
    let controller = if cgroups::v1("blkio").is_some() { "blkio" } else { "io" };
    hold(
        "blkio",
        &[
            row(
                rate("throttleReadBpsDevice"),
                controller,
                ("blkio.throttle.read_bps_device", text),
                ("io.max", max("rbps")),
            ),
            row(
                rate("throttleWriteBpsDevice"),
                controller,
                ("blkio.throttle.write_bps_device", text),
                ("io.max", max("wbps")),
            ),
            row(
                rate("throttleReadIOPSDevice"),
                controller,
                ("blkio.throttle.read_iops_device", text),
                ("io.max", max("riops")),
            ),
            row(
                rate("throttleWriteIOPSDevice"),
                controller,
                ("blkio.throttle.write_iops_device", text),
                ("io.max", max("wiops")),
            ),
            row(
                json!({"blockIO": {"weight": 0}}),
                controller,
                ("cgroup.clone_children", "0"),
                ("cgroup.type", "domain"),
            ),
        ],
    );
}

#[test]
fn huge_page_limits() {
    let Some(size) = kernel::huge_page_size() else { skip!("this kernel has no huge pages") };
    if directory(&Bundle::new("hugetlb-look"), "hugetlb").is_none() {
        skip!("this host has no hugetlb controller");
    }
    let mut bundle = Bundle::new("hugetlb");
    bundle.set("/linux/resources", json!({"hugepageLimits": [{"pageSize": size, "limit": 4_194_304}]}));
    let unified = cgroups::v1("hugetlb").is_none();
    let file = if unified { format!("hugetlb.{size}.max") } else { format!("hugetlb.{size}.limit_in_bytes") };
    assert_eq!(values(&mut bundle, &[("hugetlb", &file)]), ["4194304"]);
}

#[test]
fn net_class_and_priorities_on_v1() {
    if cgroups::v1("net_cls").is_none() || cgroups::v1("net_prio").is_none() {
        skip!("net_cls and net_prio are not mounted");
    }
    let mut bundle = Bundle::new("net");
    let network = json!({"classID": 1_048_577, "priorities": [{"name": "lo", "priority": 5}]});
    bundle.set("/linux/resources", json!({ "network": network }));
    let found = values(&mut bundle, &[("net_cls", "net_cls.classid"), ("net_prio", "net_prio.ifpriomap")]);
    assert_eq!(found[0], "1048577");
    assert!(found[1].contains("lo 5"), "{}", found[1]);
}

#[test]
fn unified_values_on_v2() {
    if !cgroups::is_v2() {
        skip!("not a pure cgroup v2 host");
    }
    let mut bundle = Bundle::new("unified");
    bundle.set(
        "/linux/resources",
        json!({"unified": {"memory.high": "104857600", "pids.max": "77", "cpu.weight": "33"}}),
    );
    let files = [("memory", "memory.high"), ("pids", "pids.max"), ("cpu", "cpu.weight")];
    assert_eq!(values(&mut bundle, &files), ["104857600", "77", "33"]);
}

#[test]
fn unified_values_are_refused_without_v2() {
    if cgroups::is_v2() {
        skip!("this is a pure cgroup v2 host");
    }
    let mut bundle = Bundle::new("unified-v1");
    bundle.set("/linux/resources", json!({"unified": {"memory.high": "104857600"}})).args(["/bin/true"]);
    bundle.create().fails(&["/linux/resources/unified", "v2"]);
    bundle.nothing_left();
}

#[test]
fn the_container_is_in_its_cgroup_in_every_hierarchy() {
    let mut bundle = Bundle::new("place");
    bundle.args(["/probe", "sleep"]);
    let running = bundle.run_until_ready();
    let pid = bundle.pid();
    let table = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("the container's cgroups");
    let mounted = cgroups::hierarchies();
    for line in table.lines() {
        let mut fields = line.splitn(3, ':');
        let (controllers, path) = (fields.nth(1).expect("controllers"), fields.next().expect("a path"));
        let is_mounted = mounted.iter().any(|h| match controllers {
            "" => h.unified,
            list => list.split(',').any(|one| h.controllers.iter().any(|name| name == one)),
        });
        if is_mounted {
            assert!(path == format!("/{}", bundle.id) || path.starts_with(&format!("/{}/", bundle.id)), "{line}");
        }
    }
    bundle.kill("KILL").ok();
    running.wait().exits(137);
}

#[test]
fn created_and_not_started_it_is_in_its_cgroup_already() {
    // conmon asks for oom events and shims read /proc/PID/cgroup when create returns.
    let mut bundle = Bundle::new("place-created");
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    let table = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid())).expect("the container's cgroups");
    assert!(table.lines().filter(|line| line.contains(&bundle.id)).count() >= 1, "{table}");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

#[test]
fn the_parents_of_a_deep_path_are_made() {
    let mut bundle = Bundle::new("deep");
    let path = format!("/{}/one/two", bundle.id);
    bundle.set("/linux/cgroupsPath", json!(path)).set("/linux/resources", json!({"pids": {"limit": 33}}));
    bundle.args(["/bin/true"]);
    bundle.create().ok();
    let mount = cgroups::v1("pids").or_else(|| cgroups::v2("pids")).expect("a pids controller");
    assert_eq!(cgroups::value(&mount.join(&path[1..]).join("pids.max")), "33");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    let left = cgroups::named(&bundle.id);
    assert!(left.iter().all(|path| !path.ends_with("two")), "the container's own is gone: {left:?}");
    // Whether the parents go too is the runtime's choice; the test must not leave them.
    left.iter().for_each(|path| drop(fs::remove_dir(path)));
}

#[test]
fn a_relative_path_and_no_path_have_a_place_of_the_runtime_s_choice() {
    for path in [Some("relative"), None] {
        let mut bundle = Bundle::new("relative");
        match path {
            Some(text) => bundle.set("/linux/cgroupsPath", json!(format!("{}-{text}", bundle.id))),
            None => bundle.remove("/linux/cgroupsPath"),
        };
        bundle.args(["/bin/true"]).set("/linux/resources", json!({"pids": {"limit": 44}}));
        bundle.create().ok();
        let found = cgroups::named(&bundle.id);
        let limited = found.iter().any(|directory| cgroups::value(&directory.join("pids.max")) == "44");
        assert!(limited, "{found:?}");
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        bundle.nothing_left();
    }
}

#[test]
fn a_path_that_leads_out_is_refused() {
    for path in ["/../x", "/a/../../x", "../x", "/a/./../.."] {
        let mut bundle = Bundle::new("dots");
        bundle.set("/linux/cgroupsPath", json!(path)).args(["/bin/true"]);
        bundle.create().fails(&["/linux/cgroupsPath"]);
        bundle.nothing_left();
    }
}

#[test]
fn the_memory_limit_bites() {
    let mut bundle = Bundle::new("oom");
    bundle.set("/linux/resources", json!({"memory": {"limit": 33_554_432, "swap": 33_554_432}}));
    bundle.args(["/probe", "alloc", "128"]);
    let output = bundle.run_command().run();
    let output = if output.stderr.contains("swap") {
        bundle.remove("/linux/resources/memory/swap");
        bundle.run()
    } else {
        output
    };
    let output = output.exits(137);
    assert!(output.stdout.contains("begin") && !output.stdout.contains("have"), "{}", output.stdout);
}

#[test]
fn the_pids_limit_bites() {
    let mut bundle = Bundle::new("pids-bite");
    bundle.set("/linux/resources", json!({"pids": {"limit": 5}})).args(["/probe", "fork-sleep", "100"]);
    assert_eq!(bundle.run().ok().stdout, "4 EAGAIN\n");
}

#[test]
fn devices_that_are_not_allowed_cannot_be_opened() {
    // No list at all means the default devices and nothing else.
    for list in [None, Some(json!([{"allow": false, "access": "rwm"}]))] {
        let mut bundle = Bundle::new("devices-default");
        if let Some(list) = list {
            bundle.set("/linux/resources", json!({ "devices": list }));
        }
        bundle.grant(&["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]).args([
            "/probe",
            "mknod",
            "/dev/own-disk",
            "1",
            "1",
        ]);
        let output = bundle.run().ok();
        let last = output.stdout.lines().last().expect("two lines").to_owned();
        assert_eq!(last, "open EPERM", "{}", output.stdout);
        let seen = bundle.fingerprint(&["--stat", "/dev/null", "--stat", "/dev/urandom", "--stat", "/dev/ptmx"]);
        for path in ["/dev/null", "/dev/urandom"] {
            assert_eq!(seen["stat"][path]["read"], "ok", "{path}");
        }
        assert_eq!(seen["stat"]["/dev/ptmx"]["read"], "read EAGAIN");
    }
}

#[test]
fn the_device_list_is_taken_in_order() {
    let rule = |allow: bool, minor: Option<i64>, access: &str| match minor {
        Some(minor) => json!({"allow": allow, "type": "c", "major": 1, "minor": minor, "access": access}),
        None => json!({"allow": allow, "type": "c", "major": 1, "access": access}),
    };
    let deny_all = json!({"allow": false, "access": "rwm"});
    // In the container's own /dev, which is not nodev whatever the host's /tmp is. 1:1 is /dev/mem: opening it needs the list's leave first; after that the kernel may have other objections.
    let rows = [
        (json!([deny_all, rule(true, Some(1), "rwm")]), true),
        (json!([deny_all, rule(true, Some(1), "r")]), true),
        (json!([deny_all, rule(true, Some(1), "w")]), false),
        (json!([deny_all, rule(true, None, "rwm")]), true),
        (json!([deny_all, rule(true, None, "rwm"), rule(false, Some(1), "rwm")]), false),
        (json!([deny_all, rule(true, Some(2), "rwm")]), false),
    ];
    for (list, allowed) in rows {
        let mut bundle = Bundle::new("devices-order");
        bundle.set("/linux/resources", json!({ "devices": list }));
        bundle.grant(&["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]).args([
            "/probe",
            "mknod",
            "/dev/own-mem",
            "1",
            "1",
        ]);
        let output = bundle.run();
        if !allowed && !output.success() {
            continue; // v1 can't take one device out of a range: refusing is honest, letting it through is not
        }
        let output = output.ok();
        let last = output.stdout.lines().last().expect("two lines");
        assert_eq!(last != "open EPERM", allowed, "{list}: {last}");
    }
}

#[test]
fn the_v1_device_list_has_the_default_devices_and_what_was_asked_for() {
    if cgroups::v1("devices").is_none() {
        skip!("devices are not on cgroup v1");
    }
    let mut bundle = Bundle::new("devices-v1");
    bundle.set(
        "/linux/resources",
        json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "major": 7, "access": "r"}
        ]}),
    );
    let found = values(&mut bundle, &[("devices", "devices.list")]);
    let lines: Vec<&str> = found[0].lines().collect();
    for wanted in [
        "c 10:229 rw",
        "b 7:* r",
        "c 1:3 rwm",
        "c 1:5 rwm",
        "c 1:7 rwm",
        "c 1:8 rwm",
        "c 1:9 rwm",
        "c 5:0 rwm",
        "c 136:* rwm",
    ] {
        assert!(lines.contains(&wanted), "{wanted} is not in {lines:?}");
    }
    assert!(!lines.contains(&"a *:* rwm"), "{lines:?}");
}

#[test]
fn what_the_container_left_in_its_cgroup_is_removed_with_it() {
    let mut bundle = Bundle::new("children");
    bundle.without_namespace("cgroup").args(["/probe", "sleep"]);
    let running = bundle.run_until_ready();
    let own = cgroups::named(&bundle.id);
    for directory in &own {
        fs::create_dir_all(directory.join("made/by/the/container")).expect("child cgroups");
    }
    bundle.kill("KILL").ok();
    running.wait().exits(137);
    bundle.nothing_left();
}

#[test]
fn a_frozen_container_can_be_deleted() {
    let mut bundle = Bundle::new("frozen");
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    match cgroups::v1("freezer") {
        Some(mount) => fs::write(mount.join(&bundle.id).join("freezer.state"), "FROZEN").expect("frozen"),
        None => {
            let mount = cgroups::hierarchies().into_iter().find(|h| h.unified).expect("cgroup v2").mount;
            fs::write(mount.join(&bundle.id).join("cgroup.freeze"), "1").expect("frozen");
        }
    }
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}

#[test]
fn limits_hold_in_a_user_namespace_too() {
    let mut bundle = Bundle::new("userns");
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    bundle.set("/linux/resources", json!({"pids": {"limit": 5}})).args(["/probe", "fork-sleep", "100"]);
    assert_eq!(bundle.run().ok().stdout, "4 EAGAIN\n");
}
