//! The cgroup trees of this machine, as the kernel lists them: the tests run on v1, hybrid and v2 hosts.

use std::fs;
use std::path::{Path, PathBuf};

/// One mounted hierarchy.
#[derive(Clone, Debug)]
pub struct Hierarchy {
    /// Where.
    pub mount: PathBuf,
    /// Whether it is the unified one.
    pub unified: bool,
    /// v1: its controllers; v2: those that are enabled for children of the root.
    pub controllers: Vec<String>,
}

/// All mounted hierarchies.
pub fn hierarchies() -> Vec<Hierarchy> {
    let table = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    table.lines().filter_map(hierarchy).collect()
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    let (kind, options) = (right.next()?, right.nth(1)?);
    let unified = kind == "cgroup2";
    if !unified && kind != "cgroup" {
        return None;
    }
    let controllers = if unified {
        let enabled = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
        enabled.split_whitespace().map(str::to_owned).collect()
    } else {
        options.split(',').filter(|word| *word != "rw").map(str::to_owned).collect()
    };
    Some(Hierarchy { mount, unified, controllers })
}

/// Whether this is a pure v2 host.
pub fn is_v2() -> bool {
    hierarchies().iter().all(|hierarchy| hierarchy.unified)
}

/// The v1 directory of a controller.
pub fn v1(controller: &str) -> Option<PathBuf> {
    let all = hierarchies();
    let found = all.iter().find(|h| !h.unified && h.controllers.iter().any(|name| name == controller));
    found.map(|hierarchy| hierarchy.mount.clone())
}

/// The unified directory, on a host where it has this controller.
pub fn v2(controller: &str) -> Option<PathBuf> {
    let all = hierarchies();
    let found = all.iter().find(|h| h.unified && h.controllers.iter().any(|name| name == controller));
    found.map(|hierarchy| hierarchy.mount.clone())
}

/// Every directory below a cgroup mount whose name has `text`, the deepest first.
pub fn named(text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        walk(&hierarchy.mount, text, false, &mut found);
    }
    found.reverse();
    found
}

fn walk(directory: &Path, text: &str, below: bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let named = below || entry.file_name().to_string_lossy().contains(text);
        if named {
            found.push(entry.path());
        }
        walk(&entry.path(), text, named, found);
    }
}

/// The content of a control file, trimmed; what went wrong, if it cannot be read.
pub fn value(file: &Path) -> String {
    fs::read_to_string(file).map_or_else(|e| format!("{}: {e}", file.display()), |text| text.trim().to_owned())
}
