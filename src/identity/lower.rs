//! config.json's `process` → who the workload is. Pure.

pub mod scheduling;

use std::collections::HashSet;
use std::str::FromStr;

use oci_spec::runtime::{
    Capability as SpecCapability, LinuxCapabilities, LinuxPersonalityDomain, PosixRlimit, Process, Spec,
};

use super::{Caps, HostOp, InitOp, Lsm};
use crate::error::ConfigError;
use crate::facts::Facts;
use crate::step::Step;
use crate::sys::Errno;

/// What the lowering of a process needs to know beside it.
pub struct Input<'a> {
    /// The whole config.
    pub spec: &'a Spec,
    /// `process`; absent in a container that can be created but not started.
    pub process: Option<&'a Process>,
    /// This host.
    pub facts: &'a Facts,
    /// The container's id, for its keyring.
    pub id: &'a str,
    /// `--no-new-keyring` was not given.
    pub keyring: bool,
    /// `umask` when the config has none, and why: 022 as images expect, or the caller's own under `--strict`.
    pub umask: (u32, &'static str),
    /// Whether a seccomp filter will be loaded.
    pub seccomp: bool,
    /// `--strict`: a label that nothing here could enforce is an error.
    pub strict: bool,
}

/// The steps, by stage.
#[derive(Default)]
pub struct Lowered {
    /// Host, after the birth.
    pub adopt: Vec<Step<HostOp>>,
    /// Init, before it touches anything of the container.
    pub arrive: Vec<Step<InitOp>>,
    /// Init, inside its root.
    pub become_: Vec<Step<InitOp>>,
    /// Init, after the startContainer hooks.
    pub start: Vec<Step<InitOp>>,
    /// What is done differently from what the config says, without being an error.
    pub warnings: Vec<String>,
}

const SYS_ADMIN: u64 = 1 << 21;

/// Every capability this build knows: name and number.
pub fn all_capabilities() -> impl Iterator<Item = (String, u8)> {
    let mut all: Vec<_> = caps::all().into_iter().map(|c| (c.to_string(), c.index())).collect();
    all.sort_by_key(|(_, number)| *number);
    all.into_iter()
}

/// The annotation, crun's, that asks for the caller's supplementary groups.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Lowers the process.
pub fn lower(input: &Input<'_>, complaints: &mut Vec<ConfigError>) -> Lowered {
    let mut out = Lowered::default();
    out.arrive.push(Step::default("no terminal of the caller's may stay in reach", InitOp::Session));
    if input.keyring {
        // Keyrings are a convenience of the kernel's build and quota: without one the workload still has none of the caller's keys.
        out.arrive.push(
            Step::default("the caller's keys must stay out of reach", InitOp::Keyring(format!("_ses.{}", input.id)))
                .tolerating(&[Errno::ENOSYS, Errno::EPERM, Errno::EDQUOT, Errno::EACCES]),
        );
    }
    out.arrive.push(Step::default("the workload starts from the kernel's defaults", InitOp::Forget));
    out.arrive.push(Step::default("the caller's choice of CPUs is not the workload's", InitOp::AllCpus));
    match input.spec.linux().as_ref().and_then(|l| l.personality().as_ref()) {
        Some(personality) => {
            let persona = match personality.domain() {
                LinuxPersonalityDomain::PerLinux => 0,
                LinuxPersonalityDomain::PerLinux32 => 8,
            };
            out.arrive.push(Step::asked("/linux/personality/domain", InitOp::Personality(persona)));
        }
        // The caller's may have switched off the randomisation of addresses.
        None => {
            out.arrive.push(Step::default("the workload starts from the kernel's defaults", InitOp::Personality(0)))
        }
    }
    if let Some(process) = input.process {
        lower_labels(input, process, &mut out, complaints);
        lower_process(input, process, &mut out, complaints);
    }
    out
}

/// Labels of security modules. Where the module does not run there is nothing that could hold the workload to its label:
/// callers that send one all the same (crun lets them) get a warning, and an error if they asked for strictness.
fn lower_labels(input: &Input<'_>, process: &Process, out: &mut Lowered, complaints: &mut Vec<ConfigError>) {
    let rows = [
        (Lsm::AppArmor, "/process/apparmorProfile", process.apparmor_profile(), input.facts.apparmor),
        (Lsm::SELinux, "/process/selinuxLabel", process.selinux_label(), input.facts.selinux),
    ];
    for (lsm, pointer, label, runs) in rows {
        let Some(label) = label.as_deref().filter(|l| !l.is_empty()) else { continue };
        if runs {
            out.arrive.push(Step::asked(pointer, InitOp::OpenLabel(lsm)));
            out.start.push(Step::asked(pointer, InitOp::Label { lsm, label: label.to_owned() }));
            continue;
        }
        let message = format!("{} is not enabled on this host", lsm.name());
        match input.strict {
            true => complaints.push(ConfigError::at(pointer, message)),
            // "unconfined" asks for nothing.
            false if lsm == Lsm::AppArmor && label == "unconfined" => {}
            false => out.warnings.push(format!("{pointer}: left out {label}: {message}")),
        }
    }
}

fn lower_process(input: &Input<'_>, process: &Process, out: &mut Lowered, complaints: &mut Vec<ConfigError>) {
    if let Some(score) = process.oom_score_adj() {
        let step = Step::asked("/process/oomScoreAdj", HostOp::OomScore(score));
        // Whoever is not root may not lower it: callers that ask for it run without it, as under runc.
        let rootless = input.facts.euid != 0 || input.facts.in_userns;
        out.adopt.push(if rootless { step.tolerating(&[Errno::EACCES, Errno::EPERM]) } else { step });
    }
    let cwd = process.cwd().to_string_lossy().into_owned();
    let become_ = &mut out.become_;
    become_.push(Step::asked("/process/cwd", InitOp::MakeCwd(cwd.clone())));
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        become_.push(Step::asked(format!("/process/rlimits/{index}"), rlimit(limit)));
    }
    become_.extend(scheduling::lower(input.spec, process, complaints));
    let caps = capability_sets(process.capabilities().as_ref(), input.facts, &mut out.warnings);
    become_.push(Step::asked("/process/capabilities/bounding", InitOp::Bounding(caps.bounding)));
    let user = process.user();
    if !keeps_groups(input.spec) {
        let groups = user.additional_gids().clone().unwrap_or_default();
        let step = Step::asked("/process/user/additionalGids", InitOp::Groups(groups.clone()));
        // Where the user namespace denies setgroups, "none" is what there can be; asking for some is an error.
        become_.push(if groups.is_empty() { step.tolerating(&[Errno::EPERM]) } else { step });
    }
    become_.push(Step::asked("/process/user", InitOp::Ids { uid: user.uid(), gid: user.gid() }));
    become_.push(Step::asked("/process/cwd", InitOp::Cwd(cwd)));
    let no_new_privs = process.no_new_privileges() == Some(true);
    let until_exec = Caps(if input.seccomp && !no_new_privs { SYS_ADMIN } else { 0 });
    become_.push(Step::asked(
        "/process/capabilities",
        InitOp::Capabilities {
            permitted: caps.permitted,
            effective: caps.effective,
            inheritable: caps.inheritable,
            ambient: caps.ambient,
            until_exec,
        },
    ));
    if let Some(name) = process.args().as_ref().and_then(|a| a.first()) {
        let path = search_path(process);
        become_.push(Step::asked("/process/args/0", InitOp::LookUp { name: name.clone(), path }));
    }
    match user.umask().map(|mask| (mask, "/process/user/umask")) {
        Some((mask, pointer)) => become_.push(Step::asked(pointer, InitOp::Umask(mask & 0o777))),
        None => become_.push(Step::default(input.umask.1, InitOp::Umask(input.umask.0))),
    }
    if no_new_privs {
        become_.push(Step::asked("/process/noNewPrivileges", InitOp::NoNewPrivs));
    }
    // Not before the hooks, which would get it too.
    out.start.extend(scheduling::memory_policy(input.spec, complaints));
    out.start.push(Step::default("the caller's and our own ignored signals must not be inherited", InitOp::Signals));
}

/// Whether the caller's own groups are wanted (podman's `--group-add keep-groups`): groups that its user namespace can't name, but
/// that open files for it.
fn keeps_groups(spec: &Spec) -> bool {
    spec.annotations().as_ref().and_then(|all| all.get(KEEP_GROUPS)).is_some_and(|value| value == "1")
}

/// `PATH` of the container's environment; the last entry of a name is the one that counts.
fn search_path(process: &Process) -> String {
    let env = process.env().as_deref().unwrap_or_default();
    env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default().to_owned()
}

/// Resource names and numbers, see getrlimit(2).
pub const RLIMITS: &[(&str, u32)] = &[
    ("RLIMIT_CPU", 0),
    ("RLIMIT_FSIZE", 1),
    ("RLIMIT_DATA", 2),
    ("RLIMIT_STACK", 3),
    ("RLIMIT_CORE", 4),
    ("RLIMIT_RSS", 5),
    ("RLIMIT_NPROC", 6),
    ("RLIMIT_NOFILE", 7),
    ("RLIMIT_MEMLOCK", 8),
    ("RLIMIT_AS", 9),
    ("RLIMIT_LOCKS", 10),
    ("RLIMIT_SIGPENDING", 11),
    ("RLIMIT_MSGQUEUE", 12),
    ("RLIMIT_NICE", 13),
    ("RLIMIT_RTPRIO", 14),
    ("RLIMIT_RTTIME", 15),
];

fn rlimit(limit: &PosixRlimit) -> InitOp {
    let name = limit.typ().to_string();
    let resource = RLIMITS.iter().find(|(n, _)| *n == name).map_or(u32::MAX, |(_, number)| *number);
    InitOp::Rlimit { name, resource, soft: limit.soft(), hard: limit.hard() }
}

struct Sets {
    bounding: Caps,
    permitted: Caps,
    effective: Caps,
    inheritable: Caps,
    ambient: Caps,
}

/// Absent means empty (CVE-2016-8867, CVE-2022-29162). What can't be granted is left out with a warning, as the spec says.
fn capability_sets(asked: Option<&LinuxCapabilities>, facts: &Facts, warnings: &mut Vec<String>) -> Sets {
    let set = |of: Option<&HashSet<SpecCapability>>| {
        of.into_iter().flatten().filter_map(number).fold(0, |set: u64, n| set | 1 << n)
    };
    let mut bounding = set(asked.and_then(|a| a.bounding().as_ref()));
    let mut permitted = set(asked.and_then(|a| a.permitted().as_ref()));
    let mut effective = set(asked.and_then(|a| a.effective().as_ref()));
    let mut inheritable = set(asked.and_then(|a| a.inheritable().as_ref()));
    let mut ambient = set(asked.and_then(|a| a.ambient().as_ref()));
    let mut limit = |set: &mut u64, to: u64, name: &str, why: &str| {
        let lost = Caps(*set & !to);
        if lost.0 != 0 {
            warnings.push(format!("/process/capabilities/{name}: left out {}: {why}", lost.names().join(" ")));
        }
        *set &= to;
    };
    limit(&mut bounding, facts.capabilities, "bounding", "not in our own bounding set");
    limit(&mut permitted, facts.capabilities, "permitted", "not in our own bounding set");
    limit(&mut effective, permitted, "effective", "not permitted");
    limit(&mut inheritable, facts.capabilities, "inheritable", "not in our own bounding set");
    limit(&mut ambient, permitted & inheritable, "ambient", "not permitted and inheritable");
    Sets {
        bounding: Caps(bounding),
        permitted: Caps(permitted),
        effective: Caps(effective),
        inheritable: Caps(inheritable),
        ambient: Caps(ambient),
    }
}

fn number(capability: &SpecCapability) -> Option<u8> {
    let name = format!("CAP_{}", capability.to_string().trim_start_matches("CAP_"));
    caps::Capability::from_str(&name).ok().map(|c| c.index())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_of_the_spec_has_a_number() {
        for (name, number_of) in all_capabilities() {
            let spec: SpecCapability = serde_json::from_value(serde_json::json!(name)).unwrap();
            assert_eq!(number(&spec), Some(number_of), "{name}");
        }
        assert_eq!(all_capabilities().count(), 41);
    }

    fn labelled(facts: &Facts, strict: bool) -> (Lowered, Vec<ConfigError>) {
        let spec: Spec = serde_json::from_value(serde_json::json!({
            "ociVersion": "1.0.2",
            "process": {"cwd": "/", "args": ["/x"], "user": {"uid": 0, "gid": 0},
                        "apparmorProfile": "a-profile", "selinuxLabel": "u:r:t:s0"},
        }))
        .unwrap();
        let process = spec.process().as_ref();
        let input = Input {
            spec: &spec,
            process,
            facts,
            id: "x",
            keyring: false,
            umask: (0o022, "the umask that images expect"),
            seccomp: false,
            strict,
        };
        let mut complaints = Vec::new();
        (lower(&input, &mut complaints), complaints)
    }

    #[test]
    fn labels_are_opened_first_and_written_last() {
        let facts = Facts { apparmor: true, selinux: true, ..Facts::default() };
        let (out, complaints) = labelled(&facts, true);
        assert!(complaints.is_empty() && out.warnings.is_empty(), "{complaints:?} {:?}", out.warnings);
        let opened: Vec<_> = out.arrive.iter().filter(|s| matches!(s.op, InitOp::OpenLabel(_))).collect();
        assert_eq!(opened.len(), 2);
        let written: Vec<_> = out.start.iter().map(|s| s.op.to_string()).collect();
        assert_eq!(
            written[..2],
            ["AppArmor label a-profile, from execve on", "SELinux label u:r:t:s0, from execve on"]
        );
    }

    #[test]
    fn a_label_without_its_module_is_a_warning_or_under_strict_an_error() {
        let (out, complaints) = labelled(&Facts::default(), false);
        assert!(complaints.is_empty());
        assert_eq!(
            out.warnings[0],
            "/process/apparmorProfile: left out a-profile: AppArmor is not enabled on this host"
        );
        assert!(out.warnings[1].starts_with("/process/selinuxLabel: left out u:r:t:s0: SELinux"), "{:?}", out.warnings);
        assert!(!out.start.iter().any(|s| matches!(s.op, InitOp::Label { .. })));
        let (_, complaints) = labelled(&Facts::default(), true);
        assert_eq!(complaints.len(), 2);
        assert_eq!(complaints[0].to_string(), "/process/apparmorProfile: AppArmor is not enabled on this host");
    }

    #[test]
    fn ambient_needs_permitted_and_inheritable() {
        let asked: LinuxCapabilities = serde_json::from_value(serde_json::json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN"],
        }))
        .unwrap();
        let facts = Facts { capabilities: !0, ..Facts::default() };
        let mut warnings = Vec::new();
        let sets = capability_sets(Some(&asked), &facts, &mut warnings);
        assert_eq!(sets.ambient, Caps(1 << 5));
        assert_eq!(warnings, ["/process/capabilities/ambient: left out CAP_CHOWN: not permitted and inheritable"]);
    }
}
