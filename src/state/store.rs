//! The directory of all containers: taking an id, its lock, finding and forgetting a container.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, ResolveFlag};

use super::{Header, LIMIT, NOTIFY_DIR, NOTIFY_SOCKET, Record, START_SOCKET, YOUTH, append};
use crate::sys::{self, Call, Errno, Error, Result};

/// The directory that holds all containers of one `--root`.
pub struct Store {
    pub(super) directory: OwnedFd,
    path: String,
}

impl From<Store> for OwnedFd {
    fn from(store: Store) -> Self {
        store.directory
    }
}

impl Store {
    /// Opens the root directory; `make`: it is made (0700) where missing. It must be ours alone to write. `sticky`: it is
    /// marked as one whose old files must not be cleaned away, as the basedir specification has it for $XDG_RUNTIME_DIR.
    pub fn open(path: &str, make: bool, sticky: bool) -> Result<Store> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let directory = match sys::fs::open_host(path, flags) {
            Err(e) if e.errno == Errno::ENOENT && make => {
                make_all(path)?;
                let made = sys::fs::open_host(path, flags)?;
                if sticky {
                    sys::fs::chmod(&made, 0o1700)?;
                }
                made
            }
            other => other?,
        };
        let stat = sys::fs::stat(&directory)?;
        if make && (stat.st_uid != nix::unistd::geteuid().as_raw() || stat.st_mode & 0o022 != 0) {
            let note = format!("{path} must belong to the caller and be writable for nobody else");
            return Err(Error::new(Call::Open, Errno::EPERM).about(note));
        }
        Ok(Store { directory, path: path.to_owned() })
    }

    /// Takes the id: makes its directory, locks it, writes the header. EEXIST: somebody has it.
    pub fn reserve(&self, mut header: Header, config: Vec<u8>) -> Result<Record> {
        sys::process::survive_full_files();
        header.config_length = config.len();
        header.digest_length = header.digest.len();
        sys::fs::mkdir(&self.directory, &header.id, 0o700)?;
        let entered = self.enter(&header.id).and_then(|directory| {
            sys::fs::lock(&directory, true)?;
            Ok(directory)
        });
        let directory = entered.inspect_err(|_| {
            // It is empty: with it the container is gone.
            let _ = sys::fs::unlink(&self.directory, &header.id, true);
        })?;
        let mut bytes = serde_json::to_vec(&header).map_err(|e| Error::other(Call::Write, e.to_string()))?;
        bytes.push(b'\n');
        for part in [&config, &header.digest] {
            bytes.extend(part);
            bytes.push(b'\n');
        }
        let flags = OFlag::O_CREAT | OFlag::O_EXCL;
        let file = append(&directory, flags).and_then(|file| sys::fs::write_all(&file, &bytes).map(|()| file));
        let mut record = Record { directory: Some(directory), file: None, header, config, events: Vec::new() };
        match file {
            Ok(file) => {
                record.file = Some(file);
                Ok(record)
            }
            Err(e) => {
                // Nothing else was done yet: with its directory the container is gone.
                let _ = record.directory().and_then(|directory| self.remove(&record.header.id, directory));
                Err(e.at(&self.path))
            }
        }
    }

    pub(super) fn enter(&self, id: &str) -> Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        sys::fs::open(&self.directory, id, flags, 0, ResolveFlag::RESOLVE_BENEATH)
    }

    /// Reads a container without its lock, and keeps nothing open: for looking only. ENOENT: there is none.
    pub fn read(&self, id: &str) -> Result<Record> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
        let path = format!("{id}/record");
        let bytes = sys::fs::open(&self.directory, &path, flags, 0, resolve)
            .and_then(|file| sys::fs::read_regular_fd(file, LIMIT).map_err(|e| e.about(&path)));
        match bytes.and_then(|bytes| Record::of(&bytes)) {
            // No container, no record in it, or one that is not whole.
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::EBADMSG) => self.read_young(id),
            other => other,
        }
    }

    /// A record that is not whole may be one that is just being written: as long as its maker is at work, the container is
    /// not there yet.
    fn read_young(&self, id: &str) -> Result<Record> {
        let mut pause = std::time::Duration::from_millis(1);
        loop {
            let directory = self.enter(id)?;
            if let Err(e) = sys::fs::lock(&directory, false) {
                // Its maker may have written it while we asked.
                let busy = Error::new(Call::Open, Errno::ENOENT).about(id);
                return Record::read(self.enter(id)?).map_err(|_| if e.errno == Errno::EAGAIN { busy } else { e });
            }
            let begun = sys::fs::read(&directory, "record", LIMIT).is_ok_and(|bytes| !bytes.is_empty());
            match Record::read(directory) {
                // The lock is free, and nothing is written: its maker, if there is one, has only made the directory, and on a
                // busy machine may take a while to go on.
                Err(_) if !begun && pause < YOUTH => std::thread::sleep(pause),
                answer => return answer,
            }
            pause *= 2;
        }
    }

    /// Reads a container under its lock. ENOENT: there is none (any more).
    pub fn lock(&self, id: &str) -> Result<Record> {
        let directory = self.lock_directory(id)?;
        Record::read(directory)
    }

    /// As [`Store::lock`], if the lock can be had in that time.
    pub fn lock_within(&self, id: &str, limit: Duration) -> Result<Option<Record>> {
        let directory = self.enter(id)?;
        let end = Instant::now() + limit;
        loop {
            match sys::fs::lock(&directory, false) {
                Ok(()) => {
                    still_there(&directory, id)?;
                    return Record::read(directory).map(Some);
                }
                Err(e) if e.errno != Errno::EAGAIN => return Err(e),
                Err(_) if Instant::now() >= end => return Ok(None),
                Err(_) => std::thread::sleep(Duration::from_millis(3)),
            }
        }
    }

    /// Whether a container that we know is there still, and no other of its name. Not to be able to tell is a yes.
    pub fn still_has(&self, known: &Record) -> bool {
        match self.read(&known.header.id) {
            Ok(record) => record.init() == known.init(),
            Err(e) => e.errno != Errno::ENOENT,
        }
    }

    /// Reads a container under a lock that it shares with others who only go in: nobody deletes or pauses it meanwhile.
    pub fn share(&self, id: &str) -> Result<Record> {
        let directory = self.enter(id)?;
        sys::fs::share(&directory)?;
        still_there(&directory, id)?;
        Record::read(directory)
    }

    /// A container's directory under its lock, whatever its record says.
    pub fn lock_directory(&self, id: &str) -> Result<OwnedFd> {
        let directory = self.enter(id)?;
        sys::fs::lock(&directory, true)?;
        still_there(&directory, id)?;
        Ok(directory)
    }

    /// Forgets a container: its files, then its directory. Strange names in it stay, and are an error.
    pub fn remove(&self, id: &str, directory: &OwnedFd) -> Result<()> {
        let forget = |name: &str, is_dir| match sys::fs::unlink(directory, name, is_dir) {
            Err(e) if e.errno != Errno::ENOENT => Err(e.at(&self.path)),
            _ => Ok(()),
        };
        forget(START_SOCKET, false)?;
        if forget(NOTIFY_DIR, true).is_err() {
            forget(&format!("{NOTIFY_DIR}/{NOTIFY_SOCKET}"), false)?;
            forget(NOTIFY_DIR, true)?;
        }
        // The record last: a crash in between leaves a container that can still be deleted.
        forget("record", false)?;
        sys::fs::unlink(&self.directory, id, true).map_err(|e| e.at(&self.path))
    }

    /// The ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let mut ids = sys::fs::names(&self.directory)?;
        ids.retain(|id| !id.starts_with('.'));
        ids.sort();
        Ok(ids)
    }
}

/// Whoever had the lock before may have deleted the container.
fn still_there(directory: &OwnedFd, id: &str) -> Result<()> {
    match sys::fs::stat(directory)?.st_nlink {
        0 => Err(Error::new(Call::Open, Errno::ENOENT).about(id)),
        _ => Ok(()),
    }
}

/// mkdir -p, 0700.
fn make_all(path: &str) -> Result<()> {
    let mut made = String::new();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        made = if made.is_empty() && !path.starts_with('/') { part.to_owned() } else { format!("{made}/{part}") };
        match sys::fs::mkdir(sys::fs::cwd(), &made, 0o700) {
            Err(e) if e.errno != Errno::EEXIST => return Err(e),
            _ => {}
        }
    }
    Ok(())
}
