//! Finds an executable as a shell would, inside the container, and says precisely why it can't be run.
//! The texts are runc's: docker, containerd and podman take exit codes 126 and 127 from them.

use std::os::fd::OwnedFd;

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;

use crate::sys::{self, Call, Errno, Error, Result};

/// How deep scripts may name each other as interpreters (the kernel's own limit is about that).
const INTERPRETERS: usize = 5;

/// The path that execve takes for `name`, searched for in `path` when it has no slash.
pub fn look_up(name: &str, path: &str) -> Result<String> {
    if name.contains('/') {
        return check(name).map(|()| name.to_owned()).map_err(|e| said(name, &e));
    }
    let mut denied = None;
    for dir in path.split(':') {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = format!("{}/{name}", dir.trim_end_matches('/'));
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(e) if e.errno == Errno::EACCES => denied = Some(e),
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::EISDIR) && e.note.is_empty() => {}
            Err(e) => return Err(said(&candidate, &e)),
        }
    }
    match denied {
        Some(e) => Err(said(name, &e)),
        None => Err(Error::other(Call::Execve, format!("exec: \"{name}\": executable file not found in $PATH"))),
    }
}

/// runc's words for it.
fn said(name: &str, error: &Error) -> Error {
    let words = sys::words(error.errno);
    let text = match error.errno {
        Errno::ENOENT if error.note.is_empty() => format!("exec: \"{name}\": stat {name}: {words}"),
        _ if error.note.is_empty() => format!("exec: \"{name}\": {words}"),
        _ => format!("exec: \"{name}\": {}: {words}", error.note),
    };
    Error::other(Call::Execve, text)
}

/// Whether the file can be executed by who we are now. A note tells of the interpreter that can't.
fn check(path: &str) -> Result<()> {
    let file = regular(path)?;
    // Asks with our effective ids, as execve will.
    nix::unistd::faccessat(sys::fs::cwd(), path, nix::unistd::AccessFlags::X_OK, nix::fcntl::AtFlags::AT_EACCESS)
        .map_err(|errno| Error::new(Call::Execve, errno))?;
    drop(file);
    interpreters(path)
}

/// O_PATH of a regular file; nothing is opened that could block or act.
fn regular(path: &str) -> Result<OwnedFd> {
    let resolve = nix::fcntl::ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let file = sys::fs::open(sys::fs::cwd(), path, OFlag::O_PATH, 0, resolve)
        .map_err(|e| Error::new(Call::Execve, e.errno))?;
    match sys::fs::kind(&sys::fs::stat(&file)?) {
        SFlag::S_IFREG => Ok(file),
        SFlag::S_IFDIR => Err(Error::new(Call::Execve, Errno::EISDIR)),
        _ => Err(Error::new(Call::Execve, Errno::EACCES)),
    }
}

/// Follows `#!` and the ELF interpreter: execve's "no such file or directory" for a missing one names the wrong file.
/// A file that we may execute but not read can't be looked into, and need not be.
fn interpreters(path: &str) -> Result<()> {
    let mut current = path.to_owned();
    for _ in 0..INTERPRETERS {
        let Some(next) = interpreter(&current) else { return Ok(()) };
        match regular(&next) {
            Ok(_) => current = next,
            Err(e) => return Err(e.about(format!("interpreter {next} of {current}"))),
        }
    }
    Ok(())
}

/// The interpreter that a file names.
fn interpreter(path: &str) -> Option<String> {
    let resolve = nix::fcntl::ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = sys::fs::open(sys::fs::cwd(), path, flags, 0, resolve).ok()?;
    let mut head = [0u8; 4096];
    let n = nix::unistd::read(&file, &mut head).ok()?;
    let head = &head[..n];
    if let Some(rest) = head.strip_prefix(b"#!") {
        let line = rest.split(|b| *b == b'\n').next()?;
        let text = String::from_utf8_lossy(line);
        return text.split_whitespace().next().map(str::to_owned);
    }
    elf_interpreter(head)
}

/// PT_INTERP of a 64-bit little-endian ELF file whose headers are in `head`.
fn elf_interpreter(head: &[u8]) -> Option<String> {
    let half = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u64::from_le_bytes(head.get(at..at + 8)?.try_into().ok()?));
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (start, size, count) = (usize::try_from(word(32)?).ok()?, usize::from(half(54)?), usize::from(half(56)?));
    for index in 0..count.min(64) {
        let at = start.checked_add(index * size)?;
        if head.get(at..at.checked_add(4)?)? == 3u32.to_le_bytes() {
            let from = usize::try_from(word(at + 8)?).ok()?;
            let to = from.checked_add(usize::try_from(word(at + 32)?).ok()?)?;
            let name = head.get(from..to)?;
            return Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn said_of(name: &str, path: &str) -> String {
        look_up(name, path).unwrap_err().note
    }

    #[test]
    fn callers_match_these_words() {
        assert_eq!(said_of("nope", "/bin"), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(said_of("/nope", ""), "exec: \"/nope\": stat /nope: no such file or directory");
        assert_eq!(said_of("/etc/passwd", ""), "exec: \"/etc/passwd\": permission denied");
        assert_eq!(said_of("/etc", ""), "exec: \"/etc\": is a directory");
        assert_eq!(said_of("/etc/passwd/x", ""), "exec: \"/etc/passwd/x\": not a directory");
        assert_eq!(look_up("sh", "/nowhere:/bin").unwrap(), "/bin/sh");
    }

    #[test]
    fn a_missing_interpreter_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("script");
        fs::write(&script, "#!/no/such/shell -e\n").unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let note = said_of(script.to_str().unwrap(), "");
        assert!(note.contains("interpreter /no/such/shell of"), "{note}");
        assert!(note.ends_with("no such file or directory"), "{note}");
    }

    #[test]
    fn magic_links_are_not_followed() {
        assert_eq!(said_of("/proc/self/exe", ""), "exec: \"/proc/self/exe\": too many levels of symbolic links");
    }
}
