//! What is left, and whether a payload got what it should.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The worker's surroundings before it begins. It has namespaces of its own for mounts and network devices, so nobody else
/// changes what is listed.
pub struct Before {
    base: PathBuf,
    id: String,
    mounts: String,
    files: BTreeSet<PathBuf>,
    devices: BTreeSet<String>,
    trees: Vec<PathBuf>,
}

impl Before {
    /// Looks.
    pub fn look(base: &Path, id: &str) -> Before {
        let mut before = Before {
            base: base.to_owned(),
            id: id.to_owned(),
            mounts: mounts(),
            files: BTreeSet::new(),
            devices: devices(),
            trees: trees(),
        };
        before.files = before.files();
        before
    }

    /// Everything that a container has left, apart from processes (those are children of the worker).
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self.cgroups().iter().map(|path| format!("cgroup {}", path.display())).collect();
        // What crun hides paths behind is of all its containers, and stays.
        let state = entries(&self.base.join("state")).into_iter().filter(|path| !path.ends_with(".empty-directory"));
        left.extend(state.map(|path| format!("state {}", path.display())));
        left.extend(self.files().difference(&self.files).map(|path| format!("file {}", path.display())));
        let now = mounts();
        left.extend(now.lines().filter(|line| !self.mounts.contains(line)).map(|line| format!("mount {line}")));
        left.extend(devices().difference(&self.devices).map(|name| format!("network device {name}")));
        left
    }

    /// The container's cgroups that exist.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        self.trees.iter().map(|tree| tree.join(&self.id)).filter(|path| fs::symlink_metadata(path).is_ok()).collect()
    }

    /// The processes in the container, as its cgroups list them.
    pub fn inside(&self) -> BTreeSet<i32> {
        let lists =
            self.cgroups().into_iter().map(|path| fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default());
        lists.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>()).collect()
    }

    /// Whether one of the container's freezers is shut.
    pub fn frozen(&self) -> bool {
        self.cgroups().iter().any(|path| {
            let read = |name: &str| fs::read_to_string(path.join(name)).unwrap_or_default();
            read("freezer.state").trim().starts_with("FR") || read("cgroup.freeze").trim() == "1"
        })
    }

    /// The value of a control file, wherever it is.
    pub fn control(&self, name: &str) -> Option<String> {
        let values = self.cgroups().into_iter().filter_map(|path| fs::read_to_string(path.join(name)).ok());
        values.map(|text| text.trim().to_owned()).next()
    }

    /// Takes away by force what is left, so that the next trial begins clean.
    pub fn clean(&self) {
        // Policy: whatever can't be taken away will be seen again, and said.
        for cgroup in self.cgroups() {
            let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
            let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
        }
        for pid in crate::sys::descendants() {
            // SAFETY: kill takes numbers; a descendant's number is its own until we have waited for it.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        // A mount that stays would be held against every trial that follows.
        for target in mounts().lines().filter(|line| !self.mounts.contains(*line)).filter_map(|l| l.split(' ').nth(4)) {
            let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
        }
        for entry in entries(&self.base.join("state")) {
            let _ = fs::remove_dir_all(entry);
        }
        for file in self.files().difference(&self.files) {
            let _ = fs::remove_file(file);
        }
        for _ in 0..200 {
            self.cgroups().iter().for_each(|path| remove_tree(path));
            if self.cgroups().is_empty() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        ["", "tell", "wait", "rootfs", "volume"].iter().flat_map(|name| entries(&self.base.join(name))).collect()
    }
}

fn remove_tree(cgroup: &Path) {
    for entry in entries(cgroup).iter().filter(|path| path.is_dir()) {
        remove_tree(entry);
    }
    // It may be busy for a moment yet.
    let _ = fs::remove_dir(cgroup);
}

/// The network devices of our own namespace.
fn devices() -> BTreeSet<String> {
    let table = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    table.lines().filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Where cgroup hierarchies are mounted.
fn trees() -> Vec<PathBuf> {
    let table = mounts();
    let cgroups = table.lines().filter(|line| line.contains(" - cgroup"));
    cgroups.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).filter(|path| path.is_dir()).collect()
}

fn entries(directory: &Path) -> BTreeSet<PathBuf> {
    let list = fs::read_dir(directory).into_iter().flatten().flatten();
    list.map(|entry| entry.path()).collect()
}

/// What a payload said of itself, less what is another number each time.
pub fn fingerprint(text: &str) -> Result<Value, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|e| format!("{e}: {:.200}", text))?;
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap_or_default().display().to_string();
    if let Some(namespaces) = value["ns"].as_object_mut() {
        for (name, inode) in namespaces {
            let ours = own(name).contains(&inode.to_string());
            *inode = if ours { "ours" } else { "its own" }.into();
        }
    }
    for mount in value["mounts"].as_array_mut().into_iter().flatten() {
        for name in ["id", "parent", "dev", "optional"] {
            mount[name] = Value::Null;
        }
    }
    // A process of `exec` has another pid each time.
    let pid = value["pid"].clone();
    for name in ["sid", "pgid"] {
        value[name] = if value[name] == pid { "its own".into() } else { "another's".into() };
    }
    for name in ["clocks", "keyring", "pid"] {
        value[name] = Value::Null;
    }
    for entry in value["fds"].as_array_mut().into_iter().flatten() {
        // Output files are removed while somebody writes to them.
        let link = entry["link"].as_str().unwrap_or_default().split(' ').next().unwrap_or_default().to_owned();
        entry["link"] = if link.starts_with('/') && link.contains("/output/") { "output".into() } else { link.into() };
    }
    Ok(value)
}

/// Whether two fingerprints differ in mounts at such targets only, and what is there now keeps the flags of what was.
pub fn other_mounts_only(want: &Value, got: &Value, may: &dyn Fn(&str) -> bool) -> bool {
    let differs: Vec<String> = difference(want, got);
    let list = |value: &Value| value["mounts"].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(want), list(got));
    let target = |mount: &Value| mount["target"].as_str().unwrap_or_default().to_owned();
    let fixed = |list: &[Value]| list.iter().filter(|mount| !may(&target(mount))).cloned().collect::<Vec<_>>();
    let flags = |mount: &Value| -> BTreeSet<String> {
        let words = mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str);
        words.filter(|word| matches!(*word, "ro" | "nosuid" | "nodev" | "noexec")).map(str::to_owned).collect()
    };
    let kept = before.iter().filter(|mount| may(&target(mount))).all(|was| {
        let below = format!("{}/", target(was));
        let mut here = after.iter().filter(|now| target(now) == target(was) || target(now).starts_with(&below));
        here.all(|now| flags(now).is_superset(&flags(was)))
    });
    matches!(&differs[..], [one] if one.starts_with("mounts: ")) && fixed(&before) == fixed(&after) && kept
}

/// Where two fingerprints differ.
pub fn difference(want: &Value, got: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (want, got) = (want.as_object().unwrap_or(&empty), got.as_object().unwrap_or(&empty));
    let names: BTreeSet<_> = want.keys().chain(got.keys()).collect();
    let differs = names.into_iter().filter(|name| want.get(*name) != got.get(*name));
    differs.map(|name| format!("{name}: {:?} instead of {:?}", got.get(name), want.get(name))).collect()
}
