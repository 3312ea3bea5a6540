//! A plan that brings a container back from images: the same preparation as `create`'s (id, cgroups with their limits,
//! namespaces to be joined), and the process that is born is CRIU, in the container's cgroups and in a copy of the host's
//! mounts where the root stands ready. Everything else about the container is in the images.

use crate::criu::{Choices, Joined, Network, Outside, Restore};
use crate::identity;
use crate::namespaces::{self, Birth, Kind};
use crate::plan::{Exec, HostOp, InitOp, Plan};
use crate::rootfs::{self, What};
use crate::step::Step;

/// CRIU as it is started.
#[derive(Clone, Debug)]
pub struct Criu {
    /// Its name, or its path.
    pub program: String,
    /// The directories to look for it in.
    pub path: String,
    /// Its environment.
    pub env: Vec<String>,
}

/// The plan to bring back a container that `create` would make by this plan; or why none can.
pub fn restore(plan: Plan, criu: Criu, choices: Choices) -> Result<Plan, &'static str> {
    let outside = outside(&plan)?;
    // The socket, stdio, namespaces.
    let handed = 4 + outside.joined.iter().filter(|joined| joined.key().is_some()).count() as u32;
    let root = plan.build.iter().find_map(|step| match &step.op {
        InitOp::Rootfs(rootfs::InitOp::Open(rootfs::HostOp::OpenRoot { path })) => Some(path.clone()),
        InitOp::Rootfs(rootfs::InitOp::AttachRoot { path }) => path.clone(),
        _ => None,
    });
    let root = root.unwrap_or_default();
    let readers = root_group(&plan.adopt);
    let by_systemd = plan.birth.by_systemd;
    let cgroups = by_systemd || plan.build.iter().any(|s| s.op == InitOp::JoinCgroups);
    let mut back = Plan { hooks: plan.hooks, ..Plan::default() };
    back.prepare = plan.prepare.into_iter().filter(|step| prepares(&step.op)).collect();
    // What CRIU brings back is where CRIU is: that it stands in the unit is waited for.
    let into_cgroup = plan.birth.into_cgroup;
    back.birth = Birth { new: vec![Kind::Mount], into_cgroup, by_systemd, wait: by_systemd, ..Birth::default() };
    let adopts = |step: &Step<HostOp>| matches!(step.op, HostOp::Cgroup(_) | HostOp::Rdt(_));
    back.adopt = plan.adopt.into_iter().filter(adopts).collect();
    back.build = build(plan.build, &root);
    let look_up = identity::InitOp::LookUp { name: criu.program.clone(), path: criu.path };
    back.become_.push(Step::default("restore is CRIU's work", InitOp::Identity(look_up)));
    back.start.push(Step::default("CRIU is not to inherit them", InitOp::Identity(identity::InitOp::Signals)));
    let close = InitOp::CloseFds { from: 3 + handed };
    back.start
        .push(Step::default("CRIU gets its socket, the container's stdio and the namespaces to be joined", close));
    let args = vec![criu.program, "swrk".to_owned(), "3".to_owned()];
    back.exec = Exec { args, env: criu.env, home_of: None, listen: false };
    back.restore = Some(Restore { choices, root, outside, cgroups, readers });
    Ok(back)
}

/// The group on the host that is root's in a user namespace of the container's own.
fn root_group(adopt: &[Step<HostOp>]) -> Option<u32> {
    adopt.iter().find_map(|step| match &step.op {
        HostOp::Namespace(namespaces::HostOp::MapIds { gids, .. }) => {
            gids.iter().find(|range| range.inside == 0 && range.count > 0).map(|range| range.outside)
        }
        _ => None,
    })
}

/// What is prepared for CRIU as it is for init. It makes the mounts and filters by itself.
fn prepares(op: &HostOp) -> bool {
    match op {
        HostOp::Reserve | HostOp::Cgroup(_) | HostOp::Rdt(_) | HostOp::Terminal(_) => true,
        HostOp::Namespace(op) => matches!(op, namespaces::HostOp::Open { .. }),
        HostOp::Rootfs(op) => matches!(op, rootfs::HostOp::OpenRoot { .. }),
        _ => false,
    }
}

/// Into the cgroups; the root, attached where nobody else sees it; and what will be mounted has to find a place in it.
fn build(build: Vec<Step<InitOp>>, root: &str) -> Vec<Step<InitOp>> {
    let mut targets: Vec<String> = Vec::new();
    let mut back = Vec::new();
    for step in build {
        match step.op {
            InitOp::JoinCgroups
            | InitOp::Rootfs(rootfs::InitOp::Isolate { .. } | rootfs::InitOp::Open(rootfs::HostOp::OpenRoot { .. })) => {
                back.push(step)
            }
            // CRIU wants to see it.
            InitOp::Rootfs(rootfs::InitOp::AttachRoot { .. }) => {
                let op = InitOp::Rootfs(rootfs::InitOp::AttachRoot { path: Some(root.to_owned()) });
                back.push(Step { op, ..step });
            }
            InitOp::Rootfs(rootfs::InitOp::Mount(mount)) if !matches!(mount.what, What::Change) => {
                // Below another mount it is that one's business.
                let below =
                    |t: &String| mount.target.strip_prefix(t.as_str()).is_some_and(|rest| rest.starts_with('/'));
                if !targets.iter().any(below) {
                    let source = match mount.what {
                        What::BindCopy { path, .. } => Some(path),
                        _ => None,
                    };
                    let op = rootfs::InitOp::MountPoint { path: mount.target.clone(), source };
                    back.push(Step { op: InitOp::Rootfs(op), origin: step.origin, tolerate: step.tolerate });
                }
                targets.push(mount.target);
            }
            _ => {}
        }
    }
    back
}

/// What of a container made by this plan is not its own.
pub fn outside(plan: &Plan) -> Result<Outside, &'static str> {
    let has = |op: fn(&InitOp) -> bool| plan.build.iter().any(|s| op(&s.op));
    if !has(|op| matches!(op, InitOp::Rootfs(rootfs::InitOp::Isolate { .. }))) || plan.birth.join.contains(&Kind::Mount)
    {
        return Err("a container without a mount namespace of its own cannot be checkpointed");
    }
    let network = match (plan.new_namespaces().any(|kind| kind == Kind::Network), plan.hooks.is_empty()) {
        (false, _) => Network::Others,
        (true, true) => Network::Own,
        (true, false) => Network::Hooks,
    };
    let mut outside = Outside { joined: joined(plan), network, ..Outside::default() };
    let source = |wanted: usize| {
        plan.prepare.iter().find_map(|step| match &step.op {
            HostOp::Rootfs(rootfs::HostOp::OpenSource { slot, path, .. }) if *slot == wanted => Some(path.clone()),
            _ => None,
        })
    };
    for step in plan.build.iter().chain(&plan.enter) {
        let InitOp::Rootfs(op) = &step.op else { continue };
        match op {
            rootfs::InitOp::Mount(mount) => outside.mounts.extend(mounts(mount, &source)),
            rootfs::InitOp::Device(device) => {
                outside.mounts.extend(device.bind.and_then(source).map(|path| (device.path.clone(), path)));
            }
            rootfs::InitOp::Mask { path, .. } => outside.masked.push(path.clone()),
            _ => {}
        }
    }
    Ok(outside)
}

/// Where a mount's parts from outside are, and their sources.
fn mounts(mount: &rootfs::Mount, source: &dyn Fn(usize) -> Option<String>) -> Vec<(String, String)> {
    let at = |path: String| vec![(mount.target.clone(), path)];
    match &mount.what {
        What::Bind { slot } => source(*slot).map(at).unwrap_or_default(),
        What::BindCopy { path, .. } => at(path.clone()),
        What::Cgroup2 { directory } => at(directory.clone()),
        What::Cgroups { hierarchies, .. } => {
            hierarchies.iter().map(|h| (format!("{}/{}", mount.target, h.name), h.directory.clone())).collect()
        }
        What::Filesystem { .. } | What::Made { .. } | What::Change => Vec::new(),
    }
}

fn joined(plan: &Plan) -> Vec<Joined> {
    let open = |step: &Step<HostOp>| match &step.op {
        HostOp::Namespace(namespaces::HostOp::Open { kind, path }) => {
            Some(Joined { kind: kind.file(), path: path.clone() })
        }
        _ => None,
    };
    plan.prepare.iter().filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::features::able::{self, Host};
    use crate::plan::{Options, check, lower};
    use serde_json::json;

    fn planned(change: impl FnOnce(&mut serde_json::Value)) -> Plan {
        let mut config: serde_json::Value = serde_json::from_str(&crate::spec::template::template(None)).unwrap();
        change(&mut config);
        let spec = serde_json::from_value(config).unwrap();
        let options = Options { id: "x".into(), bundle: "/b".into(), ..Options::default() };
        lower(&spec, &able::facts(Host::V2), &options).unwrap().plan
    }

    fn back(plan: Plan) -> Plan {
        let criu = Criu { program: "criu".into(), path: "/bin".into(), env: Vec::new() };
        restore(plan, criu, Choices::default()).unwrap()
    }

    #[test]
    fn the_preparation_is_that_of_create() {
        let made = planned(|config| config["linux"]["resources"] = json!({"pids": {"limit": 7}}));
        let back = back(made.clone());
        assert!(check::check(&back).is_empty());
        let cgroups = |plan: &Plan| -> Vec<HostOp> {
            plan.prepare.iter().map(|s| s.op.clone()).filter(|op| matches!(op, HostOp::Cgroup(_))).collect()
        };
        assert!(!cgroups(&back).is_empty());
        assert_eq!(cgroups(&back), cgroups(&made));
        assert_eq!(back.build[0].op, InitOp::JoinCgroups);
        assert_eq!(back.exec.args, ["criu", "swrk", "3"]);
        assert!(back.enter.is_empty(), "the root stays where CRIU finds it");
    }

    #[test]
    fn what_is_below_another_mount_needs_no_place() {
        let back = back(planned(|config| {
            let list = config["mounts"].as_array_mut().unwrap();
            list.push(json!({"destination": "/data", "type": "bind", "source": "/srv", "options": ["bind"]}));
            list.push(json!({"destination": "/data/deep", "type": "bind", "source": "/srv", "options": ["bind"]}));
        }));
        let places: Vec<String> = back
            .build
            .iter()
            .filter_map(|step| match &step.op {
                InitOp::Rootfs(rootfs::InitOp::MountPoint { path, .. }) => Some(path.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(places, ["/proc", "/dev", "/sys", "/data"]);
        let outside = &back.restore.as_ref().unwrap().outside;
        assert!(outside.mounts.contains(&("/data/deep".into(), "/srv".into())), "{outside:?}");
        assert!(outside.masked.contains(&"/proc/kcore".to_owned()));
    }

    #[test]
    fn the_host_s_own_mounts_are_not_for_criu() {
        let plan = planned(|config| {
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|entry| entry["type"] != "mount");
        });
        assert!(outside(&plan).unwrap_err().contains("mount namespace"));
    }
}
