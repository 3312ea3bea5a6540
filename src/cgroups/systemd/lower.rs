//! `cgroupsPath`, `resources` and annotations → a unit, its properties, and the steps in its cgroup. Pure.
//!
//! The order: connected before anything is made; init is born and waits; the unit is started with it inside; the
//! container's own directory is made and init moved there (a cgroup that passes controllers on can't have processes);
//! controllers, devices and limits; only then init goes on.

use oci_spec::runtime::{LinuxResources, Spec};

use super::super::limits::{NoPids, Purpose};
use super::super::lower::{self as cgroups, Lowered, POINTER};
use super::super::op::Op;
use super::super::place::{Place, Placement, Version};
use super::{Instance, SUBGROUP, Unit, Value, annotations, properties, unit};
use crate::error::ConfigError;
use crate::facts::Facts;
use crate::step::{Origin, Step};

const PATH: &str = "/linux/cgroupsPath";
/// There is one tree.
const TREE: usize = 0;

/// Lowers a new container's cgroup, to be made by systemd.
pub fn lower(spec: &Spec, facts: &Facts, id: &str, strict: bool, complaints: &mut Vec<ConfigError>) -> Lowered {
    let none = Lowered { placement: Placement::none(), prepare: Vec::new(), adopt: Vec::new(), warnings: Vec::new() };
    let linux = spec.linux().as_ref();
    let asked = linux.and_then(|l| l.cgroups_path().as_ref()).map(|p| p.to_string_lossy().into_owned());
    let asked = asked.filter(|p| !p.is_empty());
    let unit = match place(asked.as_deref(), facts, id) {
        Ok(unit) => unit,
        Err(message) => {
            complaints.push(ConfigError::at(PATH, message));
            return none;
        }
    };
    let Some(placement) = placement(&unit, facts) else { return none };
    let dir = placement.trees[TREE].dir();
    let nothing = LinuxResources::default();
    let resources = linux.and_then(|l| l.resources().as_ref()).unwrap_or(&nothing);
    let limits = cgroups::lower_resources(
        resources,
        &placement,
        POINTER,
        Purpose::Create { no_pids: NoPids::of(spec, strict) },
        complaints,
    );

    let why = "systemd is asked before anything is made, so that its silence leaves nothing behind";
    let mut prepare = vec![Step::default(why, Op::Bus { tree: TREE, of: unit.of })];
    let mut all = fixed(&unit, id, asked.is_some());
    all.extend(from_annotations(spec, complaints));
    all.extend(properties::mirror(TREE, &[&limits.steps[..], &limits.after_birth[..]].concat(), ""));
    prepare.extend(last_words(all));

    let of = unit.of;
    let start = Op::StartUnit { tree: TREE, unit };
    let start = match asked {
        Some(_) => Step::asked(PATH, start),
        None => Step::default("a unit of its own, by its id", start),
    };
    let why = "init goes on only when it is where its limits are";
    let mut adopt = vec![start];
    adopt.extend(cgroups::create(&placement, asked.is_some()));
    adopt.push(Step::default(why, Op::Attach { tree: TREE, dir }));
    let devices = cgroups::device_rules(resources, &placement, facts, complaints);
    // A user may not load filters; nor make a device node that works.
    adopt.extend(devices.filter(|_| of == Instance::System));
    adopt.extend(limits.steps);
    adopt.extend(cgroups::owner::lower(spec, &placement));
    adopt.extend(limits.after_birth);
    Lowered { placement, prepare, adopt, warnings: limits.warnings }
}

fn place(asked: Option<&str>, facts: &Facts, id: &str) -> Result<Unit, String> {
    let Some(systemd) = &facts.systemd else {
        return Err("systemd not running on this host, so it can make no cgroup; leave --systemd-cgroup out".to_owned());
    };
    if facts.cgroups.v2.is_none() || !facts.cgroups.v1.is_empty() {
        return Err(
            "the systemd driver needs pure cgroup v2, and this host has v1 hierarchies; leave --systemd-cgroup \
             out, or boot with systemd.unified_cgroup_hierarchy=1"
                .to_owned(),
        );
    }
    let of = if systemd.user { Instance::User } else { Instance::System };
    unit::lower(asked, of, &systemd.cgroup, id)
}

fn placement(unit: &Unit, facts: &Facts) -> Option<Placement> {
    let tree = facts.cgroups.v2.as_ref()?;
    let place = Place {
        version: Version::V2,
        controllers: tree.controllers.clone(),
        mountpoint: tree.mountpoint.clone(),
        path: format!("{}/{SUBGROUP}", unit.cgroup),
        made: Vec::new(),
        delegated: unit.cgroup.clone(),
    };
    Some(Placement { trees: vec![place], unit: Some(unit.clone()), started: false })
}

fn property(origin: Origin, name: &str, value: Value) -> Step<Op> {
    Step { origin, tolerate: &[], op: Op::Property { tree: TREE, name: name.to_owned(), value } }
}

/// What every unit of ours has.
fn fixed(unit: &Unit, id: &str, asked: bool) -> Vec<Step<Op>> {
    let default = |why, name, value| property(Origin::Default(why), name, value);
    let text = |text: &str| Value::Text(text.to_owned());
    let mut all = vec![default("for people", "Description", text(&format!("rt container {id}")))];
    if !unit.is_slice() {
        let origin =
            if asked { Origin::Config(PATH.into()) } else { Origin::Default("where systemd puts what has no slice") };
        all.push(property(origin, "Slice", text(&unit.slice)));
        all.push(default("what is below the scope is ours", "Delegate", Value::Bool(true)));
        all.push(default(
            "the next container of this name must not find a failed one",
            "CollectMode",
            text("inactive-or-failed"),
        ));
    }
    all.push(default("a container does not wait for the host's targets", "DefaultDependencies", Value::Bool(false)));
    for name in ["CPUAccounting", "IOAccounting", "MemoryAccounting", "TasksAccounting"] {
        all.push(default("systemctl status shows it", name, Value::Bool(true)));
    }
    all.push(default("what the config does not limit has no limit", "TasksMax", Value::U64(u64::MAX)));
    all
}

fn from_annotations(spec: &Spec, complaints: &mut Vec<ConfigError>) -> Vec<Step<Op>> {
    let asked = spec.annotations().as_ref().map(|all| annotations::lower(all, complaints)).unwrap_or_default();
    asked.into_iter().map(|(pointer, (name, value))| property(Origin::Config(pointer), &name, value)).collect()
}

/// Of several steps for one property only the last.
fn last_words(all: Vec<Step<Op>>) -> Vec<Step<Op>> {
    let name = |step: &Step<Op>| match &step.op {
        Op::Property { name, .. } => name.clone(),
        _ => String::new(),
    };
    let names: Vec<String> = all.iter().map(name).collect();
    let is_last = |index: &usize| !names[index + 1..].contains(&names[*index]);
    all.into_iter().enumerate().filter(|(index, _)| is_last(index)).map(|(_, step)| step).collect()
}

/// What an update means for the unit: nothing, where systemd did not make it. `cpu_max` is what that file says now.
/// Properties come after the files: they are taken or refused all together, so nothing is left to fail after them.
pub fn lower_update(placement: &Placement, steps: Vec<Step<Op>>, cpu_max: &str) -> Vec<Step<Op>> {
    let Some(unit) = &placement.unit else { return steps };
    let properties = properties::mirror(TREE, &steps, cpu_max);
    if properties.is_empty() {
        return steps;
    }
    let default = |why, op| Step::default(why, op);
    let mut all = vec![default("systemd must be there before anything changes", Op::Bus { tree: TREE, of: unit.of })];
    all.extend(steps);
    all.extend(properties);
    let set = Op::SetProperties { tree: TREE, unit: unit.name.clone() };
    all.push(default("the unit says what its container has", set));
    all
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::facts::{CgroupTrees, Hierarchy, Systemd, Unified};

    fn facts() -> Facts {
        let controllers = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"].map(str::to_owned).to_vec();
        let v2 = Some(Unified { mountpoint: "/cg".into(), own: "/".into(), controllers });
        let systemd = Some(Systemd { user: false, cgroup: "/".into() });
        Facts { cgroups: CgroupTrees { v1: Vec::new(), v2 }, systemd, ..Facts::default() }
    }

    fn lowered(facts: &Facts, path: &str, resources: Json, annotations: Json) -> Result<Lowered, String> {
        let spec = json!({"ociVersion": "1.2.0", "annotations": annotations,
                          "linux": {"cgroupsPath": path, "resources": resources}});
        let mut complaints = Vec::new();
        let lowered = lower(&serde_json::from_value(spec).unwrap(), facts, "box", true, &mut complaints);
        if complaints.is_empty() {
            return Ok(lowered);
        }
        Err(complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn words(steps: &[Step<Op>]) -> Vec<String> {
        steps.iter().map(|step| step.op.to_string()).collect()
    }

    #[test]
    fn a_scope_with_all_that_the_config_limits() {
        let resources = json!({"memory": {"limit": 1000, "swap": 3000}, "pids": {"limit": 7},
                               "unified": {"memory.high": "900", "pids.max": "6"},
                               "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]});
        let annotations = json!({"org.systemd.property.TimeoutStopUSec": "uint64 5", "other": "x"});
        let lowered = lowered(&facts(), "a-b.slice:rt:box", resources, annotations).unwrap();
        assert_eq!(
            words(&lowered.prepare),
            [
                "connect to the system instance of systemd",
                "unit property Description = rt container box",
                "unit property Slice = a-b.slice",
                "unit property Delegate = yes",
                "unit property CollectMode = inactive-or-failed",
                "unit property DefaultDependencies = no",
                "unit property CPUAccounting = yes",
                "unit property IOAccounting = yes",
                "unit property MemoryAccounting = yes",
                "unit property TasksAccounting = yes",
                "unit property TimeoutStopUSec = 5",
                "unit property MemorySwapMax = 2000",
                "unit property MemoryMax = 1000",
                "unit property MemoryHigh = 900",
                "unit property TasksMax = 6",
            ]
        );
        let adopt = words(&lowered.adopt);
        assert_eq!(adopt[0], "systemd starts rt-box.scope in a-b.slice, with init in it");
        assert_eq!(adopt[1], "make cgroup /cg/a.slice/a-b.slice/rt-box.scope/container");
        assert_eq!(adopt[2], "move init to /cg/a.slice/a-b.slice/rt-box.scope/container");
        assert!(adopt[3].starts_with("devices: deny all"), "{}", adopt[3]);
        assert!(adopt[4].starts_with("enable the controllers"), "{}", adopt[4]);
        assert!(adopt.contains(&"hugetlb.2MB.max = 0".to_owned()));
        let place = &lowered.placement.trees[0];
        assert_eq!(place.delegated, "a.slice/a-b.slice/rt-box.scope");
        assert!(!lowered.placement.is_ours(), "not before it is started");
    }

    #[test]
    fn a_limit_that_nobody_may_live_under_comes_last() {
        let lowered = lowered(&facts(), ":rt:box", json!({"pids": {"limit": 0}}), json!({})).unwrap();
        assert_eq!(lowered.adopt.last().unwrap().op.to_string(), "pids.max = 0");
        assert!(words(&lowered.prepare).contains(&"unit property TasksMax = 1".to_owned()));
    }

    #[test]
    fn a_slice_has_no_processes_of_its_own() {
        let lowered = lowered(&facts(), "x.slice:rt:pod-box.slice", json!({}), json!({})).unwrap();
        let prepare = words(&lowered.prepare).join("\n");
        assert!(!prepare.contains("Delegate") && !prepare.contains("Slice ="), "{prepare}");
        assert_eq!(lowered.adopt[0].op.to_string(), "systemd starts pod-box.slice");
        assert_eq!(lowered.placement.trees[0].path, "pod.slice/pod-box.slice/container");
    }

    #[test]
    fn what_this_host_cannot_do_is_said() {
        let said = |facts: &Facts| lowered(facts, ":rt:box", json!({}), json!({})).unwrap_err();
        assert!(said(&Facts { systemd: None, ..facts() }).contains("systemd not running on this host"));
        let mut hybrid = facts();
        let v1 = Hierarchy { controllers: vec!["memory".into()], mountpoint: "/m".into(), own: "/".into() };
        hybrid.cgroups.v1.push(v1);
        assert!(said(&hybrid).contains("pure cgroup v2"));
        let refused = lowered(&facts(), ":rt:box", json!({}), json!({"org.systemd.property.Slice": "'x'"}));
        assert!(refused.unwrap_err().starts_with("/annotations/org.systemd.property.Slice: "));
    }

    #[test]
    fn an_update_is_for_the_files_and_for_the_unit() {
        let placement = lowered(&facts(), ":rt:box", json!({}), json!({})).unwrap().placement;
        let resources: LinuxResources =
            serde_json::from_value(json!({"memory": {"limit": 5}, "cpu": {"period": 50_000}})).unwrap();
        let steps = cgroups::lower_resources(&resources, &placement, "", Purpose::Update, &mut Vec::new()).steps;
        let all = words(&lower_update(&placement, steps.clone(), "20000 100000"));
        assert_eq!(all[0], "connect to the system instance of systemd");
        assert_eq!(
            all[all.len() - 4..],
            [
                "unit property MemoryMax = 5",
                "unit property CPUQuotaPerSecUSec = 400000",
                "unit property CPUQuotaPeriodUSec = 50000",
                "systemd changes the properties of rt-box.scope",
            ]
        );
        let plain = Placement { unit: None, ..placement.clone() };
        assert_eq!(lower_update(&plain, steps.clone(), ""), steps);
        assert!(lower_update(&placement, Vec::new(), "").is_empty());
    }
}
