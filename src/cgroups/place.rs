//! Where a container stands: `cgroupsPath` → one directory per tree. Pure.
//!
//! Must never let a path out of its tree: `..` is refused, not resolved (CVE-2023-6476 and its kin).

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::ConfigError;
use crate::facts::{CgroupTrees, Delegated, Facts};

use super::systemd::Unit;

const POINTER: &str = "/linux/cgroupsPath";
/// Room for the mount point before it and a control file's name behind it, within the kernel's PATH_MAX of 4096.
const LONGEST_PATH: usize = 3500;
/// The kernel's NAME_MAX.
const LONGEST_NAME: usize = 255;

/// Which kind of hierarchy a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Version {
    /// One of the legacy hierarchies.
    V1,
    /// The unified hierarchy.
    V2,
}

/// The container's directory in one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The kind of the tree.
    pub version: Version,
    /// v1: the hierarchy's controllers (or `name=systemd`); v2: those that can be enabled.
    pub controllers: Vec<String>,
    /// Where the tree is mounted.
    pub mountpoint: String,
    /// The directory, from the mount point and without a leading slash: `docker/4f1c…`. Never empty.
    pub path: String,
    /// Ancestors of it that our create made, deepest first; they go when the container goes, if nobody uses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<String>,
    /// The ancestor that was handed over to us with all below it; above it somebody else decides. Empty: the root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub delegated: String,
}

impl Place {
    /// The absolute directory.
    pub fn dir(&self) -> String {
        format!("{}/{}", self.mountpoint.trim_end_matches('/'), self.path)
    }
}

/// Where a container stands in every tree. No trees: it lives where its creator lives, and nothing is ours to remove.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// One place per tree.
    pub trees: Vec<Place>,
    /// The unit that holds them, where systemd makes the cgroups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Whether that unit was started for this container: until then one of this name is another's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub started: bool,
}

impl Placement {
    /// The container has no cgroup of its own.
    pub fn none() -> Self {
        Self::default()
    }

    /// Whether its directories are its own by now: those of a unit that was never started are not.
    pub fn is_ours(&self) -> bool {
        self.unit.is_none() || self.started
    }

    /// Whether the container has no cgroup of its own.
    pub fn is_none(&self) -> bool {
        self.trees.is_empty()
    }

    /// The tree in which `controller` can be used: a v1 hierarchy, else the v2 tree.
    pub fn tree_of(&self, controller: &str) -> Option<usize> {
        self.v1_tree_of(controller).or_else(|| {
            self.trees.iter().position(|t| t.version == Version::V2 && t.controllers.iter().any(|c| c == controller))
        })
    }

    /// The v1 hierarchy of `controller`.
    pub fn v1_tree_of(&self, controller: &str) -> Option<usize> {
        self.trees.iter().position(|t| t.version == Version::V1 && t.controllers.iter().any(|c| c == controller))
    }

    /// Only the place that knows whether the container is frozen.
    pub fn freezer(&self) -> Placement {
        let tree = self.v1_tree_of("freezer").or_else(|| self.v2_tree());
        Placement { trees: tree.map(|index| self.trees[index].clone()).into_iter().collect(), ..self.clone() }
    }

    /// The v2 tree.
    pub fn v2_tree(&self) -> Option<usize> {
        self.trees.iter().position(|t| t.version == Version::V2)
    }
}

/// `cgroupsPath` (or its absence) → the place in every tree of this host.
///
/// Without root's rights: in what was delegated to us, and where that is nothing and no path is asked for, nowhere.
pub(super) fn lower(asked: Option<&Path>, facts: &Facts, id: &str, complaints: &mut Vec<ConfigError>) -> Placement {
    let path = match asked.filter(|p| !p.as_os_str().is_empty()) {
        Some(path) => path.to_string_lossy().into_owned(),
        None if facts.rootless() => return Placement { trees: delegated(facts, id), ..Placement::none() },
        None => format!("/{id}"),
    };
    match clean(&path) {
        Ok(inner) => {
            let trees = match path.starts_with('/') {
                false if facts.rootless() && !facts.delegated.is_empty() => delegated(facts, &inner),
                absolute => places(&facts.cgroups, absolute, &inner),
            };
            Placement { trees, ..Placement::none() }
        }
        Err(message) => {
            complaints.push(ConfigError::at(POINTER, message));
            Placement::none()
        }
    }
}

/// The path's components with single slashes between them, none before.
fn clean(path: &str) -> Result<String, String> {
    if path.len() > LONGEST_PATH {
        return Err(format!("longer than {LONGEST_PATH} bytes"));
    }
    if let Some(bad) = path.chars().find(|c| c.is_control() || *c == char::REPLACEMENT_CHARACTER) {
        return Err(format!("{bad:?} cannot be part of a cgroup's name"));
    }
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
    if names.contains(&"..") {
        return Err(format!("{path:?} has \"..\" in it; name the cgroup itself"));
    }
    if let Some(long) = names.iter().find(|name| name.len() > LONGEST_NAME) {
        return Err(format!("the name {long:?} is longer than {LONGEST_NAME} bytes"));
    }
    if names.is_empty() {
        return Err("names the root of the hierarchy; a container needs a cgroup of its own".to_owned());
    }
    Ok(names.join("/"))
}

fn places(host: &CgroupTrees, absolute: bool, inner: &str) -> Vec<Place> {
    let below = |own: &str| match own.trim_matches('/') {
        _ if absolute => inner.to_owned(),
        "" => inner.to_owned(),
        own => format!("{own}/{inner}"),
    };
    let mut places = Vec::new();
    // The unified tree first: it is the one that can tell when the cgroup is empty.
    if let Some(v2) = &host.v2 {
        // Our own cgroup has us in it, so it cannot pass controllers on; a sibling of ours can have them.
        let parent = v2.own.trim_end_matches('/').rsplit_once('/').map_or("", |(parent, _)| parent);
        places.push(Place {
            version: Version::V2,
            controllers: v2.controllers.clone(),
            mountpoint: v2.mountpoint.clone(),
            path: below(parent),
            made: Vec::new(),
            delegated: String::new(),
        });
    }
    // Of the hierarchies without controllers only systemd's is ours to use; others belong to other init systems.
    let usable = |c: &String| !c.starts_with("name=") || c == "name=systemd";
    for v1 in host.v1.iter().filter(|v1| v1.controllers.iter().any(usable)) {
        places.push(Place {
            version: Version::V1,
            controllers: v1.controllers.clone(),
            mountpoint: v1.mountpoint.clone(),
            path: below(&v1.own),
            made: Vec::new(),
            delegated: String::new(),
        });
    }
    places
}

/// The places below what was delegated to us.
fn delegated(facts: &Facts, inner: &str) -> Vec<Place> {
    let below = |directory: &str| format!("{directory}/{inner}").trim_start_matches('/').to_owned();
    let place = |d: &Delegated| {
        let v1 = facts.cgroups.v1.iter().find(|v1| v1.mountpoint == d.mountpoint);
        let (version, controllers) = match v1 {
            Some(v1) => (Version::V1, &v1.controllers),
            None => (Version::V2, &d.controllers),
        };
        let (mountpoint, path) = (d.mountpoint.clone(), below(&d.directory));
        Place {
            version,
            controllers: controllers.clone(),
            mountpoint,
            path,
            made: Vec::new(),
            delegated: String::new(),
        }
    };
    facts.delegated.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Hierarchy, Unified};

    fn hybrid() -> Facts {
        let v1 = |name: &str, own: &str| Hierarchy {
            controllers: vec![name.to_owned()],
            mountpoint: format!("/sys/fs/cgroup/{name}"),
            own: own.to_owned(),
        };
        Facts {
            euid: 0,
            in_userns: false,
            capabilities: 0,
            cgroups: CgroupTrees {
                v1: vec![v1("memory", "/mine"), v1("pids", "/"), v1("name=systemd", "/"), v1("name=elogind", "/")],
                v2: Some(Unified {
                    mountpoint: "/sys/fs/cgroup/unified".to_owned(),
                    own: "/user.slice/me.scope".to_owned(),
                    controllers: Vec::new(),
                }),
            },
            ..Facts::default()
        }
    }

    fn dirs(asked: Option<&str>, facts: &Facts) -> Result<Vec<String>, String> {
        let mut complaints = Vec::new();
        let placement = lower(asked.map(Path::new), facts, "box", &mut complaints);
        match complaints.pop() {
            Some(complaint) => Err(complaint.to_string()),
            None => Ok(placement.trees.iter().map(Place::dir).collect()),
        }
    }

    #[test]
    fn an_absolute_path_is_exact_in_every_tree() {
        let dirs = dirs(Some("/docker//./4f1c/"), &hybrid()).unwrap();
        assert_eq!(
            dirs,
            [
                "/sys/fs/cgroup/unified/docker/4f1c",
                "/sys/fs/cgroup/memory/docker/4f1c",
                "/sys/fs/cgroup/pids/docker/4f1c",
                "/sys/fs/cgroup/name=systemd/docker/4f1c",
            ]
        );
    }

    #[test]
    fn a_relative_path_is_below_our_own_cgroup_on_v1_and_beside_it_on_v2() {
        let dirs = dirs(Some("a/b"), &hybrid()).unwrap();
        assert_eq!(
            &dirs[..3],
            ["/sys/fs/cgroup/unified/user.slice/a/b", "/sys/fs/cgroup/memory/mine/a/b", "/sys/fs/cgroup/pids/a/b"]
        );
    }

    #[test]
    fn the_systemd_form_is_an_ordinary_name_without_the_systemd_driver() {
        assert_eq!(dirs(Some("system.slice:rt:box"), &hybrid()).unwrap()[2], "/sys/fs/cgroup/pids/system.slice:rt:box");
    }

    #[test]
    fn without_a_path_root_gets_one_by_the_id() {
        assert_eq!(dirs(None, &hybrid()).unwrap()[1], "/sys/fs/cgroup/memory/box");
        assert_eq!(dirs(Some(""), &hybrid()).unwrap()[1], "/sys/fs/cgroup/memory/box");
    }

    #[test]
    fn without_a_path_a_rootless_caller_gets_what_was_delegated_to_it() {
        for facts in [Facts { euid: 1000, ..hybrid() }, Facts { in_userns: true, ..hybrid() }] {
            assert!(dirs(None, &facts).unwrap().is_empty());
            assert_eq!(dirs(Some("/x"), &facts).unwrap().len(), 4, "what is asked for by its path is tried");
            assert_eq!(dirs(Some("x"), &facts).unwrap().len(), 4);
            let ours = |mountpoint: &str, directory: &str| Delegated {
                mountpoint: mountpoint.into(),
                directory: directory.into(),
                controllers: vec!["pids".into()],
            };
            let delegated = vec![ours("/sys/fs/cgroup/unified", "user.slice"), ours("/sys/fs/cgroup/memory", "")];
            let facts = Facts { delegated, ..facts };
            let want = ["/sys/fs/cgroup/unified/user.slice/box", "/sys/fs/cgroup/memory/box"];
            assert_eq!(dirs(None, &facts).unwrap(), want);
            assert_eq!(dirs(Some("box"), &facts).unwrap(), want);
            let placement = lower(None, &facts, "box", &mut Vec::new());
            assert_eq!((&placement.trees[0].controllers[0], placement.trees[1].version), (&"pids".into(), Version::V1));
            let as_root = Facts { as_rootless: Some(false), ..facts };
            assert_eq!(dirs(None, &as_root).unwrap().len(), 4);
        }
    }

    #[test]
    fn paths_that_leave_the_tree_are_refused() {
        let long = format!("/{}", "x/".repeat(2000));
        let name = format!("/{}", "y".repeat(256));
        for bad in ["/a/../b", "..", "a/..", "/", "./.", "/a\nb", "/a\0b", &long, &name] {
            let refused = dirs(Some(bad), &hybrid()).unwrap_err();
            assert!(refused.starts_with("/linux/cgroupsPath: "), "{refused}");
        }
        assert!(dirs(Some("/%2e%2e/..x/x.."), &hybrid()).is_ok());
    }
}
