//! What a path is and what can be done with it: the `--stat` of the fingerprint.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use serde_json::{Value, json};

use crate::kernel;

/// Type, mode, owner, device number, content; and whether it can be read and written (without changing a file: a
/// directory is tried with a sub-directory that is removed again).
pub fn look(path: &str) -> Value {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(e) => return json!({"error": kernel::name_of(e.raw_os_error().unwrap_or(0))}),
    };
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_dir() => "dir",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    };
    let (read, first) = readable(path);
    json!({
        "type": kind,
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "uid": meta.uid(), "gid": meta.gid(), "size": meta.size(), "inode": meta.ino(),
        "rdev": [libc::major(meta.rdev()), libc::minor(meta.rdev())],
        "link": fs::read_link(path).ok().map(|to| to.to_string_lossy().into_owned()),
        "entries": fs::read_dir(path).ok().map(|list| {
            let mut names: Vec<_> = list.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names
        }),
        "read": read, "first": first,
        "write": writable(path, kind),
    })
}

fn readable(path: &str) -> (String, Option<String>) {
    let mut file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Ok(file) => file,
        Err(e) => return (kernel::name_of(e.raw_os_error().unwrap_or(0)), None),
    };
    let mut buffer = [0u8; 64];
    match file.read(&mut buffer) {
        Ok(length) => ("ok".into(), Some(String::from_utf8_lossy(&buffer[..length]).into_owned())),
        Err(e) => (format!("read {}", kernel::name_of(e.raw_os_error().unwrap_or(0))), None),
    }
}

fn writable(path: &str, kind: &str) -> String {
    let answer = if kind == "dir" {
        let trial = format!("{path}/.probe-{}", std::process::id());
        fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial))
    } else {
        OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).map(drop)
    };
    answer.map_or_else(|e| kernel::name_of(e.raw_os_error().unwrap_or(0)), |()| "ok".into())
}
