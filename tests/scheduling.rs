//! When the process gets a CPU, a disk, memory of which node: `scheduler`, `ioPriority`, `memoryPolicy`, and the terminal's
//! size, as the kernel shows them from inside; and what is said where the kernel refuses.

mod common;

use common::caller::{odd, odder};
use common::{Bundle, cgroups, json, kernel};
use serde_json::Value;

/// Runs the fingerprint with this scheduler and gives what the kernel says.
fn scheduled(name: &str, scheduler: Value) -> Value {
    let mut bundle = Bundle::new(name);
    bundle.set("/process/scheduler", scheduler);
    bundle.fingerprint(&[])["sched"].clone()
}

#[test]
fn policies_of_ordinary_processes_are_exact() {
    for (policy, number, nice) in [("SCHED_OTHER", 0, -5), ("SCHED_BATCH", 3, 7), ("SCHED_IDLE", 5, 0)] {
        let seen = scheduled("sched", json!({"policy": policy, "nice": nice}));
        assert_eq!([&seen["policy"], &seen["nice"]], [&json!(number), &json!(nice)], "{policy}");
    }
}

#[test]
fn a_user_without_rights_keeps_the_nice_value_it_was_given() {
    let mut bundle = Bundle::new("sched-user");
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    bundle.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": -11}));
    assert_eq!(bundle.fingerprint(&[])["nice"], -11);
}

#[test]
fn the_flags_reach_the_kernel() {
    let flags = json!(["SCHED_FLAG_RESET_ON_FORK"]);
    assert_eq!(scheduled("sched-flag", json!({"policy": "SCHED_BATCH", "nice": 3, "flags": flags}))["flags"], 1);
    // Keep what it has: the values beside it do not count.
    let flags = json!(["SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS"]);
    let seen = scheduled("sched-keep", json!({"policy": "SCHED_BATCH", "nice": 3, "flags": flags}));
    assert_eq!([&seen["policy"], &seen["nice"]], [0, 0]);
}

#[test]
fn utilisation_clamps_are_set_or_the_kernel_lacks_them() {
    for flag in ["SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX"] {
        let mut bundle = Bundle::new("sched-clamp");
        bundle.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "flags": [flag]})).args(["/bin/true"]);
        let output = bundle.run();
        if !output.success() {
            output.fails(&["/process/scheduler: sched_setattr SCHED_OTHER", "built without utilisation clamps"]);
            bundle.nothing_left();
        }
    }
}

#[test]
fn real_time_policies_take_their_priority() {
    for (policy, number) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
        let mut bundle = Bundle::new("sched-rt");
        bundle.set("/process/scheduler", json!({"policy": policy, "priority": 17}));
        if cgroups::v1("cpu").is_some() {
            bundle.set("/linux/resources/cpu", json!({"realtimeRuntime": 20000, "realtimePeriod": 1_000_000}));
        }
        let seen = bundle.fingerprint(&[])["sched"].clone();
        assert_eq!([&seen["policy"], &seen["priority"]], [number, 17], "{policy}");
    }
}

#[test]
fn a_real_time_policy_without_real_time_runtime_is_explained() {
    if cgroups::v1("cpu").is_none() {
        return common::skipped("real-time runtime is a matter of cgroup v1");
    }
    let mut bundle = Bundle::new("sched-rt-not");
    bundle.set("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 1})).args(["/bin/true"]);
    bundle.run().fails(&["/process/scheduler: sched_setattr SCHED_FIFO", "/linux/resources/cpu/realtimeRuntime"]);
    bundle.nothing_left();
}

const TIMES: [u64; 3] = [10_000_000, 50_000_000, 100_000_000];

fn deadline(flags: &[&str]) -> Value {
    let [runtime, deadline, period] = TIMES;
    json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline, "period": period, "flags": flags})
}

#[test]
fn a_deadline_process_gets_its_times() {
    let seen =
        scheduled("sched-dl", deadline(&["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]));
    assert_eq!([&seen["policy"], &seen["flags"]], [6, 7]);
    assert_eq!([&seen["runtime"], &seen["deadline"], &seen["period"]].map(Value::as_u64), TIMES.map(Some));
}

#[test]
fn a_deadline_process_in_a_cpuset_is_explained() {
    let one = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
    if one || (cgroups::v1("cpuset").is_none() && cgroups::v2("cpuset").is_none()) {
        return common::skipped("needs a cpuset controller and two CPUs");
    }
    let mut bundle = Bundle::new("sched-dl-set");
    bundle.set("/process/scheduler", deadline(&[])).set("/linux/resources/cpu", json!({"cpus": "0"}));
    bundle.args(["/bin/true"]).run().fails(&[
        "/process/scheduler: sched_setattr SCHED_DEADLINE",
        "a cpuset, as of /linux/resources/cpu/cpus, rules it out",
        "operation not permitted",
    ]);
    bundle.nothing_left();
}

#[test]
fn times_that_the_kernel_refuses_are_explained() {
    let mut bundle = Bundle::new("sched-dl-odd");
    bundle.set("/process/scheduler", json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}));
    bundle.args(["/bin/true"]).run().fails(&["/process/scheduler: sched_setattr SCHED_DEADLINE", "1024 ns <= runtime"]);
    bundle.set("/process/scheduler", json!({"policy": "SCHED_ISO"})).args(["/bin/true"]);
    bundle.run().fails(&["/process/scheduler: sched_setattr SCHED_ISO (reserved"]);
    bundle.nothing_left();
}

#[test]
fn io_priorities_are_exact() {
    for (class, number, level) in [("IOPRIO_CLASS_RT", 1, 0), ("IOPRIO_CLASS_BE", 2, 6), ("IOPRIO_CLASS_IDLE", 3, 0)] {
        let mut bundle = Bundle::new("ioprio");
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
        bundle.set("/process/ioPriority", json!({"class": class, "priority": level}));
        assert_eq!(bundle.fingerprint(&[])["ioprio"], number << 13 | level, "{class}");
    }
}

#[test]
fn memory_policies_are_exact() {
    if !kernel::has_memory_policies() {
        skip!("this kernel has no memory policies");
    }
    for (policy, mode, flags, nodes) in [
        (json!({"mode": "MPOL_DEFAULT"}), 0, 0, 0),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0"}), 1, 0, 1),
        (json!({"mode": "MPOL_BIND", "nodes": "0"}), 2, 0, 1),
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), 3, 1 << 15, 1),
        (json!({"mode": "MPOL_LOCAL"}), 4, 0, 0),
        (json!({"mode": "MPOL_PREFERRED_MANY", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}), 5, 1 << 14, 1),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}), 2, 1 << 13, 1),
        (json!({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}), 6, 0, 1),
    ] {
        let mut bundle = Bundle::new("mempolicy");
        bundle.set("/linux/memoryPolicy", policy.clone());
        let seen = bundle.fingerprint(&[])["mempolicy"].clone();
        assert_eq!(seen, json!({"mode": mode, "flags": flags, "nodes": nodes}), "{policy}");
    }
}

#[test]
fn memory_of_a_node_that_is_not_there_is_explained() {
    let hint =
        if kernel::has_memory_policies() { "are these nodes there" } else { "this kernel was built without NUMA" };
    let mut bundle = Bundle::new("mempolicy-not");
    bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "1000"})).args(["/bin/true"]);
    bundle.run().fails(&["/linux/memoryPolicy: set_mempolicy", "MPOL_BIND nodes 1000", hint]);
    bundle.nothing_left();
}

#[test]
fn the_scheduling_of_the_caller_does_not_come_along() {
    let mut bundle = Bundle::new("sched-dirty");
    bundle.args(["/probe", "fingerprint"]);
    let clean = bundle.run().ok().json();
    let seen = bundle.run_command().before_exec(odder).run().ok().json();
    for field in ["sched", "nice", "affinity", "ioprio", "mempolicy", "thp_disable", "timerslack", "personality"] {
        assert_eq!(seen[field], clean[field], "{field}");
    }
    assert_eq!([&clean["ioprio"], &clean["thp_disable"]], [0, 0]);
}

#[test]
fn init_has_the_cpus_of_its_cpuset_and_not_those_of_the_caller() {
    if cgroups::v1("cpuset").is_none() && cgroups::v2("cpuset").is_none() {
        return common::skipped("no cpuset controller");
    }
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    let mut bundle = Bundle::new("affinity");
    bundle.set("/linux/resources/cpu", json!({"cpus": last.to_string()})).args(["/probe", "fingerprint"]);
    // The caller runs on CPU 0 only.
    let seen = bundle.run_command().before_exec(odd).run().ok().json();
    assert_eq!(seen["affinity"], json!([last]));
}

#[test]
fn explain_says_all_of_it() {
    let mut bundle = Bundle::new("sched-explain");
    bundle
        .set("/process/scheduler", json!({"policy": "SCHED_RR", "priority": 9, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}));
    bundle.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 6}));
    bundle.set("/linux/memoryPolicy", json!({"mode": "MPOL_BIND", "nodes": "0-1"})).args(["/bin/true"]).save();
    let said = bundle.rt(&["explain", &bundle.text("")]).run().ok().stdout;
    for line in [
        "scheduler SCHED_RR priority 9 SCHED_FLAG_RESET_ON_FORK",
        "I/O priority IOPRIO_CLASS_BE 6",
        "memory policy MPOL_BIND nodes 0-1",
    ] {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}
