//! Units: `cgroupsPath` in systemd's form → the name of a scope or slice, and where systemd will put its cgroup. Pure.

use serde::{Deserialize, Serialize};

use super::bus::Instance;

/// systemd's UNIT_NAME_MAX, with the NUL.
const LONGEST: usize = 255;

/// A unit that holds a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// Whose systemd.
    pub of: Instance,
    /// `rt-box.scope`
    pub name: String,
    /// `system.slice`; of a slice its parent.
    pub slice: String,
    /// The unit's cgroup, from the mount point and without a leading slash.
    pub cgroup: String,
}

impl Unit {
    /// Whether it is a slice, which can't have processes given to it.
    pub fn is_slice(&self) -> bool {
        self.name.ends_with(".slice")
    }
}

/// The unit for `asked` (none: by the container's id). `root` is the cgroup of systemd itself.
pub fn lower(asked: Option<&str>, of: Instance, root: &str, id: &str) -> Result<Unit, String> {
    let default = match of {
        Instance::System => "system.slice",
        Instance::User => "user.slice",
    };
    let (slice, name) = match asked {
        None => (default, format!("rt-{}.scope", escape(id))),
        Some(asked) => {
            let parts: Vec<&str> = asked.split(':').collect();
            let [slice, prefix, name] = parts[..] else {
                return Err(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {asked:?} instead"
                ));
            };
            (if slice.is_empty() { default } else { slice }, unit_name(prefix, name)?)
        }
    };
    let inside = slice_path(slice)?;
    let unit = |name: String, slice: &str, path: String| Unit { of, name, slice: slice.to_owned(), cgroup: path };
    let below = |path: &str| {
        [root.trim_matches('/'), path].iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join("/")
    };
    if name.ends_with(".slice") {
        // Its place is in its name, whatever the config says beside it.
        let path = slice_path(&name)?;
        if path.is_empty() {
            return Err("names the root of the hierarchy; a container needs a unit of its own".to_owned());
        }
        let parent = name.rsplit_once('-').map_or("-.slice".to_owned(), |(parent, _)| format!("{parent}.slice"));
        return Ok(unit(name, &parent, below(&path)));
    }
    let path = below(format!("{inside}/{}", cgroup_name(&name)).trim_start_matches('/'));
    Ok(unit(name, slice, path))
}

fn unit_name(prefix: &str, name: &str) -> Result<String, String> {
    let unit = match (prefix, name) {
        (_, "") => return Err("the name of the scope is empty: expected slice:prefix:name".to_owned()),
        (_, name) if name.ends_with(".slice") => name.to_owned(),
        ("", name) => format!("{name}.scope"),
        (prefix, name) => format!("{prefix}-{name}.scope"),
    };
    check(&unit)?;
    Ok(unit)
}

/// What systemd lets a unit be called.
fn check(unit: &str) -> Result<(), String> {
    if let Some(bad) = unit.chars().find(|c| !(c.is_ascii_alphanumeric() || ":-_.\\".contains(*c))) {
        return Err(format!(
            "{bad:?} cannot be part of a systemd unit's name ({unit:?}); systemd-escape(1) knows what can"
        ));
    }
    if unit.len() > LONGEST {
        return Err(format!("the unit's name {unit:?} is longer than {LONGEST} bytes"));
    }
    Ok(())
}

/// An id as part of a unit's name; an id has few letters that a unit can't have.
fn escape(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    id.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\x{:02x}", u32::from(c)) }).collect()
}

/// `a-b.slice` → `a.slice/a-b.slice`: a dash in the name of a slice is a step down. `-.slice` is the root.
pub fn slice_path(slice: &str) -> Result<String, String> {
    let wrong = || format!("{slice:?} is no name of a slice: expected one like a.slice or a-b.slice");
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty()).ok_or_else(wrong)?;
    if name == "-" {
        return Ok(String::new());
    }
    if name.split('-').any(str::is_empty) {
        return Err(wrong());
    }
    check(slice)?;
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(ends.map(|end| cgroup_name(&format!("{}.slice", &name[..end]))).collect::<Vec<_>>().join("/"))
}

/// A name that could be taken for one of the kernel's files gets a `_` in front.
fn cgroup_name(unit: &str) -> String {
    const CONTROLLERS: [&str; 9] = ["cgroup", "cpu", "cpuacct", "cpuset", "io", "blkio", "memory", "devices", "pids"];
    let first = unit.split('.').next().unwrap_or_default();
    let taken = unit.starts_with(['_', '.']) || CONTROLLERS.contains(&first);
    if taken { format!("_{unit}") } else { unit.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(asked: &str) -> Result<(String, String, String), String> {
        let unit = lower(Some(asked), Instance::System, "/", "id")?;
        Ok((unit.slice, unit.name, unit.cgroup))
    }

    fn words(slice: &str, name: &str, cgroup: &str) -> (String, String, String) {
        (slice.into(), name.into(), cgroup.into())
    }

    #[test]
    fn slice_prefix_and_name() {
        for (asked, expected) in [
            ("system.slice:docker:4f1c", ("system.slice", "docker-4f1c.scope", "system.slice/docker-4f1c.scope")),
            (
                "kubepods-burstable-pod1_2.slice:cri-containerd:ab",
                (
                    "kubepods-burstable-pod1_2.slice",
                    "cri-containerd-ab.scope",
                    "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice/cri-containerd-ab.scope",
                ),
            ),
            (":rt:x", ("system.slice", "rt-x.scope", "system.slice/rt-x.scope")),
            ("machine.slice::x", ("machine.slice", "x.scope", "machine.slice/x.scope")),
            ("-.slice:rt:x", ("-.slice", "rt-x.scope", "rt-x.scope")),
            ("a.slice:rt:b-c.slice", ("b.slice", "b-c.slice", "b.slice/b-c.slice")),
            ("a.slice:rt:b.slice", ("-.slice", "b.slice", "b.slice")),
            ("system.slice::cpu", ("system.slice", "cpu.scope", "system.slice/_cpu.scope")),
        ] {
            let (slice, name, cgroup) = expected;
            assert_eq!(system(asked), Ok(words(slice, name, cgroup)), "{asked}");
        }
    }

    #[test]
    fn without_a_path_the_id_names_it() {
        let unit = lower(None, Instance::System, "/", "web+1").unwrap();
        assert_eq!(unit.name, "rt-web\\x2b1.scope");
        let unit = lower(None, Instance::User, "/user.slice/user-7.slice/user@7.service", "x").unwrap();
        assert_eq!(unit.cgroup, "user.slice/user-7.slice/user@7.service/user.slice/rt-x.scope");
        assert_eq!(unit.slice, "user.slice");
    }

    #[test]
    fn what_systemd_would_not_take_is_named() {
        for (asked, said) in [
            ("/docker/x", "format \"slice:prefix:name\""),
            ("a:b", "format \"slice:prefix:name\""),
            ("a.slice:b:c:d", "format \"slice:prefix:name\""),
            ("a.slice:b:", "empty"),
            ("a:b:c", "no name of a slice"),
            (".slice:b:c", "no name of a slice"),
            ("a--b.slice:b:c", "no name of a slice"),
            ("-a.slice:b:c", "no name of a slice"),
            ("a/b.slice:b:c", "cannot be part"),
            ("a.slice:b:../../c", "cannot be part"),
            ("a.slice:b:c d", "cannot be part"),
            ("a.slice:b:-x.slice", "no name of a slice"),
            ("a.slice:b:-.slice", "root of the hierarchy"),
        ] {
            let complaint = system(asked).unwrap_err();
            assert!(complaint.contains(said), "{asked}: {complaint}");
        }
        assert!(system(&format!("a.slice:b:{}", "x".repeat(300))).unwrap_err().contains("longer"));
    }
}
