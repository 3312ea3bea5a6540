//! config.json → which namespaces are new, which are joined, and what is set in them. Pure.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};

use super::{Birth, HostOp, IdRange, InitOp, Kind};
use crate::error::ConfigError;
use crate::facts::Facts;
use crate::step::Step;
use crate::sys::Errno;

/// The steps, by stage.
#[derive(Default)]
pub struct Lowered {
    /// Host, before the birth.
    pub prepare: Vec<Step<HostOp>>,
    /// The birth itself; `into_cgroup` is the plan's to fill in.
    pub birth: Birth,
    /// Host, after the birth.
    pub adopt: Vec<Step<HostOp>>,
    /// Init, first: into its namespaces.
    pub arrive: Vec<Step<InitOp>>,
    /// Init, once it is in its cgroup: the cgroup namespace, names, clocks, loopback.
    pub settle: Vec<Step<InitOp>>,
    /// Init, after the hooks that may bring network devices, before the pivot.
    pub sysctls: Vec<Step<InitOp>>,
    /// What kinds the container has of its own or joins.
    pub present: Vec<Kind>,
}

impl Lowered {
    /// Whether this kind is made anew.
    pub fn is_new(&self, kind: Kind) -> bool {
        self.birth.new.contains(&kind)
    }
}

fn kind(typ: LinuxNamespaceType) -> Kind {
    match typ {
        LinuxNamespaceType::Pid => Kind::Pid,
        LinuxNamespaceType::Network => Kind::Network,
        LinuxNamespaceType::Mount => Kind::Mount,
        LinuxNamespaceType::Ipc => Kind::Ipc,
        LinuxNamespaceType::Uts => Kind::Uts,
        LinuxNamespaceType::User => Kind::User,
        LinuxNamespaceType::Cgroup => Kind::Cgroup,
        LinuxNamespaceType::Time => Kind::Time,
    }
}

/// Lowers namespaces, mappings, names, clocks and sysctls.
pub fn lower(spec: &Spec, facts: &Facts, complaints: &mut Vec<ConfigError>) -> Lowered {
    let mut out = Lowered::default();
    let mut pointers = Vec::new();
    let (mut new_cgroup, mut new_time) = (None, None);
    let namespaces = spec.linux().as_ref().and_then(|l| l.namespaces().as_ref());
    for (index, namespace) in namespaces.into_iter().flatten().enumerate() {
        let (kind, pointer) = (kind(namespace.typ()), format!("/linux/namespaces/{index}"));
        out.present.push(kind);
        if let Some(path) = namespace.path() {
            let op = HostOp::Open { kind, path: path.to_string_lossy().into_owned() };
            out.prepare.push(Step::asked(format!("{pointer}/path"), op));
            out.birth.join.push(kind);
            pointers.push((kind, format!("{pointer}/path")));
        } else if kind == Kind::Cgroup {
            // Its root is where we are when it is made, so we must be in our cgroups first.
            new_cgroup = Some(pointer);
        } else if kind == Kind::Time {
            // Its clocks can be set only before anybody is in it.
            new_time = Some(pointer);
        } else {
            out.birth.new.push(kind);
        }
    }
    if facts.euid != 0 && !out.present.contains(&Kind::User) {
        complaints.push(ConfigError::at(
            "/linux/namespaces",
            "rootless containers require user namespaces: add one, with uidMappings and gidMappings (as rt spec --rootless does)",
        ));
    }
    lower_joins(facts, &mut out, &pointers);
    lower_ids(spec, facts, &mut out);
    lower_devices(spec, facts, &mut out, complaints);
    lower_settling(spec, &mut out, new_cgroup, new_time);
    lower_sysctls(spec, &mut out);
    out
}

fn lower_joins(facts: &Facts, out: &mut Lowered, pointers: &[(Kind, String)]) {
    // The real root may join anything, and loses that right in the user namespace: that one last. Anybody else gets the
    // right in the user namespace only: that one first. The mount namespace after the others, for their paths are in ours.
    let privileged = facts.euid == 0 && !facts.in_userns;
    let rank = |kind: &Kind| match kind {
        Kind::User if privileged => 3,
        Kind::User => 0,
        Kind::Mount => 2,
        _ => 1,
    };
    out.birth.join.sort_by_key(rank);
    let joins = &out.birth.join;
    out.birth.midwife = joins.contains(&Kind::User)
        || joins.contains(&Kind::Pid)
        || !joins.is_empty() && out.birth.new.contains(&Kind::User);
    if !out.birth.midwife {
        for kind in joins {
            let pointer = pointers.iter().find(|(k, _)| k == kind).map_or(String::new(), |(_, p)| p.clone());
            out.arrive.push(Step::asked(pointer, InitOp::Join { kind: *kind }));
        }
    }
}

fn ranges(mappings: Option<&Vec<LinuxIdMapping>>) -> Vec<IdRange> {
    let range = |m: &LinuxIdMapping| IdRange { inside: m.container_id(), outside: m.host_id(), count: m.size() };
    mappings.into_iter().flatten().map(range).collect()
}

fn lower_ids(spec: &Spec, facts: &Facts, out: &mut Lowered) {
    if !out.present.contains(&Kind::User) {
        return;
    }
    if out.is_new(Kind::User) {
        let linux = spec.linux().as_ref();
        let uids = ranges(linux.and_then(|l| l.uid_mappings().as_ref()));
        let gids = ranges(linux.and_then(|l| l.gid_mappings().as_ref()));
        // The kernel lets anybody map the own id; that it is the own one, the tools check.
        let one_id = |r: &[IdRange]| matches!(r, [one] if one.count == 1);
        let through_tools = facts.euid != 0 && !(one_id(&uids) && one_id(&gids));
        out.birth.visible = facts.euid != 0;
        out.adopt.push(Step::asked("/linux/uidMappings", HostOp::MapIds { uids, gids, through_tools }));
        out.birth.wait = true;
    }
    // A namespace without an id 0 has no root to become; its first id then has all rights all the same.
    out.arrive.push(
        Step::default("in a user namespace, root of it builds the container", InitOp::BecomeRoot)
            .tolerating(&[Errno::EINVAL]),
    );
}

/// After the id maps. Init waits: its sysctls may be about these devices.
fn lower_devices(spec: &Spec, facts: &Facts, out: &mut Lowered, complaints: &mut Vec<ConfigError>) {
    let linux = spec.linux().as_ref();
    let devices = linux.and_then(|l| l.net_devices().as_ref()).filter(|d| !d.is_empty());
    let Some(devices) = devices else { return };
    if facts.euid != 0 {
        complaints.push(ConfigError::at("/linux/netDevices", "only root can move network devices"));
        return;
    }
    let listed = linux.and_then(|l| l.namespaces().as_ref()).into_iter().flatten();
    let network = listed.into_iter().find(|n| n.typ() == LinuxNamespaceType::Network);
    let namespace = network.and_then(|n| n.path().as_ref()).map(|p| p.to_string_lossy().into_owned());
    let mut sorted: Vec<_> = devices.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_str());
    for (name, device) in sorted {
        let pointer = format!("/linux/netDevices/{}", name.replace('~', "~0").replace('/', "~1"));
        let inside = device.name().clone().filter(|n| !n.is_empty()).unwrap_or_else(|| name.clone());
        let op = HostOp::NetDevice { name: name.clone(), inside, namespace: namespace.clone() };
        out.adopt.push(Step::asked(pointer, op));
    }
    out.birth.wait = true;
}

fn lower_settling(spec: &Spec, out: &mut Lowered, new_cgroup: Option<String>, new_time: Option<String>) {
    if let Some(pointer) = new_cgroup {
        out.settle.push(Step::asked(pointer, InitOp::NewCgroup));
    }
    if let Some(pointer) = new_time {
        let offsets = spec.linux().as_ref().and_then(|l| l.time_offsets().as_ref());
        let mut lines: Vec<String> = offsets
            .into_iter()
            .flatten()
            .map(|(clock, o)| format!("{clock} {} {}", o.secs().unwrap_or(0), o.nanosecs().unwrap_or(0)))
            .collect();
        lines.sort();
        let pointer = if lines.is_empty() { pointer } else { "/linux/timeOffsets".into() };
        out.settle.push(Step::asked(pointer, InitOp::NewTime { offsets: lines }));
    }
    if let Some(name) = spec.hostname().as_ref().filter(|n| !n.is_empty()) {
        out.settle.push(Step::asked("/hostname", InitOp::Hostname(name.clone())));
    }
    if let Some(name) = spec.domainname().as_ref().filter(|n| !n.is_empty()) {
        out.settle.push(Step::asked("/domainname", InitOp::Domainname(name.clone())));
    }
    if out.is_new(Kind::Network) {
        out.settle.push(Step::default("a new network namespace has its loopback down", InitOp::Loopback));
    }
}

fn lower_sysctls(spec: &Spec, out: &mut Lowered) {
    let sysctls = spec.linux().as_ref().and_then(|l| l.sysctl().as_ref());
    let mut sorted: Vec<_> = sysctls.into_iter().flatten().collect();
    sorted.sort();
    for (key, value) in sorted {
        let pointer = format!("/linux/sysctl/{}", key.replace('~', "~0").replace('/', "~1"));
        out.sysctls.push(Step::asked(pointer, InitOp::Sysctl { key: sysctl_path(key), value: value.clone() }));
    }
}

/// `net.ipv4.ip_forward` or `net/ipv4/ip_forward`; whichever separator comes first is the separator (sysctl.d(5)), the
/// other one then stands for itself: `net.ipv4.conf.eth0/1.rp_filter` is about a device called `eth0.1`.
pub fn sysctl_path(key: &str) -> String {
    match key.find(['.', '/']) {
        Some(at) if key.as_bytes()[at] == b'.' => key
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn lowered(linux: Value, euid: u32) -> (Lowered, Vec<String>) {
        let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": linux})).unwrap();
        let mut complaints = Vec::new();
        let out = lower(&spec, &Facts { euid, ..Facts::default() }, &mut complaints);
        (out, complaints.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn network_devices_move_before_init_goes_on() {
        let linux = json!({"namespaces": [{"type": "network"}], "netDevices": {"eth1": {"name": "net%d"}, "eth0": {}}});
        let (out, complaints) = lowered(linux.clone(), 0);
        assert!(complaints.is_empty() && out.birth.wait);
        let words: Vec<String> = out.adopt.iter().map(|s| format!("{} {}", s.origin, s.op)).collect();
        assert_eq!(
            words,
            [
                "/linux/netDevices/eth0 move network device eth0 into the container as eth0, with its addresses, and up",
                "/linux/netDevices/eth1 move network device eth1 into the container as net%d, with its addresses, and up",
            ]
        );
        assert_eq!(out.birth.to_string(), "clone3, new network, init waits for its network devices");
        let (_, complaints) = lowered(linux, 1000);
        assert_eq!(complaints.last().unwrap(), "/linux/netDevices: only root can move network devices");
    }

    #[test]
    fn network_devices_move_into_a_joined_namespace_too() {
        let linux = json!({"namespaces": [{"type": "network", "path": "/run/netns/x"}], "netDevices": {"eth0": {}}});
        let (out, _) = lowered(linux, 0);
        let namespace = Some("/run/netns/x".to_owned());
        assert_eq!(out.adopt[0].op, HostOp::NetDevice { name: "eth0".into(), inside: "eth0".into(), namespace });
    }

    #[test]
    fn sysctl_keys_have_two_spellings() {
        for (key, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
            ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
        ] {
            assert_eq!(sysctl_path(key), path);
        }
    }
}
