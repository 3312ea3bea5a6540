//! Calls each subject's `lower` and puts the steps in order. Pure.

pub mod exec;
pub mod overlap;
pub mod restore;

use oci_spec::runtime::{Process, Spec};

use super::{Exec, HostOp, InitOp, Options, Plan};
use crate::cgroups::{self, Placement, Version};
use crate::error::{Complaints, ConfigError};
use crate::facts::Facts;
use crate::hooks::{self, Point};
use crate::namespaces::{self, Kind};
use crate::rootfs::lower::CgroupView;
use crate::seccomp::{self, Action, Data, Program};
use crate::step::Step;
use crate::{identity, intelrdt, rootfs, tty};

/// What asks for a seccomp agent.
pub const LISTENER: &str = "/linux/seccomp/listenerPath";

/// A plan, and what belongs to it without being a step.
#[derive(Debug)]
pub struct Lowered {
    /// The steps.
    pub plan: Plan,
    /// Where the container's cgroups are: for its record.
    pub placement: Placement,
    /// The compiled filter.
    pub program: Option<Program>,
    /// What is not done as the config says, without being an error.
    pub warnings: Vec<String>,
}

/// The hooks before the way into the root: two by the host side, one by init.
const EARLY: [Point; 3] = [Point::Prestart, Point::CreateRuntime, Point::CreateContainer];

/// config.json, this host and the caller's options → a plan, or everything that stands against it.
pub fn lower(spec: &Spec, facts: &Facts, options: &Options) -> Result<Lowered, Complaints> {
    let mut complaints = Vec::new();
    let mut warnings = Vec::new();
    let mut plan = Plan::default();

    let spaces = namespaces::lower::lower(spec, facts, &mut complaints);
    let lower_cgroup = if options.systemd { cgroups::systemd::lower } else { cgroups::lower };
    let cgroup = (!options.no_cgroups).then(|| lower_cgroup(spec, facts, &options.id, options.strict, &mut complaints));
    let placement = cgroup.as_ref().map_or_else(Placement::none, |c| c.placement.clone());
    let profile = lower_seccomp(spec, &mut complaints);
    let program = profile.as_ref().and_then(|p| compile(p, &mut complaints));
    let who = lower_identity(spec, facts, options, profile.is_some(), &mut complaints);
    let user_namespace = spaces.present.contains(&Kind::User) || facts.in_userns;
    let root = rootfs::lower::lower(
        &rootfs::lower::Input {
            spec,
            bundle: &options.bundle,
            mount_namespace: spaces.present.contains(&Kind::Mount),
            copied_mounts: spaces.is_new(Kind::Mount) && !user_namespace,
            unseen: facts.kernel >= (6, 15) && EARLY.iter().all(|point| hooks::listed(spec, *point).is_empty()),
            user_namespace,
            new_ipc: spaces.is_new(Kind::Ipc),
            tty_group: !user_namespace || maps_group(spec, 5),
            no_pivot: options.no_pivot,
            cgroups: view(&placement, facts),
            selinux: facts.selinux,
            strict: options.strict,
            notify: options.notify.as_deref(),
        },
        &mut complaints,
    );
    warnings.extend(who.warnings);
    warnings.extend(root.warnings);
    warnings.extend(profile.iter().flat_map(|p| p.warnings.clone()));

    // A label is put on by the first execve and must be the workload's: the stub would be held to a policy that has not
    // heard of it.
    let labelled = who.start.iter().any(|s| matches!(s.op, identity::InitOp::Label { .. }));
    let stub = !labelled && program.as_ref().is_none_or(|p| permits(p, libc::SYS_execveat, [0; 6]));
    lower_seal(&spaces, stub, labelled, &mut plan);
    plan.prepare.push(Step::default("what must be cleaned up is known before it exists", HostOp::Reserve));
    if options.notify.is_some() {
        plan.prepare.push(Step::default(rootfs::NOTIFY, HostOp::Notify));
    }
    let mut after_birth = Vec::new();
    if let Some(cgroup) = cgroup {
        warnings.extend(cgroup.warnings.iter().map(ToString::to_string));
        plan.prepare.extend(cgroup.prepare.into_iter().map(|s| s.map(HostOp::Cgroup)));
        after_birth = cgroup.adopt;
    }
    let rdt = intelrdt::lower(spec, facts, &options.id, &mut complaints);
    plan.prepare.extend(rdt.prepare.into_iter().map(|s| s.map(HostOp::Rdt)));
    plan.prepare.extend(spaces.prepare.into_iter().map(|s| s.map(HostOp::Namespace)));
    let terminal = lower_terminal(spec, options, &mut plan, &mut complaints);
    // Without root's rights mounts can be touched in the new user namespace only: by init, while it still is the caller and
    // reaches what the caller reaches.
    let (sources, opened_by_init) =
        if facts.euid == 0 { (root.prepare, Vec::new()) } else { (Vec::new(), root.prepare) };
    plan.prepare.extend(sources.into_iter().map(|s| s.map(HostOp::Rootfs)));
    let courier = profile.as_ref().and_then(seccomp::Profile::courier);
    if let Some(profile) = profile {
        if let Some(listener) = &profile.listener {
            let op = HostOp::Listener { path: listener.path.clone() };
            plan.prepare.push(Step::asked(LISTENER, op));
        }
        plan.prepare.push(Step::asked("/linux/seccomp", HostOp::Seccomp(profile)));
    }
    plan.birth = spaces.birth;
    // A scope is made around a process that is there: that one waits outside, and is moved.
    plan.birth.by_systemd = placement.unit.is_some();
    plan.birth.wait |= plan.birth.by_systemd;
    plan.birth.into_cgroup = placement.v2_tree().is_some() && !plan.birth.by_systemd;
    plan.adopt.extend(spaces.adopt.into_iter().map(|s| s.map(HostOp::Namespace)));
    plan.adopt.extend(who.adopt.into_iter().map(|s| s.map(HostOp::Identity)));
    plan.adopt.extend(after_birth.into_iter().map(|s| s.map(HostOp::Cgroup)));
    plan.adopt.extend(rdt.adopt.into_iter().map(|s| s.map(HostOp::Rdt)));

    if !placement.is_none() && !plan.birth.by_systemd {
        plan.build.push(Step::default("its limits hold from the first moment", InitOp::JoinCgroups));
    }
    plan.build.extend(who.arrive.into_iter().map(|s| s.map(InitOp::Identity)));
    plan.build.extend(opened_by_init.into_iter().map(|s| s.map(|op| InitOp::Rootfs(rootfs::InitOp::Open(op)))));
    plan.build.extend(spaces.arrive.into_iter().map(|s| s.map(InitOp::Namespace)));
    plan.build.extend(spaces.settle.into_iter().map(|s| s.map(InitOp::Namespace)));
    plan.build.extend(root.build.into_iter().map(|s| s.map(InitOp::Rootfs)));
    overlap::network(&mut plan, facts);

    let [host @ .., inside] = EARLY;
    for point in host {
        plan.hooks.extend(hooks::lower(spec, point, options.strict).into_iter().map(|s| s.map(HostOp::Hook)));
    }
    let create_container = hooks::lower(spec, inside, options.strict);
    plan.enter.extend(create_container.into_iter().map(|s| s.map(InitOp::Hook)));
    plan.enter.extend(spaces.sysctls.into_iter().map(|s| s.map(InitOp::Namespace)));
    plan.enter.extend(terminal);
    plan.enter.extend(root.enter.into_iter().map(|s| s.map(InitOp::Rootfs)));
    plan.become_.extend(who.become_.into_iter().map(|s| s.map(InitOp::Identity)));
    lower_start(spec, options, program.as_ref(), stub, who.start, &mut plan);
    if plan.start.last().is_some_and(|s| s.op == InitOp::LoadSeccomp) {
        plan.start.extend(courier.map(|by| Step::asked(LISTENER, InitOp::HandListener { by })));
    }
    if complaints.is_empty() { Ok(Lowered { plan, placement, program, warnings }) } else { Err(Complaints(complaints)) }
}

fn lower_seccomp(spec: &Spec, complaints: &mut Vec<ConfigError>) -> Option<seccomp::Profile> {
    let section = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref())?;
    seccomp::lower(section, complaints)
}

/// Too large a profile is the config's fault, and found before anything is done.
fn compile(profile: &seccomp::Profile, complaints: &mut Vec<ConfigError>) -> Option<Program> {
    let compiled = seccomp::compile(profile);
    compiled.map_err(|e| complaints.push(ConfigError::at("/linux/seccomp", e.to_string()))).ok()
}

/// Whether a filter lets a call of ours through.
fn permits(program: &Program, call: libc::c_long, args: [u64; 6]) -> bool {
    let data = Data { nr: call as u32, arch: seccomp::Arch::NATIVE.audit(), instruction_pointer: 0, args };
    let verdict = seccomp::interpret(program.instructions(), &data).ok().and_then(Action::of_ret);
    matches!(verdict, Some(Action::Allow | Action::Log))
}

/// Where others than the workload can see init before it is the workload, or where there can be no stub, what they could get hold of must not be `rt` itself (CVE-2019-5736).
fn lower_seal(spaces: &namespaces::lower::Lowered, stub: bool, labelled: bool, plan: &mut Plan) {
    if !spaces.is_new(Kind::Pid) {
        plan.prepare.push(Step::default("others in its pid namespace could open rt through /proc", HostOp::Seal));
    } else if labelled {
        plan.prepare.push(Step::default("the label is for the workload, so there is no stub", HostOp::Seal));
    } else if !stub {
        plan.prepare.push(Step::default("the seccomp profile denies execveat, so there is no stub", HostOp::Seal));
    }
}

fn lower_identity(
    spec: &Spec,
    facts: &Facts,
    options: &Options,
    seccomp: bool,
    complaints: &mut Vec<ConfigError>,
) -> identity::lower::Lowered {
    let input = identity::lower::Input {
        spec,
        process: spec.process().as_ref(),
        facts,
        id: &options.id,
        keyring: !options.no_new_keyring,
        umask: match options.strict {
            true => (options.umask, "the caller's umask"),
            false => (0o022, "the umask that images expect"),
        },
        seccomp,
        strict: options.strict,
    };
    identity::lower::lower(&input, complaints)
}

/// Whether the container's gid mappings know a group.
fn maps_group(spec: &Spec, gid: u32) -> bool {
    let mappings = spec.linux().as_ref().and_then(|l| l.gid_mappings().as_ref());
    mappings.into_iter().flatten().any(|m| (m.container_id()..m.container_id().saturating_add(m.size())).contains(&gid))
}

/// The container's cgroups as its own mounts will show them; without any, those that it stays in.
fn view(placement: &Placement, facts: &Facts) -> CgroupView {
    let mut view = CgroupView::default();
    let mut add = |mountpoint: &str, controllers: &[String], directory: String| {
        let name = mountpoint.rsplit('/').next().unwrap_or_default().to_owned();
        let links = controllers.iter().filter(|c| **c != name && !c.contains('=')).cloned().collect();
        view.v1.push(rootfs::Hierarchy { name, links, directory });
    };
    if placement.is_none() {
        let own = |mountpoint: &str, own: &str| format!("{mountpoint}{own}").trim_end_matches('/').to_owned();
        facts.cgroups.v1.iter().for_each(|h| add(&h.mountpoint, &h.controllers, own(&h.mountpoint, &h.own)));
        view.v2 = facts.cgroups.v2.as_ref().map(|tree| own(&tree.mountpoint, &tree.own));
        return view;
    }
    for tree in &placement.trees {
        match tree.version {
            Version::V2 => view.v2 = Some(tree.dir()),
            Version::V1 => add(&tree.mountpoint, &tree.controllers, tree.dir()),
        }
    }
    view
}

/// A terminal needs somebody who takes its master; a socket without a terminal would wait for ever.
fn lower_terminal(
    spec: &Spec,
    options: &Options,
    plan: &mut Plan,
    complaints: &mut Vec<ConfigError>,
) -> Option<Step<InitOp>> {
    let process = spec.process().as_ref().filter(|p| p.terminal() == Some(true));
    let Some(process) = process else {
        if options.console_socket.is_some() {
            complaints.push(ConfigError::at(
                "/process/terminal",
                "cannot use console socket if runc will not detach or allocate tty: expected true with --console-socket",
            ));
        }
        return None;
    };
    if let Some(path) = &options.console_socket {
        let op = HostOp::Terminal(tty::HostOp::Connect { path: path.clone() });
        plan.prepare.push(Step::default("--console-socket", op));
    }
    let size = process
        .console_size()
        .as_ref()
        .and_then(|s| Some((u16::try_from(s.height()).ok()?, u16::try_from(s.width()).ok()?)));
    let op =
        tty::InitOp { size, uid: process.user().uid(), to_socket: options.console_socket.is_some(), console: true };
    Some(Step::asked("/process/terminal", InitOp::Terminal(op)))
}

/// The last steps: nothing of ours or of the caller's may be left when the workload begins.
fn lower_start(
    spec: &Spec,
    options: &Options,
    program: Option<&Program>,
    stub: bool,
    signals: Vec<Step<identity::InitOp>>,
    plan: &mut Plan,
) {
    let start_container = hooks::lower(spec, Point::StartContainer, options.strict);
    plan.start.extend(start_container.into_iter().map(|s| s.map(InitOp::Hook)));
    let Some(process) = spec.process().as_ref() else { return };
    plan.start.extend(signals.into_iter().map(|s| s.map(InitOp::Identity)));
    let from = options.preserve_fds.max(options.listen_fds).saturating_add(3);
    if stub {
        // fcntl(F_SETFD) and write(2) are what the stub needs to tell of a failure.
        let can_tell = |p: &Program| {
            permits(p, libc::SYS_fcntl, [u64::from(from), 2, 1, 0, 0, 0])
                && permits(p, libc::SYS_write, [u64::from(from), 0, 10, 0, 0, 0])
        };
        let channel = program.is_none_or(can_tell).then_some(from);
        let op = HostOp::Stub { channel };
        plan.prepare.push(Step::default("/proc/self/exe must never lead the image to rt", op));
    }
    plan.start
        .push(Step::default("the workload gets the descriptors it was promised, no others", InitOp::CloseFds { from }));
    if program.is_some() {
        plan.start.push(Step::asked("/linux/seccomp", InitOp::LoadSeccomp));
    }
    plan.exec = lower_exec(process, options);
}

/// Of several entries for one variable only the last: programs differ in which one they would take.
fn last_ones(env: &[String]) -> Vec<String> {
    let name = |entry: &String| entry.split_once('=').map_or(entry.clone(), |(name, _)| name.to_owned());
    let names: Vec<String> = env.iter().map(name).collect();
    let is_last = |index: &usize| !names[index + 1..].contains(&names[*index]);
    (0..env.len()).filter(is_last).map(|index| env[index].clone()).collect()
}

fn lower_exec(process: &Process, options: &Options) -> Exec {
    let mut env = last_ones(process.env().as_deref().unwrap_or_default());
    if options.listen_fds > 0 {
        env.push(format!("LISTEN_FDS={}", options.listen_fds));
        env.extend(options.listen_names.iter().map(|names| format!("LISTEN_FDNAMES={names}")));
    }
    if options.notify.is_some() {
        env.retain(|entry| !entry.starts_with("NOTIFY_SOCKET="));
        env.push(format!("NOTIFY_SOCKET={}/{}", rootfs::NOTIFY_DIR, crate::state::NOTIFY_SOCKET));
    }
    let has_home = env.iter().any(|e| e.starts_with("HOME="));
    Exec {
        args: process.args().clone().unwrap_or_default(),
        home_of: (!has_home).then_some(process.user().uid()),
        listen: options.listen_fds > 0,
        env,
    }
}
