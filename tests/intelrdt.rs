//! `intelRdt` as far as a machine without it goes: a clear error, nothing left, and a plan for a host that has it. What is
//! done below a mount is tested on a fake one, beside the code.

mod common;

use std::fs;

use common::{Bundle, json};

fn mounted() -> bool {
    fs::read_to_string("/proc/self/mountinfo").expect("mountinfo").contains(" - resctrl ")
}

#[test]
fn without_resctrl_it_is_an_error_that_says_so() {
    if mounted() {
        return common::skipped("resctrl is mounted here");
    }
    let mut bundle = Bundle::new("rdt");
    bundle.set("/linux/intelRdt", json!({"closID": "gold", "schemata": ["L3:0=f"]})).args(["/bin/true"]);
    bundle.run().fails(&["/linux/intelRdt: resctrl is not mounted"]);
    bundle.nothing_left();
}

#[test]
fn without_resctrl_an_update_of_schemata_is_an_error_and_changes_nothing() {
    if mounted() {
        return common::skipped("resctrl is mounted here");
    }
    let mut bundle = Bundle::new("rdt-update");
    bundle.set("/linux/resources", json!({"pids": {"limit": 40}})).args(["/probe", "sleep"]);
    bundle.create().ok();
    let words = ["/intelRdt: Intel RDT is not enabled", "mount -t resctrl resctrl /sys/fs/resctrl"];
    for flag in ["--l3-cache-schema=L3:0=f", "--mem-bw-schema=MB:0=70"] {
        bundle.rt(&["update", "--pids-limit", "50", flag, &bundle.id]).run().fails(&words);
    }
    let dirs = common::cgroups::named(&bundle.id);
    let limit = dirs.iter().map(|dir| dir.join("pids.max")).find(|file| fs::metadata(file).is_ok()).expect("a limit");
    assert_eq!(common::cgroups::value(&limit), "40");
    let file = bundle.write("resources.json", r#"{"intelRdt": {"schemata": ["L3:0=f"]}, "pids": {"limit": 50}}"#);
    bundle.rt(&["update", "--resources", file.to_str().expect("text"), &bundle.id]).run().fails(&words);
    assert_eq!(common::cgroups::value(&limit), "40");
    // Empty ones ask for nothing.
    bundle.rt(&["update", "--l3-cache-schema=", "--mem-bw-schema", "", "--pids-limit", "50", &bundle.id]).run().ok();
    assert_eq!(common::cgroups::value(&limit), "50");
    bundle.delete().ok();
}

#[test]
fn the_plan_for_a_host_with_resctrl_names_groups_and_schemata() {
    let mut bundle = Bundle::new("rdt-plan");
    let facts = json!({"euid": 0, "in_userns": false, "capabilities": u64::MAX, "cgroups": {"v1": [], "v2": null},
                       "resctrl": "/sys/fs/resctrl"});
    let facts = bundle.write("facts.json", &facts.to_string());
    let rdt = json!({"l3CacheSchema": "L3:0=f\nMB:0=10", "memBwSchema": "MB:0=70", "enableMonitoring": true});
    bundle.set("/linux/intelRdt", rdt).args(["/bin/true"]).save();
    let words = ["explain", "--facts", facts.to_str().expect("text"), &bundle.text("")];
    let said = bundle.rt(&words).run().ok().stdout;
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| line.contains("resctrl")).collect();
    assert_eq!(lines.len(), 4, "{said}");
    for (line, begin) in lines.iter().zip([
        "find resctrl group /sys/fs/resctrl/",
        "/sys/fs/resctrl/",
        "find resctrl monitoring group /sys/fs/resctrl/",
        "join resctrl group /sys/fs/resctrl/",
    ]) {
        assert!(line.starts_with(begin), "{line}");
    }
    assert!(lines[1].contains("/schemata = L3:0=f MB:0=70"), "{}", lines[1]);
}
