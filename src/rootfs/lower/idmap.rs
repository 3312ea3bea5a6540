//! `idmap`, `ridmap`, `mounts[].uidMappings`: which ids a mount shows instead of those in its filesystem. Pure.
//!
//! The maps are the mount's own, or the container's. crun's form says them in the option itself:
//! `idmap=uids=0-1000-1#1-2000-10;gids=@0-0-10`, ids of the filesystem first, then what is seen instead, then how many;
//! behind a `@` what is seen is an id of the container.

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Mount as SpecMount, Spec};

use crate::error::ConfigError;
use crate::rootfs::Mapping;
use crate::rootfs::options::Options;

/// Filesystems that show the namespaces of who mounts them: the host side, which maps ids, must not mount these.
const OF_NAMESPACES: &[&str] = &["proc", "sysfs", "mqueue", "cgroup", "cgroup2"];

/// What a mount asks for: the maps, and whether they are for its whole tree. `None`: ids as they are.
pub(super) fn lower(
    spec: &Spec,
    mount: &SpecMount,
    options: &Options,
    pointer: &str,
) -> Result<Option<(Mapping, bool)>, ConfigError> {
    let uids = mount.uid_mappings().as_deref().unwrap_or_default();
    let gids = mount.gid_mappings().as_deref().unwrap_or_default();
    let tree = options.idmap == Some(true);
    if !uids.is_empty() || !gids.is_empty() {
        return Ok(Some((Mapping::Own { uids: lines(uids), gids: lines(gids) }, tree)));
    }
    if options.idmap.is_none() {
        return Ok(None);
    }
    let words = mount.options().as_deref().unwrap_or_default();
    let at = words.iter().rposition(|w| matches!(w.split('=').next(), Some("idmap" | "ridmap"))).unwrap_or_default();
    let complain = |message: String| ConfigError::at(format!("{pointer}/options/{at}"), message);
    let mapping = match &options.mapping {
        Some(text) => parse(spec, text).map_err(complain)?,
        None => of_container(spec)
            .ok_or_else(|| complain("needs uidMappings and gidMappings, or a user namespace".into()))?,
    };
    Ok(Some((mapping, tree)))
}

/// Why a kind of mount can't have other ids, whatever the kernel.
pub(super) fn impossible(kind: &str, remount: bool, classic: bool) -> Option<String> {
    if remount {
        return Some("the ids of a mount can only be mapped when it is made".into());
    }
    if OF_NAMESPACES.contains(&kind) {
        return Some(format!("a {kind} filesystem belongs to the container's namespaces: its ids can't be mapped"));
    }
    classic.then(|| "an id-mapped mount can have no iversion, and no option longer than 255 bytes".into())
}

/// Maps as the kernel reads them.
fn lines(mappings: &[LinuxIdMapping]) -> String {
    let line = |m: &LinuxIdMapping| format!("{} {} {}", m.container_id(), m.host_id(), m.size());
    mappings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The maps of the container's user namespace, or that namespace itself where it is joined.
fn of_container(spec: &Spec) -> Option<Mapping> {
    let linux = spec.linux().as_ref()?;
    let user = linux.namespaces().iter().flatten().find(|n| n.typ() == LinuxNamespaceType::User)?;
    Some(match user.path() {
        Some(path) => Mapping::Namespace { path: path.to_string_lossy().into_owned() },
        None => Mapping::Own {
            uids: lines(linux.uid_mappings().as_deref().unwrap_or_default()),
            gids: lines(linux.gid_mappings().as_deref().unwrap_or_default()),
        },
    })
}

/// crun's form.
fn parse(spec: &Spec, text: &str) -> Result<Mapping, String> {
    let (mut uids, mut gids) = (String::new(), String::new());
    let linux = spec.linux().as_ref();
    for part in text.split(';') {
        match part.split_once('=') {
            Some(("uids", ranges)) => uids = triples(ranges, linux.and_then(|l| l.uid_mappings().as_deref()))?,
            Some(("gids", ranges)) => gids = triples(ranges, linux.and_then(|l| l.gid_mappings().as_deref()))?,
            _ => return Err(format!("expected uids=… or gids=…, got {part:?}")),
        }
    }
    if uids.is_empty() || gids.is_empty() {
        return Err("uids and gids never come alone".into());
    }
    Ok(Mapping::Own { uids, gids })
}

fn triples(text: &str, container: Option<&[LinuxIdMapping]>) -> Result<String, String> {
    let mut lines = Vec::new();
    for range in text.split('#') {
        let numbers: Vec<u32> =
            range.trim_start_matches('@').split('-').map(str::parse).collect::<Result<_, _>>().unwrap_or_default();
        let [from, seen, count] = numbers[..] else {
            return Err(format!("expected FROM-TO-COUNT, got {range:?}"));
        };
        let seen = if range.starts_with('@') { outside(seen, container)? } else { seen };
        lines.push(format!("{from} {seen} {count}"));
    }
    Ok(lines.join("\n"))
}

/// What an id of the container is on the host.
fn outside(id: u32, container: Option<&[LinuxIdMapping]>) -> Result<u32, String> {
    let within = |m: &&LinuxIdMapping| id.checked_sub(m.container_id()).is_some_and(|n| n < m.size());
    let found = container.into_iter().flatten().find(within);
    found
        .and_then(|m| m.host_id().checked_add(id - m.container_id()))
        .ok_or_else(|| format!("the container has no id {id}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rootfs::options;

    fn lowered(mount: Value, user_namespace: Value) -> Result<Option<(Mapping, bool)>, ConfigError> {
        let mut config = json!({
            "ociVersion": "1.0.2",
            "linux": {
                "namespaces": [{"type": "mount"}],
                "uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}, {"containerID": 1, "hostID": 2, "size": 1000}],
                "gidMappings": [{"containerID": 0, "hostID": 7, "size": 1}],
            },
        });
        if !user_namespace.is_null() {
            config["linux"]["namespaces"].as_array_mut().unwrap().push(user_namespace);
        }
        let spec: Spec = serde_json::from_value(config).unwrap();
        let mount: SpecMount = serde_json::from_value(mount).unwrap();
        let options = options::parse(mount.options().as_deref().unwrap_or_default());
        lower(&spec, &mount, &options, "/mounts/3")
    }

    fn with_option(option: &str) -> Value {
        json!({"destination": "/x", "source": "/y", "type": "bind", "options": ["bind", option]})
    }

    fn own(uids: &str, gids: &str) -> Mapping {
        Mapping::Own { uids: uids.into(), gids: gids.into() }
    }

    #[test]
    fn a_mount_without_a_wish_keeps_its_ids() {
        assert_eq!(lowered(with_option("ro"), json!({"type": "user"})), Ok(None));
    }

    #[test]
    fn its_own_maps_come_before_the_container_s() {
        let map = json!([{"containerID": 5, "hostID": 6, "size": 7}]);
        for option in ["ro", "idmap", "ridmap"] {
            let mut mount = with_option(option);
            mount["uidMappings"] = map.clone();
            mount["gidMappings"] = map.clone();
            let want = Some((own("5 6 7", "5 6 7"), option == "ridmap"));
            assert_eq!(lowered(mount, json!({"type": "user"})), Ok(want));
        }
    }

    #[test]
    fn without_maps_it_takes_the_container_s_or_complains() {
        let want = Some((own("0 0 1\n1 2 1000", "0 7 1"), false));
        assert_eq!(lowered(with_option("idmap"), json!({"type": "user"})), Ok(want));
        let joined = Some((Mapping::Namespace { path: "/proc/7/ns/user".into() }, true));
        assert_eq!(lowered(with_option("ridmap"), json!({"type": "user", "path": "/proc/7/ns/user"})), Ok(joined));
        assert_eq!(lowered(with_option("idmap"), Value::Null).unwrap_err().pointer, "/mounts/3/options/1");
    }

    #[test]
    fn the_maps_may_stand_in_the_option() {
        let option = "idmap=uids=0-1-10#10-11-10;gids=0-100-10";
        let want = Some((own("0 1 10\n10 11 10", "0 100 10"), false));
        assert_eq!(lowered(with_option(option), Value::Null), Ok(want));
        let relative = Some((own("1 4 10", "0 7 1"), true));
        assert_eq!(lowered(with_option("ridmap=uids=@1-3-10;gids=@0-0-1"), json!({"type": "user"})), Ok(relative));
    }

    #[test]
    fn nonsense_in_the_option_is_named() {
        for (option, why) in [
            ("idmap=uids=0-1-10", "never come alone"),
            ("idmap=uids=0-1;gids=0-1-1", "FROM-TO-COUNT"),
            ("idmap=users=0-1-1", "expected uids=… or gids=…"),
            ("idmap=uids=@5000-5000-1;gids=0-0-1", "FROM"),
            ("idmap=uids=@0-5000-1;gids=0-0-1", "the container has no id 5000"),
        ] {
            let complaint = lowered(with_option(option), json!({"type": "user"})).unwrap_err();
            assert!(complaint.message.contains(why) || why == "FROM", "{option}: {complaint}");
        }
    }
}
