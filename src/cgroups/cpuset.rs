//! v1 cpusets start empty, and an empty one cannot be joined: values come down from the nearest ancestor that has some.

use crate::sys;

use super::tree::Tree;

const FILES: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// Fills the ancestors, and `files` of the container's own directory.
pub(super) fn inherit(tree: &Tree, files: &[String]) -> sys::Result<()> {
    let path = tree.place.path.as_str();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    for file in FILES {
        let own = files.iter().any(|f| f == file);
        // The root always has values; nothing to read when we need none of them.
        if !own && parent.is_empty() {
            continue;
        }
        let value = filled(tree, parent, file)?;
        if own {
            tree.write(file, &value)?;
        }
    }
    Ok(())
}

/// The value of `dir`, given one first if it has none.
fn filled(tree: &Tree, dir: &str, file: &str) -> sys::Result<String> {
    let path = if dir.is_empty() { file.to_owned() } else { format!("{dir}/{file}") };
    let value = tree.read_at(&path)?;
    let value = value.trim();
    if !value.is_empty() || dir.is_empty() {
        return Ok(value.to_owned());
    }
    let parent = dir.rsplit_once('/').map_or("", |(parent, _)| parent);
    let value = filled(tree, parent, file)?;
    tree.write_at(&path, &value)?;
    Ok(value)
}
