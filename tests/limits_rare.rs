//! The rarer limits as the kernel shows them: real-time, weights of disks, reserved huge pages, RDMA, swap on v2; and
//! whose the cgroup is. What this kind of host does not have is refused by its name, and so tested.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use common::{Bundle, cgroups, json};
use serde_json::Value;

/// The directory of the container's cgroup for a v1 controller, or on v2.
fn directory(bundle: &Bundle, controller: &str) -> Option<PathBuf> {
    cgroups::v1(controller).or_else(|| cgroups::v2(controller)).map(|mount| mount.join(&bundle.id))
}

/// Creates with these resources, hands the controller's directory to `look`, and deletes.
fn created<T>(
    bundle: &mut Bundle,
    controller: &str,
    resources: Value,
    look: impl Fn(&dyn Fn(&str) -> String) -> T,
) -> T {
    bundle.set("/linux/resources", resources).args(["/bin/true"]);
    bundle.create().ok();
    let place = directory(bundle, controller).expect("the controller is there");
    let seen = look(&|file| cgroups::value(&place.join(file)));
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
    seen
}

fn has(controller: &str, file: &str) -> bool {
    // The files of a child: the root has fewer.
    let bundle = Bundle::new("look");
    let Some(place) = directory(&bundle, controller) else { return false };
    let mut bundle = bundle;
    bundle.args(["/bin/true"]).create().ok();
    let found = fs::metadata(place.join(file)).is_ok();
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    found
}

#[test]
fn real_time_runtime_is_set_on_v1_and_refused_on_v2() {
    let cpu = json!({"cpu": {"realtimeRuntime": 30_000, "realtimePeriod": 900_000}});
    let mut bundle = Bundle::new("rt");
    if cgroups::v1("cpu").is_some() {
        let seen = created(&mut bundle, "cpu", cpu, |file| [file("cpu.rt_runtime_us"), file("cpu.rt_period_us")]);
        assert_eq!(seen, ["30000", "900000"]);
    } else {
        // A container that was promised its share of real time is not started without.
        bundle.set("/linux/resources", cpu).args(["/bin/true"]);
        bundle.create().fails(&["/linux/resources/cpu/realtimeRuntime: cgroup v2 has no such limit"]);
        bundle.nothing_left();
    }
}

#[test]
fn a_real_time_runtime_above_the_parent_s_is_refused() {
    if cgroups::v1("cpu").is_none() {
        skip!("real-time runtime is a matter of cgroup v1");
    }
    let mut bundle = Bundle::new("rt-much");
    bundle.set("/linux/resources", json!({"cpu": {"realtimeRuntime": 990_000, "realtimePeriod": 1_000_000}}));
    bundle.args(["/bin/true"]).create().fails(&["/linux/resources/cpu/realtimeRuntime", "cpu.rt_runtime_us"]);
    bundle.nothing_left();
}

#[test]
fn the_weight_of_disks_is_set_or_the_missing_file_is_named() {
    let controller = if cgroups::v1("blkio").is_some() { "blkio" } else { "io" };
    if directory(&Bundle::new("io"), controller).is_none() {
        skip!("this host has no controller of block I/O");
    }
    let weight = json!({"blockIO": {"weight": 300}});
    let files = ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight", "io.weight"];
    let mut bundle = Bundle::new("weight");
    match files.iter().find(|file| has(controller, file)) {
        Some(file) => {
            let seen = created(&mut bundle, controller, weight, |read| read(file));
            let expected = if *file == "io.weight" { "2930" } else { "300" };
            assert_eq!(seen.trim_start_matches("default "), expected, "{file}");
        }
        None => {
            bundle.set("/linux/resources", weight).args(["/bin/true"]);
            bundle.create().fails(&["/linux/resources/blockIO/weight", ".weight"]);
        }
    }
}

#[test]
fn the_weight_of_one_disk_is_set_or_the_missing_file_is_named() {
    let controller = if cgroups::v1("blkio").is_some() { "blkio" } else { "io" };
    if directory(&Bundle::new("io"), controller).is_none() {
        skip!("this host has no controller of block I/O");
    }
    // A disk that nobody has.
    let device = json!({"blockIO": {"weightDevice": [{"major": 4095, "minor": 1, "weight": 300}]}});
    let mut bundle = Bundle::new("weight-disk");
    bundle.set("/linux/resources", device).args(["/bin/true"]);
    bundle.create().fails(&["/linux/resources/blockIO/weightDevice/0", "weight"]);
    bundle.nothing_left();
}

#[test]
fn leaf_weights_are_refused_where_no_kernel_file_has_them() {
    let mut bundle = Bundle::new("leaf");
    bundle.set("/linux/resources", json!({"blockIO": {"leafWeight": 300}})).args(["/bin/true"]);
    bundle.create().fails(&["/linux/resources/blockIO/leafWeight"]);
    bundle.nothing_left();
}

#[test]
fn a_throttled_disk_that_is_not_there_is_named() {
    let mut bundle = Bundle::new("throttle");
    let rate = json!({"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 1, "rate": 1024}]}});
    bundle.set("/linux/resources", rate).args(["/bin/true"]);
    bundle.create().fails(&["/linux/resources/blockIO/throttleReadBpsDevice/0", "4095:1"]);
    bundle.nothing_left();
}

#[test]
fn huge_pages_are_limited_when_they_are_reserved_too() {
    if directory(&Bundle::new("huge"), "hugetlb").is_none() {
        skip!("this host has no hugetlb controller");
    }
    let old = cgroups::v1("hugetlb").is_some();
    let file =
        |kind: &str| if old { format!("hugetlb.2MB.{kind}limit_in_bytes") } else { format!("hugetlb.2MB.{kind}max") };
    let mut bundle = Bundle::new("huge");
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 6_291_456}]});
    let seen = created(&mut bundle, "hugetlb", limits, |read| [read(&file("rsvd.")), read(&file(""))]);
    assert_eq!(seen, ["6291456", "6291456"]);
}

#[test]
fn rdma_devices_that_are_not_there_are_named() {
    let mut bundle = Bundle::new("rdma");
    bundle.set("/linux/resources", json!({"rdma": {"nosuch_0": {"hcaHandles": 3, "hcaObjects": 100}}}));
    let output = bundle.args(["/bin/true"]).create();
    if directory(&bundle, "rdma").is_some() {
        output.fails(&["/linux/resources/rdma/nosuch_0", "rdma.max = nosuch_0 hca_handle=3 hca_object=100"]);
    } else {
        output.fails(&["/linux/resources/rdma/nosuch_0", "rdma controller"]);
    }
    bundle.nothing_left();
}

#[test]
fn on_v2_swap_is_what_is_more_than_memory() {
    if !cgroups::is_v2() {
        skip!("not a pure cgroup v2 host");
    }
    const M: u64 = 1 << 20;
    for (memory, max, swap) in [
        (json!({"limit": 64 * M, "swap": 100 * M}), 64 * M, (36 * M).to_string()),
        (json!({"limit": 64 * M, "swap": 64 * M}), 64 * M, "0".into()),
        (json!({"limit": 64 * M, "swap": -1}), 64 * M, "max".into()),
        (json!({"limit": 64 * M}), 64 * M, "max".into()),
    ] {
        let mut bundle = Bundle::new("swap");
        let resources = json!({ "memory": memory });
        let read = |file: &dyn Fn(&str) -> String| [file("memory.max"), file("memory.swap.max")];
        assert_eq!(created(&mut bundle, "memory", resources, read), [max.to_string(), swap], "{memory}");
    }
    let mut bundle = Bundle::new("swap-alone");
    bundle.set("/linux/resources", json!({"memory": {"swap": 100 * M}})).args(["/bin/true"]);
    bundle.create().fails(&["/linux/resources/memory/swap", "limit"]);
    bundle.set("/linux/resources", json!({"memory": {"limit": 100 * M, "swap": 64 * M}}));
    bundle.create().fails(&["/linux/resources/memory/swap"]);
    bundle.nothing_left();
}

/// A container that may manage its own cgroups.
fn delegated(name: &str) -> Bundle {
    let mut bundle = Bundle::new(name);
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    bundle.set("/linux/namespaces/-", json!({"type": "user"})).set("/linux/namespaces/-", json!({"type": "cgroup"}));
    let list = bundle.config["linux"]["namespaces"].as_array_mut().expect("a list");
    let mut seen = Vec::new();
    list.retain(|n| {
        !seen.contains(&n["type"]) && {
            seen.push(n["type"].clone());
            true
        }
    });
    let mounts = bundle.config["mounts"].as_array_mut().expect("mounts");
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "nodev", "noexec", "rw"]);
    bundle.args(["/bin/true"]);
    bundle
}

/// The owners of the unified directory, of a file that may be delegated, and of one that may not; and of v1 directories.
fn owners(bundle: &Bundle) -> ([u32; 3], Vec<u32>) {
    let owner = |path: PathBuf| fs::metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).uid();
    let all = cgroups::hierarchies();
    let v2 = all.iter().find(|h| h.unified).expect("a unified tree").mount.join(&bundle.id);
    let old = all.iter().filter(|h| !h.unified).map(|h| owner(h.mount.join(&bundle.id))).collect();
    ([owner(v2.clone()), owner(v2.join("cgroup.procs")), owner(v2.join("cgroup.freeze"))], old)
}

#[test]
fn a_writable_cgroup_in_a_user_namespace_belongs_to_the_container() {
    if !cgroups::hierarchies().iter().any(|h| h.unified) {
        skip!("this host has no cgroup v2");
    }
    for (uid, outside) in [(0, 100_000), (7, 100_007)] {
        let mut bundle = delegated("owner");
        bundle.set("/process/user/uid", json!(uid)).create().ok();
        let (v2, v1) = owners(&bundle);
        assert_eq!(v2, [outside, outside, 0], "uid {uid}");
        assert!(v1.iter().all(|owner| *owner == 0), "v1 is never given away: {v1:?}");
        bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
        bundle.nothing_left();
    }
}

#[test]
fn a_read_only_cgroup_belongs_to_root() {
    if !cgroups::hierarchies().iter().any(|h| h.unified) {
        skip!("this host has no cgroup v2");
    }
    let mut bundle = delegated("owner-ro");
    let last = bundle.config["mounts"].as_array().expect("mounts").len() - 1;
    bundle.set(&format!("/mounts/{last}/options"), json!(["nosuid", "ro"])).create().ok();
    assert_eq!(owners(&bundle).0, [0, 0, 0]);
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

#[test]
fn from_inside_a_cgroup_of_one_s_own_can_be_divided() {
    if !cgroups::is_v2() {
        skip!("not a pure cgroup v2 host");
    }
    let mut bundle = delegated("owner-inside");
    let script = "mkdir /sys/fs/cgroup/part && echo $$ > /sys/fs/cgroup/part/cgroup.procs && cat /proc/self/cgroup; \
                  echo 1 > /sys/fs/cgroup/cgroup.freeze || echo refused";
    bundle.args(["/bin/busybox", "sh", "-c", &script.replace("mkdir", "busybox mkdir")]);
    let output = bundle.run().ok();
    assert!(output.stdout.starts_with("0::/part\n") && output.stdout.contains("refused"), "{output:?}");
    bundle.nothing_left();
}
