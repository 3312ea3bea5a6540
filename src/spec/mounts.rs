//! `mounts`: destinations, options that fit the kind of mount, id mappings. Opens nothing and resolves nothing.

use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};

use super::remarks::Remarks;
use super::validate::Sections;
use super::{namespaces, normalise};
use crate::error::Rule;

/// How many mounts there may be.
pub const MAX_MOUNTS: usize = 8192;

/// Options that mean something to the runtime or to the kernel's generic mount code. All others are data for the
/// filesystem.
pub const GENERIC_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Looks at all mounts.
pub fn validate(spec: &Spec, sections: &Sections, remarks: &mut Remarks) {
    let mounts = spec.mounts().as_deref().unwrap_or_default();
    if mounts.len() > MAX_MOUNTS {
        remarks.fault(Rule::TooMany, "/mounts", format!("expected at most {MAX_MOUNTS} mounts, got {}", mounts.len()));
    }
    let user_namespace =
        !sections.sound("linux") || namespaces::listed(spec.linux().as_ref(), LinuxNamespaceType::User).is_some();
    for (index, mount) in mounts.iter().enumerate() {
        if mount.destination().as_os_str().is_empty() {
            remarks.fault(
                Rule::RelativePath,
                format!("/mounts/{index}/destination"),
                "expected an absolute path, got \"\"",
            );
        }
        if is_bind(mount) {
            bind(mount, index, remarks);
        } else if mount.typ().is_none() && !options(mount).any(|option| option == "remount") {
            let message = "missing; expected the type of a filesystem (or bind among the options)";
            remarks.fault(Rule::MissingProperty, format!("/mounts/{index}/type"), message);
        }
        id_mapping(mount, index, user_namespace, remarks);
    }
}

fn options(mount: &Mount) -> impl Iterator<Item = &str> {
    mount.options().iter().flatten().map(String::as_str)
}

/// Whether something that exists is shown once more.
pub fn is_bind(mount: &Mount) -> bool {
    matches!(mount.typ().as_deref(), Some("bind" | "rbind"))
        || options(mount).any(|option| matches!(option, "bind" | "rbind"))
}

/// A bind mount has no filesystem of its own that could use data.
fn bind(mount: &Mount, index: usize, remarks: &mut Remarks) {
    let base = format_args!("/mounts/{index}");
    if mount.source().is_none() {
        remarks.fault(
            Rule::MissingProperty,
            format!("{base}/source"),
            "missing; a bind mount needs the path of what is bound",
        );
    }
    for (at, option) in options(mount).enumerate() {
        // Behind `idmap=` crun's callers write maps.
        if option.is_empty() || GENERIC_OPTIONS.contains(&option) || option.split('=').next().is_some_and(is_idmap) {
            continue;
        }
        remarks.fault(Rule::DataOnBind, format!("{base}/options/{at}"), normalise::data_on_bind(option));
    }
}

fn is_idmap(option: &str) -> bool {
    matches!(option, "idmap" | "ridmap")
}

fn id_mapping(mount: &Mount, index: usize, user_namespace: bool, remarks: &mut Remarks) {
    let base = format!("/mounts/{index}");
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    namespaces::mappings(uids, || format!("{base}/uidMappings"), remarks);
    namespaces::mappings(gids, || format!("{base}/gidMappings"), remarks);
    match (uids.is_empty(), gids.is_empty()) {
        (false, true) => {
            remarks.fault(Rule::MissingProperty, format!("{base}/gidMappings"), "missing; uidMappings never come alone")
        }
        (true, false) => {
            remarks.fault(Rule::MissingProperty, format!("{base}/uidMappings"), "missing; gidMappings never come alone")
        }
        (true, true) if !user_namespace => {
            for (at, option) in options(mount).enumerate().filter(|(_, option)| is_idmap(option)) {
                let message =
                    format!("{option} needs uidMappings and gidMappings, or a user namespace whose mappings it takes");
                remarks.fault(Rule::MissingProperty, format!("{base}/options/{at}"), message);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::GENERIC_OPTIONS;

    #[test]
    fn options_are_sorted_and_single() {
        assert!(GENERIC_OPTIONS.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
