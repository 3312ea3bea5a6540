//! Opens and reads config.json: the one place of this subject that touches the world.
//!
//! Never follows a symbolic link in the last component, never blocks on a pipe, never reads more than the limit.

use std::fmt;
use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::fcntl::{OFlag, ResolveFlag};

use super::json::MAX_BYTES;
use crate::sys::{self, Call, During, Errno};

/// Why a config could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The kernel said no.
    Kernel(sys::Error),
    /// There is something else than a regular file.
    NotAFile {
        /// Where.
        path: String,
        /// What it is: `a directory`.
        what: &'static str,
    },
    /// It is larger than [`MAX_BYTES`].
    TooLarge {
        /// Where.
        path: String,
        /// How large, as far as it was looked at.
        bytes: u64,
    },
}

impl std::error::Error for ReadError {}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Kernel(error) => error.fmt(f),
            ReadError::NotAFile { path, what } => {
                write!(f, "{path}: expected a regular file, got {what}")
            }
            ReadError::TooLarge { path, bytes } => {
                write!(f, "{path}: expected at most {MAX_BYTES} bytes, got {bytes}")
            }
        }
    }
}

impl From<sys::Error> for ReadError {
    fn from(error: sys::Error) -> Self {
        ReadError::Kernel(error)
    }
}

/// Reads the regular file `name`, which is relative to `dir`.
pub fn read_file(dir: BorrowedFd<'_>, name: &Path) -> Result<Vec<u8>, ReadError> {
    // Not blocking: the open of a named pipe would wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let Some(name) = name.to_str() else {
        return Err(sys::Error::new(Call::Open, Errno::EILSEQ).about(name.to_string_lossy()).into());
    };
    let about = |error: sys::Error| error.about(name);
    let file = match sys::fs::open(dir, name, flags, 0, ResolveFlag::empty()) {
        Err(error) if error.errno == Errno::ELOOP => {
            return Err(ReadError::NotAFile { path: name.to_owned(), what: "a symbolic link" });
        }
        opened => File::from(opened?),
    };
    let metadata = file.metadata().during(Call::Stat).map_err(about)?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile { path: name.to_owned(), what: kind(&metadata.file_type()) });
    }
    // The limit comes before the read, and the read has it too: the file may grow.
    if metadata.len() > MAX_BYTES as u64 {
        return Err(ReadError::TooLarge { path: name.to_owned(), bytes: metadata.len() });
    }
    let bytes = sys::fs::read_regular_fd(&file, MAX_BYTES).map_err(about);
    match bytes {
        Err(error) if error.errno == Errno::EFBIG => {
            Err(ReadError::TooLarge { path: name.to_owned(), bytes: MAX_BYTES as u64 + 1 })
        }
        other => Ok(other?),
    }
}

fn kind(found: &std::fs::FileType) -> &'static str {
    match () {
        () if found.is_dir() => "a directory",
        () if found.is_fifo() => "a named pipe",
        () if found.is_char_device() => "a character device",
        () if found.is_block_device() => "a block device",
        () if found.is_socket() => "a socket",
        () => "something else",
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn read(dir: &Path, name: &str) -> Result<Vec<u8>, String> {
        let dir = File::open(dir).unwrap();
        read_file(dir.as_fd(), Path::new(name)).map_err(|e| e.to_string())
    }

    #[test]
    fn only_regular_files_of_a_fair_size() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("config.json"), b"{}").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        std::os::unix::fs::symlink("config.json", at("link")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        File::create(at("large")).unwrap().set_len(MAX_BYTES as u64 + 1).unwrap();
        File::create(at("largest")).unwrap().set_len(MAX_BYTES as u64).unwrap();

        assert_eq!(read(dir.path(), "config.json").unwrap(), b"{}");
        assert_eq!(read(dir.path(), "largest").unwrap().len(), MAX_BYTES);
        let refused = |name: &str| read(dir.path(), name).unwrap_err();
        assert_eq!(refused("dir"), "dir: expected a regular file, got a directory");
        assert_eq!(refused("link"), "link: expected a regular file, got a symbolic link");
        assert_eq!(refused("pipe"), "pipe: expected a regular file, got a named pipe");
        assert_eq!(refused("large"), "large: expected at most 8388608 bytes, got 8388609");
        assert_eq!(refused("none"), "openat2 none: no such file or directory");
    }
}
