//! `cgroupsPath` and `resources` → placement and steps. Pure: OCI types and facts in, typed steps out.
//!
//! Fails closed: a limit that no hierarchy of this host has is a complaint, at the field that asks for it. What is
//! tolerated is said where its step is made (`v1.rs`, `v2.rs`) or warned about here.

pub(super) mod owner;
mod rootless;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources, Spec};

use crate::error::ConfigError;
use crate::facts::Facts;
use crate::step::{Origin, Step};
use crate::sys::Errno;

use super::devices::{self, DeviceRules};
use super::limits::{self, Amount, Asked, Limit, NoPids, Purpose};
use super::op::Op;
use super::place::{self, Placement, Version};
use super::{v1, v2};

pub(super) const POINTER: &str = "/linux/resources";

/// What `create` has to do about cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// Where the container stands; goes into its record before anything is made.
    pub placement: Placement,
    /// Before birth, in order.
    pub prepare: Vec<Step<Op>>,
    /// After birth, before the child may go on.
    pub adopt: Vec<Step<Op>>,
    /// What was asked for and is left out, with the reason; nothing of it weakens a limit.
    pub warnings: Vec<ConfigError>,
}

/// What `resources` ask of a given placement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// In order: controllers, devices, limits.
    pub steps: Vec<Step<Op>>,
    /// A limit that would keep the container's own process out of its cgroup, so it comes when that is in.
    pub after_birth: Vec<Step<Op>>,
    /// What was asked for and is left out, with the reason.
    pub warnings: Vec<ConfigError>,
}

/// Lowers a new container's cgroup; `strict`: by the letter of the specification.
pub fn lower(spec: &Spec, facts: &Facts, id: &str, strict: bool, complaints: &mut Vec<ConfigError>) -> Lowered {
    let linux = spec.linux().as_ref();
    let nothing = LinuxResources::default();
    let resources = linux.and_then(|l| l.resources().as_ref()).unwrap_or(&nothing);
    let path = linux.and_then(|l| l.cgroups_path().as_deref());
    let placement = place::lower(path, facts, id, complaints);
    let mut prepare = create(&placement, path.is_some());
    let undelegated = |limit: &Limit| rootless::is_undelegated(limit, &placement, facts);
    let (mut lowered, left_out) = lower_all(
        resources,
        &placement,
        POINTER,
        Purpose::Create { no_pids: NoPids::of(spec, strict) },
        &undelegated,
        complaints,
    );
    lowered.warnings.extend(rootless::warning(&left_out, facts));
    if placement.is_none() {
        return Lowered { placement, prepare, adopt: Vec::new(), warnings: lowered.warnings };
    }
    prepare.extend(inherit(&placement, &lowered.steps));
    prepare.extend(device_rules(resources, &placement, facts, complaints));
    prepare.extend(lowered.steps);
    // Last: from here on somebody else can write here.
    prepare.extend(
        owner::lower(spec, &placement).map(|s| if facts.rootless() { s.tolerating(&[Errno::EPERM]) } else { s }),
    );
    Lowered { placement, prepare, adopt: lowered.after_birth, warnings: lowered.warnings }
}

/// Lowers limits for the container at `placement`; `base` is the pointer of `resources` itself. The list of devices is
/// not looked at: an update must not change it (callers send a bare "deny all" there).
pub fn lower_resources(
    resources: &LinuxResources,
    placement: &Placement,
    base: &str,
    purpose: Purpose,
    complaints: &mut Vec<ConfigError>,
) -> Resources {
    lower_all(resources, placement, base, purpose, &|_| false, complaints).0
}

/// The same; gives apart what is `undelegated`: a caller without root's rights runs without it.
fn lower_all(
    resources: &LinuxResources,
    placement: &Placement,
    base: &str,
    purpose: Purpose,
    undelegated: &dyn Fn(&Limit) -> bool,
    complaints: &mut Vec<ConfigError>,
) -> (Resources, Vec<Asked>) {
    let (all, warnings) = limits::read(resources, base, purpose, complaints);
    let (left_out, all): (Vec<Asked>, Vec<Asked>) = all.into_iter().partition(|asked| undelegated(&asked.limit));
    let mut lowered = Resources { warnings, ..Resources::default() };
    let mut needed: Vec<String> = Vec::new();
    let mut limits = Vec::new();
    for asked in &all {
        match one(asked, placement, purpose) {
            Ok((steps, controller)) => {
                needed.extend(controller);
                // A cgroup that may not have processes lets none be born into it.
                let closed = asked.limit == Limit::Pids(Amount::Of(0));
                if closed { lowered.after_birth.extend(steps) } else { limits.extend(steps) }
            }
            Err(message) if placement.v1_tree_of("memory").is_none() && v2::may_be_left_out(&asked.limit) => {
                lowered.warnings.push(ConfigError::at(asked.pointer.clone(), format!("ignored: {message}")));
            }
            Err(message) => complaints.push(ConfigError::at(asked.pointer.clone(), message)),
        }
    }
    lowered.steps.extend(enable(placement, needed));
    lowered.steps.extend(limits);
    (lowered, left_out)
}

/// The steps of one limit, and the v2 controller that they need.
fn one(asked: &Asked, placement: &Placement, purpose: Purpose) -> Result<(Vec<Step<Op>>, Option<String>), String> {
    let (old, new) = (v1::controller(&asked.limit), v2::controller(&asked.limit));
    if let Some(tree) = old.and_then(|name| placement.v1_tree_of(name)) {
        return Ok((v1::steps(tree, asked)?, None));
    }
    match (placement.v2_tree(), new) {
        // The files of the core are there without any controller.
        (Some(tree), Some("cgroup")) => Ok((v2::steps(tree, asked, purpose)?, None)),
        (Some(tree), Some(name)) if placement.trees[tree].controllers.iter().any(|c| c == name) => {
            Ok((v2::steps(tree, asked, purpose)?, Some(name.to_owned())))
        }
        _ => Err(missing(old, new, placement)),
    }
}

/// Why no tree of the placement can set a limit that v1 has in the controller `old` and v2 in `new`.
fn missing(old: Option<&str>, new: Option<&str>, placement: &Placement) -> String {
    let pure = placement.trees.iter().all(|t| t.version == Version::V2);
    match (old, new) {
        _ if placement.is_none() => "the container has no cgroup of its own to set it in".to_owned(),
        (None, _) if placement.v2_tree().is_none() => "only cgroup v2 has such files, and it is not mounted".to_owned(),
        (_, None) if pure => "cgroup v2 has no such limit".to_owned(),
        (None, Some(name)) => format!("the cgroup v2 hierarchy of this host does not have the {name} controller"),
        (Some(_), Some(name)) if pure => {
            format!("the cgroup v2 hierarchy of this host does not have the {name} controller")
        }
        (Some(name), _) => format!("no cgroup hierarchy with the {name} controller is mounted"),
        (None, None) => "no cgroup hierarchy has such a limit".to_owned(),
    }
}

pub(super) fn create(placement: &Placement, asked: bool) -> Vec<Step<Op>> {
    let step = |op| match asked {
        true => Step::asked("/linux/cgroupsPath", op),
        false => Step::default("a cgroup of its own, by its id", op),
    };
    placement.trees.iter().enumerate().map(|(tree, place)| step(Op::Create { tree, dir: place.dir() })).collect()
}

/// A cpuset directory of v1 is useless until it has cpus and memory nodes.
fn inherit(placement: &Placement, limits: &[Step<Op>]) -> Option<Step<Op>> {
    let tree = placement.v1_tree_of("cpuset")?;
    let given = |name: &str| {
        limits.iter().any(|s| matches!(&s.op, Op::Write { tree: t, write } if *t == tree && write.file == name))
    };
    let files = ["cpuset.cpus", "cpuset.mems"].into_iter().filter(|name| !given(name)).map(str::to_owned).collect();
    Some(Step::default("an empty cpuset cannot be joined", Op::Inherit { tree, files }))
}

/// On a v2 host the container gets every controller there is, so that statistics and nested containers work; on a
/// hybrid one the unified tree is left as it is, but for what a limit needs.
fn enable(placement: &Placement, needed: Vec<String>) -> Option<Step<Op>> {
    let tree = placement.v2_tree()?;
    let pure = placement.trees.iter().all(|t| t.version == Version::V2);
    let all = &placement.trees[tree].controllers;
    let controllers: Vec<String> = all.iter().filter(|c| pure || needed.contains(c)).cloned().collect();
    let why = "controllers reach a cgroup only through its ancestors";
    (!controllers.is_empty()).then(|| Step {
        origin: Origin::Default(why),
        tolerate: &[],
        op: Op::Enable { tree, needed: all.iter().filter(|c| needed.contains(c)).cloned().collect(), controllers },
    })
}

/// The device rules, before any other limit and before anybody can be in the cgroup.
pub(super) fn device_rules(
    resources: &LinuxResources,
    placement: &Placement,
    facts: &Facts,
    complaints: &mut Vec<ConfigError>,
) -> Option<Step<Op>> {
    let pointer = format!("{POINTER}/devices");
    let asked = resources.devices().as_deref().unwrap_or_default();
    let rules = devices::lower(asked, &pointer, complaints);
    if facts.rootless() {
        // There nobody can make a node that works, and only root may change the rules.
        return None;
    }
    devices_step(rules, asked.is_empty(), placement, pointer, complaints)
}

/// New device rules for the container at `placement`, in place of those it has.
pub fn lower_devices(
    devices: &[LinuxDeviceCgroup],
    placement: &Placement,
    pointer: &str,
    complaints: &mut Vec<ConfigError>,
) -> Option<Step<Op>> {
    let rules = devices::lower(devices, pointer, complaints);
    devices_step(rules, false, placement, pointer.to_owned(), complaints)
}

fn devices_step(
    rules: DeviceRules,
    by_default: bool,
    placement: &Placement,
    pointer: String,
    complaints: &mut Vec<ConfigError>,
) -> Option<Step<Op>> {
    let step = |op| match by_default {
        true => Step::default("only the default devices, unless the config allows more", op),
        false => Step::asked(pointer.clone(), op),
    };
    if let Some(tree) = placement.v1_tree_of("devices") {
        return match devices::exceptions(&rules) {
            Ok(rules) => Some(step(Op::Devices { tree, rules })),
            Err(message) => {
                complaints.push(ConfigError::at(pointer, message));
                None
            }
        };
    }
    match placement.v2_tree() {
        Some(tree) => Some(step(Op::Devices { tree, rules })),
        None => {
            let message = "no cgroup hierarchy can control devices; mount the v1 devices hierarchy or cgroup2";
            complaints.push(ConfigError::at(pointer, message));
            None
        }
    }
}

#[cfg(test)]
mod tests;
