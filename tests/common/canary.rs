//! The oracle "untouched": a small tree on the host side that no container may reach. It compares name, type, mode,
//! owner, size, times, inode and content; reading a file is not seen (that needs fanotify).

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// The tree and how it looked.
pub struct Canary {
    root: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Plants the tree in a new directory.
    pub fn plant(root: &Path) -> Self {
        for directory in ["", "sub", "dev", "pts"] {
            fs::create_dir_all(root.join(directory)).expect("a directory of the canary");
        }
        for file in ["secret", "sub/file", "ptmx", "core", "fd", "stdin", "null", "console", "dev/null", "pts/0"] {
            fs::write(root.join(file), "untouched\n").expect("a file of the canary");
        }
        fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o640)).expect("chmod");
        symlink("secret", root.join("link")).expect("a link of the canary");
        Self { root: root.to_owned(), before: look(root) }
    }

    /// What has changed, one line each.
    pub fn changes(&self) -> Vec<String> {
        let now = look(&self.root);
        let gone = self.before.keys().filter(|path| !now.contains_key(*path)).map(|path| format!("{path:?} is gone"));
        let other = now.iter().filter_map(|(path, seen)| match self.before.get(path) {
            None => Some(format!("{path:?} is new: {seen}")),
            Some(before) if before != seen => Some(format!("{path:?} was {before}, is {seen}")),
            Some(_) => None,
        });
        gone.chain(other).collect()
    }

    /// Asserts that nothing has changed.
    #[track_caller]
    pub fn untouched(&self) {
        let changes = self.changes();
        assert!(changes.is_empty(), "the canary was touched:\n  {}", changes.join("\n  "));
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn look(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("the canary can be read");
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).expect("the canary can be read").flatten().map(|entry| entry.path()));
        }
        let content = if meta.is_file() {
            fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
        } else {
            fs::read_link(&path).map(|to| to.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let line = format!(
            "mode {:o} owner {}:{} size {} inode {} links {} mtime {}.{:09} ctime {}.{:09} attributes {:?} content {content:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.size(),
            meta.ino(),
            meta.nlink(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.ctime(),
            meta.ctime_nsec(),
            attributes(&path),
        );
        seen.insert(path.strip_prefix(root).expect("below the root").to_owned(), line);
    }
    seen
}

/// The names of the extended attributes.
fn attributes(path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path without zero bytes");
    let mut names = [0u8; 1024];
    // SAFETY: the path ends with a zero byte; the kernel writes at most the length passed, which is the buffer's.
    let length = unsafe { libc::llistxattr(path.as_ptr(), names.as_mut_ptr().cast(), names.len()) };
    String::from_utf8_lossy(&names[..length.max(0) as usize]).replace('\0', " ")
}
