//! A process that comes later, into a running container: the same steps with empty build, and what `create` left for them.
//!
//! `create` writes a [`Digest`] of the config into the record: everything that concerns a process. So `exec` never reads
//! the whole config again, and edits of the bundle mean nothing to it.

use oci_spec::runtime::{Capability, LinuxNamespaceType, Process, Spec};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    LISTENER, Lowered, Options, Plan, compile, lower_identity, lower_seccomp, lower_start, lower_terminal, permits,
};
use crate::cgroups::{Below, Placement};
use crate::error::{Complaints, ConfigError};
use crate::facts::Facts;
use crate::identity::affinity::ExecAffinity;
use crate::namespaces::{self, Birth, Kind};
use crate::plan::{HostOp, InitOp};
use crate::step::Step;
use crate::sys::Errno;
use crate::{identity, intelrdt, seccomp};

/// What `exec` needs of the config.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// The config without what only `create` needs.
    pub spec: Spec,
    /// Whether the container has a session keyring of its own.
    pub keyring: bool,
    /// Whether the letter of the specification counted.
    pub strict: bool,
}

/// The properties of `linux` that concern a process.
const OF_PROCESS: [&str; 7] =
    ["namespaces", "uidMappings", "gidMappings", "seccomp", "personality", "memoryPolicy", "intelRdt"];

/// The digest of a config.
pub fn digest(spec: &Spec, options: &Options) -> Vec<u8> {
    let mut linux = json!(spec.linux());
    if let Some(linux) = linux.as_object_mut() {
        linux.retain(|name, _| OF_PROCESS.contains(&name.as_str()));
    }
    let spec = json!({ "ociVersion": spec.version(), "process": spec.process(), "linux": linux });
    json!({ "spec": spec, "keyring": !options.no_new_keyring, "strict": options.strict }).to_string().into_bytes()
}

/// The digest as `create` wrote it.
pub fn read_digest(bytes: &[u8]) -> Result<Digest, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// Who comes, and how.
pub struct Entry<'a> {
    /// What runs in the container, its defaults already filled in from the config.
    pub process: &'a Process,
    /// Which cgroups below the container's own it is to join.
    pub below: &'a [Below],
    /// The caller's choices; the keyring and strictness are the container's.
    pub options: Options,
}

/// The plan. Its placement is none: whoever goes in has the record's.
pub fn lower(digest: Digest, entry: &Entry<'_>, facts: &Facts) -> Result<Lowered, Complaints> {
    let mut complaints: Vec<ConfigError> = Vec::new();
    let mut plan = Plan::default();
    let mut spec = digest.spec;
    let watched = may_be_watched(&spec, entry.process);
    spec.set_process(Some(entry.process.clone()));
    let mut options = entry.options.clone();
    (options.no_new_keyring, options.strict) = (!digest.keyring, digest.strict);

    let present = namespaces::lower::lower(&spec, facts, &mut complaints).present;
    let profile = lower_seccomp(&spec, &mut complaints);
    let program = profile.as_ref().and_then(|p| compile(p, &mut complaints));
    let mut who = lower_identity(&spec, facts, &options, profile.is_some(), &mut complaints);
    let labels = inherited_labels(&mut who);
    let mut warnings = std::mem::take(&mut who.warnings);
    warnings.extend(profile.iter().flat_map(|p| p.warnings.clone()));

    let stub = labels.is_empty() && program.as_ref().is_none_or(|p| permits(p, libc::SYS_execveat, [0; 6]));
    if watched {
        let why = "processes that may look into others are about, and could open rt through /proc";
        plan.prepare.push(Step::default(why, HostOp::Seal));
    } else if !labels.is_empty() {
        plan.prepare.push(Step::default("the label is for the process, so there is no stub", HostOp::Seal));
    } else if !stub {
        plan.prepare.push(Step::default("the seccomp profile denies execveat, so there is no stub", HostOp::Seal));
    }
    let cpus = identity::lower::scheduling::exec_affinity(entry.process, "/process", &mut complaints);
    let rdt = intelrdt::lower(&spec, facts, &options.id, &mut complaints);
    if let Some(cpus) = &cpus.initial {
        let op = HostOp::Identity(identity::HostOp::Affinity(cpus.clone()));
        plan.prepare.push(Step::asked("/process/execCPUAffinity/initial", op));
    }
    let approach = HostOp::Approach { below: entry.below.to_vec() };
    plan.prepare.push(Step::default("everything of the host is opened before anybody goes in", approach));
    let terminal = lower_terminal(&spec, &options, &mut plan, &mut complaints).map(without_console);
    let courier = profile.as_ref().and_then(seccomp::Profile::courier);
    if let Some(profile) = profile {
        if let Some(listener) = &profile.listener {
            plan.prepare.push(Step::asked(LISTENER, HostOp::Listener { path: listener.path.clone() }));
        }
        plan.prepare.push(Step::asked("/linux/seccomp", HostOp::Seccomp(profile)));
    }
    plan.prepare.extend(labels.into_iter().map(|s| s.map(HostOp::Identity)));
    plan.birth = Birth { join: present.clone(), midwife: true, to_init: true, ..Birth::default() };
    plan.adopt.extend(who.adopt.into_iter().map(|s| s.map(HostOp::Identity)));
    plan.adopt.extend(rdt.adopt.into_iter().map(|s| s.map(HostOp::Rdt)));

    plan.build.extend(who.arrive.into_iter().filter_map(|s| on_cpus(s, &cpus)).map(|s| s.map(InitOp::Identity)));
    if present.contains(&Kind::User) || facts.euid != 0 {
        let root = InitOp::Namespace(namespaces::InitOp::BecomeRoot);
        let why = "in a user namespace, root of it becomes somebody else";
        // As in create: a namespace may have no id 0; and the container may have none of its own.
        plan.build.push(Step::default(why, root).tolerating(&[Errno::EINVAL, Errno::EPERM]));
    }
    plan.enter.extend(terminal);
    // A working directory that is missing was not made for this process; it is an error.
    let become_ = who.become_.into_iter().filter(|s| !matches!(s.op, identity::InitOp::MakeCwd(_)));
    plan.become_.extend(become_.map(|s| s.map(InitOp::Identity)));
    lower_start(&spec, &options, program.as_ref(), stub, who.start, &mut plan);
    plan.start.extend(courier.map(|by| Step::asked(LISTENER, InitOp::HandListener { by })));
    let placement = Placement::none();
    if complaints.is_empty() { Ok(Lowered { plan, placement, program, warnings }) } else { Err(Complaints(complaints)) }
}

/// Inside the container every procfs is its own, so a label is said before anybody goes in. There are no hooks that it
/// would be too early for.
fn inherited_labels(who: &mut identity::lower::Lowered) -> Vec<Step<identity::HostOp>> {
    who.arrive.retain(|s| !matches!(s.op, identity::InitOp::OpenLabel(_)));
    let (labels, rest) =
        std::mem::take(&mut who.start).into_iter().partition(|s| matches!(s.op, identity::InitOp::Label { .. }));
    who.start = rest;
    let labels: Vec<Step<identity::InitOp>> = labels;
    let inherited = |s: Step<identity::InitOp>| match s.op {
        identity::InitOp::Label { lsm, label } => {
            Some(Step { origin: s.origin, tolerate: s.tolerate, op: identity::HostOp::Label { lsm, label } })
        }
        _ => None,
    };
    labels.into_iter().filter_map(inherited).collect()
}

/// Whether a process of the container could look into ours before it is the workload, and so get hold of `rt` itself
/// (CVE-2019-5736). Ours is not dumpable, so that takes CAP_SYS_PTRACE in the user namespace that `rt` was started in:
/// nobody in a user namespace below it has that. Who else shares a pid namespace with the container is not known.
fn may_be_watched(spec: &Spec, process: &Process) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
    let own = |kind| namespaces.iter().any(|n| n.typ() == kind && n.path().is_none());
    if own(LinuxNamespaceType::User) {
        return false;
    }
    let may_trace = |process: &Process| {
        let bounding = process.capabilities().as_ref().and_then(|c| c.bounding().as_ref());
        bounding.is_some_and(|set| set.contains(&Capability::SysPtrace))
    };
    !own(LinuxNamespaceType::Pid) || may_trace(process) || spec.process().as_ref().is_some_and(may_trace)
}

/// Which CPUs the process is on: of its `final` affinity; else, where it has an `initial` one, what the kernel makes of
/// that in the container's cpuset; else all of that.
fn on_cpus(step: Step<identity::InitOp>, asked: &ExecAffinity) -> Option<Step<identity::InitOp>> {
    match (&step.op, &asked.last, &asked.initial) {
        (identity::InitOp::AllCpus, Some(cpus), _) => {
            Some(Step::asked("/process/execCPUAffinity/final", identity::InitOp::Affinity(cpus.clone())))
        }
        (identity::InitOp::AllCpus, None, Some(_)) => None,
        _ => Some(step),
    }
}

/// /dev/console belongs to the container's first process.
fn without_console(mut step: Step<InitOp>) -> Step<InitOp> {
    if let InitOp::Terminal(op) = &mut step.op {
        op.console = false;
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check;

    fn full() -> Spec {
        let text = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/spec/full.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
        // What the test of the schema needs and no filter takes.
        config["linux"]["seccomp"]["syscalls"][0].as_object_mut().unwrap().remove("errnoRet");
        crate::spec::read_config(config.to_string().into_bytes(), false).unwrap().spec
    }

    #[test]
    fn the_digest_holds_all_that_concerns_a_process_and_no_more() {
        let spec = full();
        let digest = read_digest(&digest(&spec, &Options { no_new_keyring: true, ..Options::default() })).unwrap();
        assert_eq!(digest.spec.process(), spec.process());
        let (ours, all) = (digest.spec.linux().as_ref().unwrap(), spec.linux().as_ref().unwrap());
        assert_eq!(ours.seccomp(), all.seccomp());
        assert_eq!(ours.namespaces(), all.namespaces());
        assert_eq!(ours.personality(), all.personality());
        assert_eq!(ours.memory_policy(), all.memory_policy());
        assert!(ours.resources().is_none() && ours.masked_paths().is_none() && ours.sysctl().is_none());
        assert!(digest.spec.mounts().is_none() && digest.spec.hooks().is_none() && digest.spec.root().is_none());
        assert!(!digest.keyring);
    }

    #[test]
    fn an_entry_is_create_without_the_building() {
        let spec = full();
        let digest = read_digest(&digest(&spec, &Options::default())).unwrap();
        let process = spec.process().clone().unwrap();
        let options = Options { console_socket: Some("/s".into()), ..Options::default() };
        let entry = Entry { process: &process, below: &[], options: options.clone() };
        let facts = Facts { capabilities: !0, resctrl: Some("/sys/fs/resctrl".into()), ..Facts::default() };
        let plan = lower(digest, &entry, &facts).unwrap().plan;
        assert_eq!(check::check(&plan), Vec::<String>::new());
        let no_cgroups = Options { no_cgroups: true, ..options };
        let create = crate::plan::lower(&spec, &facts, &no_cgroups).unwrap().plan;
        let made = |s: &&Step<InitOp>| !matches!(s.op, InitOp::Identity(identity::InitOp::MakeCwd(_)));
        assert_eq!(plan.become_.iter().collect::<Vec<_>>(), create.become_.iter().filter(made).collect::<Vec<_>>());
        assert_eq!(plan.exec, create.exec);
        // Its oom score, and the container's resctrl group.
        let adopt: Vec<String> = plan.adopt.iter().map(|s| s.origin.to_string()).collect();
        assert_eq!(adopt, ["/process/oomScoreAdj", "/linux/intelRdt"]);
        assert!(plan.start.iter().any(|s| s.op == InitOp::LoadSeccomp));
        assert!(!plan.become_.iter().chain(&plan.enter).any(|s| matches!(s.op, InitOp::Rootfs(_) | InitOp::Hook(_))));
    }

    #[test]
    fn a_label_is_said_before_anybody_goes_in() {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "process": {"cwd": "/", "args": ["/x"], "user": {"uid": 0, "gid": 0}, "apparmorProfile": "a", "selinuxLabel": "b"},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
        }))
        .unwrap();
        let digest = read_digest(&digest(&spec, &Options::default())).unwrap();
        let process = spec.process().clone().unwrap();
        let entry = Entry { process: &process, below: &[], options: Options::default() };
        let facts = Facts { capabilities: !0, apparmor: true, selinux: true, ..Facts::default() };
        let plan = lower(digest, &entry, &facts).unwrap().plan;
        let label = |s: &Step<HostOp>| matches!(s.op, HostOp::Identity(identity::HostOp::Label { .. }));
        assert_eq!(plan.prepare.iter().filter(|s| label(s)).count(), 2);
        assert!(plan.prepare.iter().any(|s| s.op == HostOp::Seal));
        assert!(!plan.prepare.iter().any(|s| matches!(s.op, HostOp::Stub { .. })));
        let inside = plan.build.iter().chain(&plan.start);
        let of_labels = |op: &InitOp| {
            matches!(op, InitOp::Identity(identity::InitOp::OpenLabel(_) | identity::InitOp::Label { .. }))
        };
        assert!(!inside.into_iter().any(|s| of_labels(&s.op)));
    }
}
