//! Config in, operations out, on the three kinds of host.

use serde_json::{Value, json};

use super::*;
use crate::facts::{CgroupTrees, Hierarchy, Unified};

#[derive(Clone, Copy, PartialEq)]
enum Host {
    V1,
    Hybrid,
    V2,
}

fn facts(host: Host) -> Facts {
    let v1 = |name: &str| Hierarchy {
        controllers: name.split(',').map(str::to_owned).collect(),
        mountpoint: format!("/cg/{name}"),
        own: "/".to_owned(),
    };
    let legacy = ["cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls", "net_prio"];
    let v2 = |mountpoint: &str, controllers: &str| Unified {
        mountpoint: mountpoint.to_owned(),
        own: "/".to_owned(),
        controllers: controllers.split(' ').filter(|c| !c.is_empty()).map(str::to_owned).collect(),
    };
    let cgroups = match host {
        Host::V1 => CgroupTrees { v1: legacy.map(v1).to_vec(), v2: None },
        Host::Hybrid => CgroupTrees { v1: legacy.map(v1).to_vec(), v2: Some(v2("/cg/unified", "hugetlb")) },
        Host::V2 => CgroupTrees { v1: vec![], v2: Some(v2("/cg", "cpuset cpu io memory hugetlb pids rdma")) },
    };
    Facts { cgroups, ..Facts::default() }
}

/// The lowered config with these resources, and what was complained about.
fn lowered_with(facts: &Facts, resources: Value) -> (Lowered, Vec<String>) {
    let spec = json!({"ociVersion": "1.2.0", "linux": {"cgroupsPath": "/box", "resources": resources}});
    let spec: Spec = serde_json::from_value(spec).unwrap();
    let mut complaints = Vec::new();
    let lowered = lower(&spec, facts, "id", false, &mut complaints);
    (lowered, complaints.iter().map(ToString::to_string).collect())
}

/// The limits, as `pointer: words` without the common beginning of the pointer.
fn limits(host: Host, resources: Value) -> Result<Vec<String>, String> {
    let (lowered, complaints) = lowered_with(&facts(host), resources);
    if !complaints.is_empty() {
        return Err(complaints.join("; "));
    }
    let steps = lowered.prepare.iter().chain(&lowered.adopt);
    Ok(steps
        .filter_map(|step| match (&step.origin, &step.op) {
            (_, Op::Create { .. } | Op::Devices { .. }) | (Origin::Default(_), _) => None,
            (Origin::Config(pointer), op) => {
                let pointer = pointer.strip_prefix("/linux/resources/").unwrap();
                let maybe = if step.tolerate.is_empty() { "" } else { " (if there)" };
                Some(format!("{pointer}: {op}{maybe}"))
            }
        })
        .collect())
}

fn ok(host: Host, resources: Value) -> Vec<String> {
    limits(host, resources).unwrap()
}

fn refused(host: Host, resources: Value) -> String {
    limits(host, resources).unwrap_err()
}

#[test]
fn the_order_is_directories_devices_limits() {
    let (lowered, _) = lowered_with(&facts(Host::Hybrid), json!({"cpu": {"cpus": "0"}, "pids": {"limit": 7}}));
    let kinds: Vec<&str> = lowered
        .prepare
        .iter()
        .map(|step| match step.op {
            Op::Create { .. } => "create",
            Op::Inherit { .. } => "inherit",
            Op::Devices { .. } => "devices",
            _ => "limit",
        })
        .collect();
    let mut expected = vec!["create"; 10];
    expected.extend(["inherit", "devices", "limit", "limit"]);
    assert_eq!(kinds, expected);
    assert_eq!(lowered.prepare[10].op.to_string(), "take over cpuset.mems of the parent");
}

#[test]
fn on_v2_every_controller_is_passed_on_and_the_needed_ones_are_known() {
    let (lowered, _) = lowered_with(&facts(Host::V2), json!({"pids": {"limit": 7}, "unified": {"memory.high": "1G"}}));
    let Op::Enable { controllers, needed, .. } = &lowered.prepare[2].op else { panic!("{:?}", lowered.prepare) };
    assert_eq!(controllers.len(), 7);
    assert_eq!(needed, &["memory", "pids"]);
}

#[test]
fn a_hybrid_host_keeps_its_unified_tree_as_it_is_unless_a_limit_lives_there() {
    let enabled = |resources| {
        let (lowered, _) = lowered_with(&facts(Host::Hybrid), resources);
        lowered
            .prepare
            .iter()
            .filter(|s| matches!(s.op, Op::Enable { .. }))
            .map(|s| s.op.to_string())
            .collect::<Vec<_>>()
    };
    assert!(enabled(json!({"pids": {"limit": 7}})).is_empty());
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]});
    assert_eq!(enabled(pages.clone()), ["enable the controllers hugetlb above it"]);
    assert_eq!(
        ok(Host::Hybrid, pages),
        [
            "hugepageLimits/0/limit: hugetlb.2MB.rsvd.max = 4194304 (if there)",
            "hugepageLimits/0/limit: hugetlb.2MB.max = 4194304"
        ]
    );
}

#[test]
fn cpu() {
    let all =
        json!({"cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "burst": 10, "cpus": "0-1", "mems": "0"}});
    assert_eq!(
        ok(Host::V1, all.clone()),
        [
            "cpu/shares: cpu.shares = 1024",
            "cpu/quota: cpu.cfs_period_us = 100000 with cpu.cfs_quota_us = 50000 with cpu.cfs_burst_us = 10",
            "cpu/cpus: cpuset.cpus = 0-1",
            "cpu/mems: cpuset.mems = 0"
        ]
    );
    assert_eq!(
        ok(Host::V2, all),
        [
            "cpu/shares: cpu.weight = 100",
            "cpu/quota: cpu.max = 50000 100000 with cpu.max.burst = 10",
            "cpu/cpus: cpuset.cpus = 0-1",
            "cpu/mems: cpuset.mems = 0"
        ]
    );
    assert_eq!(ok(Host::V2, json!({"cpu": {"quota": -1}})), ["cpu/quota: cpu.max = max"]);
    assert_eq!(ok(Host::V2, json!({"cpu": {"period": 5000}})), ["cpu/period: cpu.max = max 5000"]);
    assert_eq!(ok(Host::V1, json!({"cpu": {"quota": -1}})), ["cpu/quota: cpu.cfs_quota_us = -1"]);
}

#[test]
fn an_idle_group_gets_no_shares_because_the_kernel_refuses_them() {
    for host in [Host::V1, Host::V2] {
        assert_eq!(ok(host, json!({"cpu": {"idle": 1, "shares": 1024}})), ["cpu/idle: cpu.idle = 1"]);
    }
    let awake = ok(Host::V2, json!({"cpu": {"idle": 0, "shares": 1024}}));
    assert_eq!(awake, ["cpu/idle: cpu.idle = 0 (if there)", "cpu/shares: cpu.weight = 100"]);
}

#[test]
fn realtime_is_a_thing_of_v1() {
    let rt = json!({"cpu": {"realtimePeriod": 1_000_000, "realtimeRuntime": 950_000}});
    assert_eq!(
        ok(Host::V1, rt.clone()),
        ["cpu/realtimePeriod: cpu.rt_period_us = 1000000", "cpu/realtimeRuntime: cpu.rt_runtime_us = 950000"]
    );
    assert!(refused(Host::V2, rt).starts_with("/linux/resources/cpu/realtimePeriod: cgroup v2 has no such limit; "));
}

#[test]
fn memory() {
    let all = json!({"memory": {"limit": 1000, "swap": 3000, "reservation": 500, "kernelTCP": 9, "swappiness": 60,
        "disableOOMKiller": true}});
    assert_eq!(
        ok(Host::V1, all.clone()),
        [
            "memory/limit: memory.limit_in_bytes = 1000 with memory.memsw.limit_in_bytes = 3000",
            "memory/reservation: memory.soft_limit_in_bytes = 500",
            "memory/kernelTCP: memory.kmem.tcp.limit_in_bytes = 9",
            "memory/swappiness: memory.swappiness = 60",
            "memory/disableOOMKiller: memory.oom_control = 1"
        ]
    );
    assert_eq!(
        ok(Host::V2, all.clone()),
        [
            "memory/limit: memory.swap.max = 2000",
            "memory/limit: memory.max = 1000",
            "memory/reservation: memory.low = 500"
        ]
    );
    let (lowered, _) = lowered_with(&facts(Host::V2), all);
    let said: Vec<String> = lowered.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(said[0], "/linux/resources/memory/kernelTCP: ignored: cgroup v2 has no such limit");
}

#[test]
fn no_limit_on_memory_lifts_the_one_on_swap_too() {
    let none = json!({"memory": {"limit": -1}});
    assert_eq!(
        ok(Host::V1, none.clone()),
        ["memory/limit: memory.memsw.limit_in_bytes = -1 (if there)", "memory/limit: memory.limit_in_bytes = -1"]
    );
    assert_eq!(
        ok(Host::V2, none),
        ["memory/limit: memory.swap.max = max (if there)", "memory/limit: memory.max = max"]
    );
    assert_eq!(
        ok(Host::V2, json!({"memory": {"limit": 1000, "swap": 1000}}))[0],
        "memory/limit: memory.swap.max = 0 (if there)"
    );
}

#[test]
fn impossible_memory_is_refused_before_the_kernel_sees_it() {
    for host in [Host::V1, Host::V2] {
        assert!(
            refused(host, json!({"memory": {"limit": 1000, "swap": 999}}))
                .contains("/memory/swap: 999 is memory and swap")
        );
        assert!(refused(host, json!({"memory": {"swap": 999}})).contains("/memory/swap: memory and swap together"));
        assert!(refused(host, json!({"memory": {"limit": -1, "swap": 999}})).contains("/memory/swap: 999 cannot be"));
        assert!(refused(host, json!({"memory": {"limit": -2}})).contains("/memory/limit: expected -1"));
        assert!(
            refused(host, json!({"memory": {"swappiness": 101}})).contains("/memory/swappiness: expected 0 to 100")
        );
    }
}

#[test]
fn the_zeros_of_docker_leave_everything_as_it_is() {
    let zeros = json!({"memory": {"limit": 0, "reservation": 0, "swap": 0, "kernelTCP": 0, "disableOOMKiller": false},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimePeriod": 0, "realtimeRuntime": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0, "leafWeight": 0}, "network": {}, "hugepageLimits": [], "unified": {}});
    for host in [Host::V1, Host::Hybrid, Host::V2] {
        assert_eq!(ok(host, zeros.clone()), Vec::<String>::new());
    }
}

#[test]
fn pids() {
    for host in [Host::V1, Host::V2] {
        assert_eq!(ok(host, json!({"pids": {"limit": 12}})), ["pids/limit: pids.max = 12"]);
        assert_eq!(ok(host, json!({"pids": {"limit": -1}})), ["pids/limit: pids.max = max"]);
        assert_eq!(ok(host, json!({})), Vec::<String>::new());
        assert_eq!(ok(host, json!({"pids": {"limit": 0}})), ["pids/limit: pids.max = 0"]);
        let (lowered, _) = lowered_with(&facts(host), json!({"pids": {"limit": 0}}));
        assert_eq!(lowered.adopt.len(), 1, "nothing could be born into a cgroup that allows no process");
        assert_eq!(lowered.adopt[0].op.to_string(), "pids.max = 0");
    }
}

#[test]
fn block_devices() {
    let all = json!({"blockIO": {"weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 200}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]}});
    assert_eq!(
        ok(Host::V1, all.clone()),
        [
            "blockIO/weight: blkio.weight = 100 or else blkio.bfq.weight = 100",
            "blockIO/weightDevice/0/weight: blkio.weight_device = 8:0 200 or else blkio.bfq.weight_device = 8:0 200",
            "blockIO/throttleReadBpsDevice/0: blkio.throttle.read_bps_device = 8:0 600",
            "blockIO/throttleWriteIOPSDevice/0: blkio.throttle.write_iops_device = 8:16 0"
        ]
    );
    assert_eq!(
        ok(Host::V2, all),
        [
            "blockIO/weight: io.bfq.weight = 100 or else io.weight = 910",
            "blockIO/weightDevice/0/weight: io.bfq.weight = 8:0 200 or else io.weight = 8:0 1920",
            "blockIO/throttleReadBpsDevice/0: io.max = 8:0 rbps=600",
            "blockIO/throttleWriteIOPSDevice/0: io.max = 8:16 wiops=max"
        ]
    );
    assert_eq!(ok(Host::V1, json!({"blockIO": {"leafWeight": 300}})), ["blockIO/leafWeight: blkio.leaf_weight = 300"]);
    assert!(refused(Host::V2, json!({"blockIO": {"leafWeight": 300}})).contains("cgroup v2 has no such limit"));
    assert!(
        refused(Host::V1, json!({"blockIO": {"weight": 9}})).contains("/blockIO/weight: expected 10 to 1000, got 9")
    );
}

#[test]
fn huge_pages_network_and_rdma() {
    let pages = json!({"hugepageLimits": [{"pageSize": "1GB", "limit": 0}]});
    assert_eq!(ok(Host::V2, pages.clone())[1], "hugepageLimits/0/limit: hugetlb.1GB.max = 0");
    assert_eq!(
        refused(Host::V1, pages),
        "/linux/resources/hugepageLimits/0/limit: no cgroup hierarchy with the hugetlb controller is mounted"
    );
    for bad in ["2", "MB", "02MB", "../2MB", "2mb", "2 MB"] {
        assert!(refused(Host::V2, json!({"hugepageLimits": [{"pageSize": bad, "limit": 1}]})).contains("/pageSize: "));
    }
    let network = json!({"network": {"classID": 1_048_577, "priorities": [{"name": "eth0", "priority": 5}]}});
    assert_eq!(
        ok(Host::V1, network.clone()),
        ["network/classID: net_cls.classid = 1048577", "network/priorities/0: net_prio.ifpriomap = eth0 5"]
    );
    assert!(refused(Host::V2, network).contains("/network/classID: cgroup v2 has no such limit"));
    let rdma = json!({"rdma": {"mlx/0": {"hcaHandles": 3}, "a": {"hcaObjects": 9, "hcaHandles": 1}}});
    assert_eq!(
        ok(Host::V2, rdma),
        ["rdma/a: rdma.max = a hca_handle=1 hca_object=9", "rdma/mlx~10: rdma.max = mlx/0 hca_handle=3"]
    );
}

#[test]
fn unified_comes_last_and_line_by_line() {
    let unified =
        json!({"memory": {"limit": 5}, "unified": {"io.max": "8:0 rbps=1\n8:16 rbps=2\n", "memory.max": " 7 "}});
    assert_eq!(
        ok(Host::V2, unified)[1..],
        [
            "unified/io.max: io.max = 8:0 rbps=1",
            "unified/io.max: io.max = 8:16 rbps=2",
            "unified/memory.max: memory.max = 7"
        ]
    );
    assert_eq!(ok(Host::Hybrid, json!({"unified": {"cgroup.max.depth": "2"}})).len(), 1);
    let said = |host, file: &str| refused(host, json!({"unified": {file: "1"}}));
    assert!(
        said(Host::V1, "memory.max")
            .ends_with("/unified/memory.max: only cgroup v2 has such files, and it is not mounted")
    );
    assert!(
        said(Host::Hybrid, "memory.max")
            .ends_with("the cgroup v2 hierarchy of this host does not have the memory controller")
    );
    assert!(
        said(Host::V2, "misc.max").ends_with("the cgroup v2 hierarchy of this host does not have the misc controller")
    );
    for bad in ["a/b.c", "..", "memory", ".max", "memory.", "memory.m x", "cgroup.procs", "cgroup.freeze"] {
        assert!(said(Host::V2, bad).contains("/unified/"), "{bad}");
    }
}

#[test]
fn a_limit_without_its_hierarchy_is_refused_by_name() {
    let mut facts = facts(Host::V1);
    facts.cgroups.v1.retain(|h| h.controllers != ["pids"]);
    let (_, complaints) = lowered_with(&facts, json!({"pids": {"limit": 3}}));
    assert_eq!(complaints, ["/linux/resources/pids/limit: no cgroup hierarchy with the pids controller is mounted"]);
}

#[test]
fn without_anything_that_controls_devices_no_container_is_made() {
    let mut facts = facts(Host::V1);
    facts.cgroups.v1.retain(|h| h.controllers != ["devices"]);
    let (_, complaints) = lowered_with(&facts, json!({}));
    assert!(complaints[0].starts_with("/linux/resources/devices: no cgroup hierarchy can control devices"));
    facts.cgroups.v2 = self::facts(Host::Hybrid).cgroups.v2;
    assert!(lowered_with(&facts, json!({})).1.is_empty(), "the unified tree can, without any controller");
}

#[test]
fn in_a_user_namespace_device_rules_are_left_to_the_kernel() {
    let facts = Facts { in_userns: true, ..facts(Host::V2) };
    let (lowered, complaints) = lowered_with(&facts, json!({"pids": {"limit": 3}, "devices": [{"allow": false}]}));
    assert!(complaints.is_empty());
    assert!(!lowered.prepare.iter().any(|s| matches!(s.op, Op::Devices { .. })));
}

#[test]
fn an_update_leaves_devices_and_what_it_does_not_name() {
    let (made, _) = lowered_with(&facts(Host::V2), json!({}));
    let resources = json!({"devices": [{"allow": false, "access": "rwm"}], "pids": {"limit": 0}, "cpu": {"period": 5000},
        "memory": {"limit": 0}});
    let resources = serde_json::from_value(resources).unwrap();
    let mut complaints = Vec::new();
    let update = lower_resources(&resources, &made.placement, "", Purpose::Update, &mut complaints);
    let words: Vec<String> = update.steps.iter().map(|s| format!("{}: {}", s.origin, s.op)).collect();
    assert_eq!(words[1..], ["/cpu/period: cpu.max = (its quota) 5000"]);
    assert!(update.after_birth.is_empty() && complaints.is_empty());
}

#[test]
fn every_complaint_is_heard_at_once() {
    let said = refused(
        Host::V1,
        json!({"memory": {"limit": -7}, "cpu": {"cpus": "all", "shares": 1},
        "blockIO": {"weight": 5}, "devices": [{"allow": true, "type": "p"}]}),
    );
    for pointer in ["memory/limit", "cpu/cpus", "cpu/shares", "blockIO/weight", "devices/0/type"] {
        assert!(said.contains(&format!("/linux/resources/{pointer}: ")), "{pointer} is missing in {said}");
    }
}
