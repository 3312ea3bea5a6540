//! `rt features`: what this binary can do, whatever host it is on. Reads nothing: no file, no kernel, no environment.
//!
//! dockerd and containerd parse it when they start; containerd refuses idmapped mounts unless it says that we have them.
//! Where a subject works from a table, the list here is that table, so that the document can't promise what the code
//! doesn't do. What has no table is asked of the plan, by [`able`]: we can do what a plan has steps for. [`tables`] is
//! where subjects join.

pub mod able;

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use serde::Serialize;

use super::version;
use crate::hooks::Point;
use crate::namespaces::Kind;
use crate::rootfs::options;
use crate::seccomp::Arch;
use crate::spec::properties::CONFIG;
use crate::spec::schema::words;

/// Where a section says only whether it is there.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Enabled {
    /// Whether it is.
    pub enabled: bool,
}

/// Which trees of cgroups we can work with, and through whom.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Cgroup {
    pub v1: bool,
    pub v2: bool,
    pub systemd: bool,
    pub systemd_user: bool,
    pub rdma: bool,
}

/// What we can compile and load.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seccomp<'a> {
    /// Whether there is anything at all.
    pub enabled: bool,
    /// `SCMP_ACT_…`
    pub actions: Vec<&'a str>,
    /// `SCMP_CMP_…`
    pub operators: Vec<&'a str>,
    /// `SCMP_ARCH_…`
    pub archs: Vec<&'a str>,
    /// `SECCOMP_FILTER_FLAG_…` that a config may have.
    pub known_flags: Vec<&'a str>,
    /// Those of them that we hand to the kernel.
    pub supported_flags: Vec<&'a str>,
}

/// Intel RDT.
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct IntelRdt {
    pub enabled: bool,
    pub schemata: bool,
    pub monitoring: bool,
}

/// The words of linux.memoryPolicy.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryPolicy<'a> {
    /// `MPOL_…`
    pub modes: Vec<&'a str>,
    /// `MPOL_F_…`
    pub flags: Vec<&'a str>,
}

/// What mounts can do beyond their options.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MountExtensions {
    /// Mounts with id maps of their own.
    pub idmap: Enabled,
}

/// The tables of the subjects. A section that is none is left out, which the specification reads as "unknown".
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Linux<'a> {
    pub namespaces: Vec<&'a str>,
    pub capabilities: Vec<String>,
    pub cgroup: Cgroup,
    pub seccomp: Seccomp<'a>,
    pub apparmor: Enabled,
    pub selinux: Enabled,
    pub intel_rdt: IntelRdt,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy<'a>>,
    pub mount_extensions: MountExtensions,
    pub net_devices: Enabled,
}

/// What the tables of the subjects say, for all sections.
#[derive(Clone, Debug)]
pub struct Tables<'a> {
    /// Names of hooks in the config.
    pub hooks: Vec<&'a str>,
    /// Options of mounts that are ours, not the filesystem's.
    pub mount_options: Vec<&'a str>,
    /// What is special to Linux.
    pub linux: Linux<'a>,
    /// Whether checkpoint and restore are there.
    pub checkpoint: bool,
    /// Annotations that change what the runtime does; with a dot at the end, all that begin so.
    pub unsafe_annotations: Vec<&'a str>,
}

/// The document, as the specification's features.md has it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    oci_version_min: &'static str,
    oci_version_max: &'static str,
    hooks: Vec<&'a str>,
    mount_options: Vec<&'a str>,
    linux: Linux<'a>,
    annotations: BTreeMap<&'static str, &'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    potentially_unsafe_config_annotations: Vec<&'a str>,
}

/// What the subjects can do today.
pub fn tables() -> Tables<'static> {
    let idmap = able::idmapped_mounts();
    // A word that the table of options knows isn't an option as long as we refuse what it asks for.
    let works = |option: &&str| idmap || !matches!(*option, "idmap" | "ridmap");
    let all = |path| words(CONFIG, path).to_vec();
    let notifies = |action: &&str| *action != "SCMP_ACT_NOTIFY" || able::notify();
    Tables {
        hooks: Point::ALL.iter().map(|(_, name)| *name).collect(),
        mount_options: options::names().filter(works).collect(),
        linux: Linux {
            namespaces: Kind::ALL.iter().map(|(_, name)| *name).collect(),
            capabilities: capabilities(),
            cgroup: Cgroup {
                v1: able::cgroups(able::Host::V1),
                v2: able::cgroups(able::Host::V2),
                systemd: able::systemd(false),
                systemd_user: able::systemd(true),
                rdma: able::rdma(),
            },
            seccomp: Seccomp {
                enabled: able::seccomp(),
                actions: all("/linux/seccomp/defaultAction").into_iter().filter(notifies).collect(),
                operators: all("/linux/seccomp/syscalls/*/args/*/op"),
                archs: Arch::ALL.iter().map(|arch| arch.name()).collect(),
                known_flags: all("/linux/seccomp/flags/*"),
                supported_flags: all("/linux/seccomp/flags/*"),
            },
            apparmor: Enabled { enabled: able::apparmor() },
            selinux: Enabled { enabled: able::selinux() },
            intel_rdt: IntelRdt {
                enabled: able::intel_rdt("closID"),
                schemata: able::intel_rdt("schemata"),
                monitoring: able::intel_rdt("enableMonitoring"),
            },
            memory_policy: able::memory_policy().then(|| MemoryPolicy {
                modes: all("/linux/memoryPolicy/mode"),
                flags: all("/linux/memoryPolicy/flags/*"),
            }),
            mount_extensions: MountExtensions { idmap: Enabled { enabled: idmap } },
            net_devices: Enabled { enabled: able::net_devices() },
        },
        checkpoint: true,
        unsafe_annotations: crate::spec::lint::HEEDED_ANNOTATIONS.iter().map(|(name, _)| *name).collect(),
    }
}

/// Prints the document.
pub fn features(tables: Tables<'_>, out: &mut impl Write) -> Result<()> {
    let mut text = serde_json::to_string_pretty(&document(tables)).context("features")?;
    text.push('\n');
    out.write_all(text.as_bytes()).context("features: write")
}

fn document(tables: Tables<'_>) -> Document<'_> {
    let Tables { hooks, mount_options, mut linux, checkpoint, unsafe_annotations } = tables;
    // Tables are in the order that suits the code; readers compare documents of different versions.
    let Seccomp { actions, operators, archs, known_flags, supported_flags, .. } = &mut linux.seccomp;
    for list in [&mut linux.namespaces, actions, operators, archs, known_flags, supported_flags] {
        list.sort_unstable();
        list.dedup();
    }
    let mut mount_options = mount_options;
    mount_options.sort_unstable();
    mount_options.dedup();
    Document {
        oci_version_min: "1.0.0",
        oci_version_max: version::SPEC,
        hooks,
        mount_options,
        linux,
        annotations: BTreeMap::from([
            ("rt.version", version::VERSION),
            ("rt.commit", version::COMMIT),
            // runc's name for it, which crun has as well: callers need to know one only.
            ("org.opencontainers.runc.checkpoint.enabled", if checkpoint { "true" } else { "false" }),
        ]),
        potentially_unsafe_config_annotations: unsafe_annotations,
    }
}

/// The capabilities that a config may name, in the kernel's order.
pub fn capabilities() -> Vec<String> {
    let mut all: Vec<caps::Capability> = caps::all().into_iter().collect();
    all.sort_unstable_by_key(caps::Capability::index);
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};
    use serde_json::{Value, json};

    use super::*;

    fn printed(tables: Tables<'_>) -> Value {
        let mut out = Vec::new();
        features(tables, &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn the_names_are_the_specifications() {
        let value = printed(tables());
        assert_eq!(value["ociVersionMin"], "1.0.0");
        assert_eq!(value["ociVersionMax"], "1.3.0");
        let has = |list: &Value, word: &str| list.as_array().unwrap().iter().any(|found| found == word);
        // dockerd looks for it before it makes read-only binds recursive.
        assert!(has(&value["mountOptions"], "rro"));
        assert_eq!(value["hooks"][0], "prestart");
        assert_eq!(
            value["linux"]["namespaces"],
            json!(["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"])
        );
        assert!(has(&value["linux"]["seccomp"]["archs"], "SCMP_ARCH_X86_64"));
        assert_eq!(value["linux"]["seccomp"]["knownFlags"].as_array().unwrap().len(), 4);
        assert_eq!(value["linux"]["cgroup"]["systemdUser"], true);
        // What containerd looks at before it makes idmapped mounts.
        let idmap = &value["linux"]["mountExtensions"]["idmap"]["enabled"];
        assert_eq!(*idmap, true);
        assert!(has(&value["mountOptions"], "idmap") && has(&value["mountOptions"], "ridmap"));
        assert_eq!(value["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
        let heeded = json!(["org.criu.config", "org.systemd.property.", "run.oci.keep_original_groups"]);
        assert_eq!(value["potentiallyUnsafeConfigAnnotations"], heeded);
        assert_eq!(value["linux"]["memoryPolicy"]["modes"].as_array().map(Vec::len), Some(7));
        assert_eq!(value["linux"]["intelRdt"], json!({"enabled": true, "schemata": true, "monitoring": true}));
        // The reading side of the same specification finds everything it knows.
        let parsed: oci_spec::runtime::Features = serde_json::from_value(value).unwrap();
        let linux = parsed.linux().as_ref().unwrap();
        assert_eq!(linux.intel_rdt().as_ref().unwrap().enabled(), &Some(true));
        assert_eq!(linux.net_devices().as_ref().unwrap().enabled(), &Some(true));
    }

    #[test]
    fn the_configs_types_know_every_word() {
        fn parses<T: serde::de::DeserializeOwned>(words: &[&str]) {
            for word in words {
                assert!(serde_json::from_value::<T>(json!(word)).is_ok(), "{word}");
            }
        }
        let seccomp = tables().linux.seccomp;
        parses::<LinuxSeccompAction>(&seccomp.actions);
        parses::<LinuxSeccompOperator>(&seccomp.operators);
        parses::<LinuxSeccompFilterFlag>(&seccomp.known_flags);
        parses::<oci_spec::runtime::Arch>(&seccomp.archs);
        assert!(seccomp.actions.len() >= 8 && seccomp.operators.len() == 7 && seccomp.archs.len() == 23);
    }

    #[test]
    fn capabilities_in_the_kernels_order() {
        let capabilities = capabilities();
        assert_eq!(capabilities.len(), 41);
        assert_eq!(capabilities[0], "CAP_CHOWN");
        assert_eq!(capabilities[40], "CAP_CHECKPOINT_RESTORE");
    }

    #[test]
    fn a_pipe_that_is_closed_is_an_error() {
        let mut full: &mut [u8] = &mut [];
        assert!(features(tables(), &mut full).unwrap_err().to_string().contains("write"));
    }
}
