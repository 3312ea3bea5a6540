//! What is on disk about a container: one directory, one record, one lock. Status is computed, never stored.
//!
//! `<root>/<id>/record` is written before anything else is done (so that `delete --force` knows what to look for after
//! a crash at any point) and then only appended to:
//!
//! ```text
//! {"id":…,"config_length":N,…}\n      the header
//! <the N bytes of config.json>\n       as they were parsed: later edits of the bundle have no effect
//! <the digest>\n                      what `exec` needs of it, if there is one
//! {"init":{"pid":…}}\n                events, one line each: init, created, started
//! ```
//! A line without its newline was never finished and does not count. The lock is a flock on the directory itself.

mod init;
mod raw;
mod store;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, ResolveFlag};
use serde::{Deserialize, Serialize};

use crate::sys::{self, Call, Errno, Error, Result};

pub use init::{Init, boot_id, ending, field, identify};
pub use raw::Raw;
pub use store::Store;

/// The largest record that is read.
const LIMIT: usize = 64 << 20;

/// How long a directory without a record may be one whose maker is about to write it.
const YOUTH: std::time::Duration = std::time::Duration::from_secs(1);

/// The name of the socket on which a created init waits for `start`.
pub const START_SOCKET: &str = "start";

/// The directory that the workload sees, and the name of the socket in it that it reports to.
pub const NOTIFY_DIR: &str = "notify";
/// See [`NOTIFY_DIR`].
pub const NOTIFY_SOCKET: &str = "notify.sock";

/// What is known when a container is reserved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: String,
    /// Absolute path of the rootfs.
    pub rootfs: String,
    /// When, RFC 3339.
    pub created: String,
    /// Who: a uid.
    pub owner: u32,
    /// This boot: pids of another one mean nothing.
    pub boot: String,
    /// `ociVersion` of the config.
    pub oci_version: String,
    /// The config's annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where its cgroups are; the cgroups subject reads it.
    pub cgroup: Raw,
    /// Bytes of config.json that follow.
    pub config_length: usize,
    /// Bytes of the digest that follow it.
    #[serde(default)]
    pub digest_length: usize,
    /// What later verbs ask of the config.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ahead: Option<Ahead>,
    /// What `exec` needs of the config, as the plan wrote it; only it reads this.
    #[serde(skip)]
    pub digest: Vec<u8>,
}

/// What verbs that come later ask of the config, answered while it was at hand: most need not read it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// There is something to be started.
    pub process: bool,
    /// The container has a pid namespace of its own: with its init all end.
    pub own_pids: bool,
    /// There are poststart hooks.
    pub poststart: bool,
    /// There are poststop hooks.
    pub poststop: bool,
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// Its cgroups are there; some ancestors had to be made.
    Cgroup(Raw),
    /// The resctrl groups that are made for it.
    Rdt(Raw),
    /// Init was born.
    Init(Init),
    /// `create` succeeded.
    Created,
    /// `start` was let through.
    Started,
    /// `update` set these resources, over those of the config and of earlier updates.
    Updated(serde_json::Value),
}

/// The state as the spec has it: what hooks read, and `rt state` prints with more beside it.
#[derive(Serialize)]
struct OciState<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    id: &'a str,
    status: Status,
    #[serde(skip_serializing_if = "is_zero")]
    pid: i32,
    bundle: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(pid: &i32) -> bool {
    *pid == 0
}

impl Header {
    /// The state that a hook reads, with init's pid as the hook sees it (0: there is none).
    pub fn for_hooks(&self, status: Status, pid: i32) -> String {
        let (id, bundle, annotations) = (&self.id, &self.bundle, &self.annotations);
        let state = OciState { oci_version: &self.oci_version, id, status, pid, bundle, annotations };
        serde_json::to_string(&state).unwrap_or_default()
    }
}

/// A status as the spec names it, and `paused`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being created.
    Creating,
    /// Waits for `start`.
    Created,
    /// The workload runs.
    Running,
    /// Frozen.
    Paused,
    /// Init is gone.
    Stopped,
}

impl Status {
    /// The word.
    pub fn name(self) -> &'static str {
        ["creating", "created", "running", "paused", "stopped"][self as usize]
    }
}

/// One container's directory, with what its record says.
pub struct Record {
    directory: Option<OwnedFd>,
    /// The file, open to be appended to, while it is being made.
    file: Option<OwnedFd>,
    /// The header.
    pub header: Header,
    /// config.json as it was parsed.
    pub config: Vec<u8>,
    /// What happened so far.
    pub events: Vec<Event>,
}

fn damaged() -> Error {
    Error::new(Call::Read, Errno::EBADMSG).about("record is damaged; delete --force removes it")
}

/// Opens a record to append to it.
fn append(directory: &OwnedFd, more: OFlag) -> Result<OwnedFd> {
    let mode = if more.contains(OFlag::O_CREAT) { 0o600 } else { 0 };
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | more;
    sys::fs::open(directory, "record", flags, mode, ResolveFlag::empty())
}

impl Record {
    fn read(directory: OwnedFd) -> Result<Record> {
        let bytes = match sys::fs::read_regular(&directory, "record", LIMIT) {
            // A directory without a record: its maker was ended in between.
            Err(e) if e.errno == Errno::ENOENT => return Err(damaged()),
            other => other?,
        };
        Ok(Record { directory: Some(directory), ..Record::of(&bytes)? })
    }

    /// What these bytes say, without a directory.
    fn of(bytes: &[u8]) -> Result<Record> {
        let (header, config, events) = parse(bytes).ok_or_else(damaged)?;
        Ok(Record { directory: None, file: None, header, config, events })
    }

    /// Appends an event: one write.
    pub fn note(&mut self, event: Event) -> Result<()> {
        self.note_all(vec![event])
    }

    /// Appends events that come together: one write.
    pub fn note_all(&mut self, events: Vec<Event>) -> Result<()> {
        let mut lines = Vec::new();
        for event in &events {
            serde_json::to_writer(&mut lines, event).map_err(|e| Error::other(Call::Write, e.to_string()))?;
            lines.push(b'\n');
        }
        let file = match self.file.take() {
            Some(file) => file,
            None => append(self.directory()?, OFlag::empty())?,
        };
        sys::fs::write_all(&file, &lines).map_err(|e| e.at("record"))?;
        self.file = Some(file);
        self.events.extend(events);
        Ok(())
    }

    /// The directory, locked if the record was read under its lock.
    pub fn directory(&self) -> Result<&OwnedFd> {
        self.directory.as_ref().ok_or_else(|| Error::new(Call::Open, Errno::EBADF).about("record"))
    }

    /// Makes the directory for the socket that the workload reports to; whoever is in the container may look into it.
    pub fn make_notify_dir(&self) -> Result<()> {
        sys::fs::mkdir(self.directory()?, NOTIFY_DIR, 0o755)
    }

    /// That directory, if the container has one.
    pub fn notify_dir(&self) -> Result<Option<OwnedFd>> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        match sys::fs::open(self.directory()?, NOTIFY_DIR, flags, 0, ResolveFlag::RESOLVE_BENEATH) {
            Err(e) if e.errno == Errno::ENOENT => Ok(None),
            other => other.map(Some),
        }
    }

    /// Closes the file: whoever cleans up may have no other descriptor to spare.
    pub fn shut(&mut self) {
        self.file = None;
    }

    /// Lets go of the directory and its lock.
    pub fn let_go(&mut self) {
        sys::fs::close_all(self.give_up());
    }

    /// What is open of it, the lock among it: a child has got a copy of that.
    pub fn give_up(&mut self) -> impl Iterator<Item = OwnedFd> {
        self.directory.take().into_iter().chain(self.file.take())
    }

    /// Where the container's cgroups are, as far as it is known.
    pub fn cgroup(&self) -> &Raw {
        let later = self.events.iter().rev().find_map(|e| if let Event::Cgroup(c) = e { Some(c) } else { None });
        later.unwrap_or(&self.header.cgroup)
    }

    /// The resctrl groups that were made for the container, if any; the subject of RDT reads it.
    pub fn rdt(&self) -> Option<&Raw> {
        self.events.iter().rev().find_map(|e| if let Event::Rdt(groups) = e { Some(groups) } else { None })
    }

    /// What `update` has set, in that order.
    pub fn updates(&self) -> Vec<&serde_json::Value> {
        self.events.iter().filter_map(|e| if let Event::Updated(asked) = e { Some(asked) } else { None }).collect()
    }

    /// Init as it was recorded last: in a restore CRIU stands in its place for a while.
    pub fn init(&self) -> Option<Init> {
        self.events.iter().rev().find_map(|e| if let Event::Init(init) = e { Some(*init) } else { None })
    }

    /// A descriptor of init, if it is alive and still the one that was recorded. Not to be able to tell is an error: who
    /// is taken for dead gets deleted.
    pub fn alive(&self) -> Result<Option<OwnedFd>> {
        let Some(init) = self.init() else { return Ok(None) };
        let pidfd = match sys::process::pidfd(init.pid) {
            // EINVAL: no pid that a process can have; the record was damaged from outside.
            Err(e) if matches!(e.errno, Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            other => other?,
        };
        // First the descriptor, then the check: what it refers to can't change any more.
        if sys::process::wait_readable(&pidfd, Some(std::time::Duration::ZERO))? || boot_id()? != self.header.boot {
            return Ok(None);
        }
        match init.is_behind(&pidfd) {
            Ok(same) => Ok(same.then_some(pidfd)),
            // It has ended, and was waited for, since we asked.
            Err(e) if matches!(e.errno, Errno::ENOENT | Errno::ESRCH) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The status, from what happened and what lives; `paused` is for who can ask the cgroup.
    pub fn status(&self) -> Result<Status> {
        Ok(if self.init().is_some() && self.alive()?.is_none() {
            Status::Stopped
        } else if self.events.contains(&Event::Started) {
            Status::Running
        } else if self.events.contains(&Event::Created) {
            Status::Created
        } else {
            Status::Creating
        })
    }
}

/// Reads a record's bytes. `None`: the header or the config is not whole.
pub fn parse(bytes: &[u8]) -> Option<(Header, Vec<u8>, Vec<Event>)> {
    let end = bytes.iter().position(|b| *b == b'\n')?;
    let mut header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    let rest = &bytes[end + 1..];
    let (config, rest) = rest.split_at_checked(header.config_length)?;
    let (digest, rest) = rest.strip_prefix(b"\n")?.split_at_checked(header.digest_length)?;
    header.digest = digest.to_vec();
    let events = rest.strip_prefix(b"\n")?;
    let whole = events.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let events = events[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let events = events.map(serde_json::from_slice).collect::<std::result::Result<_, _>>().ok()?;
    Some((header, config.to_vec(), events))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("{}/a/b", dir.path().display()), true, false).unwrap();
        (dir, store)
    }

    fn header(id: &str) -> Header {
        Header { id: id.into(), bundle: "/b".into(), boot: boot_id().unwrap().to_owned(), ..Header::default() }
    }

    #[test]
    fn an_id_is_taken_once() {
        let (_dir, store) = store();
        let record = store.reserve(header("x"), b"{}\n".to_vec()).unwrap();
        assert_eq!(store.reserve(header("x"), Vec::new()).err().unwrap().errno, Errno::EEXIST);
        store.remove("x", record.directory().unwrap()).unwrap();
        assert_eq!(store.read("x").err().unwrap().errno, Errno::ENOENT);
        assert!(store.ids().unwrap().is_empty());
    }

    #[test]
    fn status_follows_events_and_life() {
        let (_dir, store) = store();
        let mut record = store.reserve(header("x"), b"{\"a\":\n1}".to_vec()).unwrap();
        assert_eq!(record.status().unwrap(), Status::Creating);
        let me = std::process::id() as i32;
        record.note(Event::Init(identify(me, sys::process::pidfd(me).unwrap()).unwrap())).unwrap();
        record.note(Event::Created).unwrap();
        let read = store.read("x").unwrap();
        assert_eq!((read.status().unwrap(), read.config), (Status::Created, b"{\"a\":\n1}".to_vec()));
        record.note(Event::Started).unwrap();
        assert_eq!(store.read("x").unwrap().status().unwrap(), Status::Running);
    }

    #[test]
    fn a_stranger_with_the_same_pid_is_not_init() {
        let (_dir, store) = store();
        let mut record = store.reserve(header("x"), Vec::new()).unwrap();
        let me = std::process::id() as i32;
        let mut init = identify(me, sys::process::pidfd(me).unwrap()).unwrap();
        init.start_time += 1;
        init.inode += 1;
        record.note(Event::Init(init)).unwrap();
        assert_eq!(record.status().unwrap(), Status::Stopped);
    }

    #[test]
    fn a_record_that_is_being_written_is_not_there_yet() {
        let (_dir, store) = store();
        sys::fs::mkdir(&store.directory, "x", 0o700).unwrap();
        let maker = store.enter("x").unwrap();
        sys::fs::lock(&maker, true).unwrap();
        assert_eq!(store.read("x").err().unwrap().errno, Errno::ENOENT);
        drop(maker);
        assert_eq!(store.read("x").err().unwrap().errno, Errno::EBADMSG, "its maker is gone");
    }

    /// Who only looks asks for no lock: a record is there whole, with each line that counts whole, or it is not there.
    #[test]
    #[allow(clippy::disallowed_methods)] // the lookers are threads of the test
    fn who_looks_without_the_lock_never_sees_half_a_record() {
        let (dir, store) = store();
        let path = format!("{}/a/b", dir.path().display());
        let config = vec![b'x'; 100_000];
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let look = || {
                let (store, mut seen) = (Store::open(&path, false, false).unwrap(), [0; 3]);
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    match store.read("x") {
                        Ok(record) => {
                            assert_eq!(record.config.len(), 100_000);
                            seen[record.events.len()] += 1;
                        }
                        Err(e) => assert_eq!(e.errno, Errno::ENOENT, "{e}"),
                    }
                }
                seen
            };
            let lookers = [scope.spawn(look), scope.spawn(look)];
            for _ in 0..300 {
                let mut record = store.reserve(header("x"), config.clone()).unwrap();
                record.note(Event::Created).unwrap();
                record.note(Event::Updated(serde_json::Value::String("y".repeat(10_000)))).unwrap();
                std::thread::yield_now();
                store.remove("x", record.directory().unwrap()).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            let seen = lookers.map(|looker| looker.join().unwrap());
            assert!(seen.iter().flatten().sum::<u32>() > 0, "nobody saw anything: {seen:?}");
        });
    }

    #[test]
    fn every_truncation_is_either_a_valid_prefix_or_refused() {
        let header = Header { config_length: 5, digest_length: 3, ..header("x") };
        let mut bytes = serde_json::to_vec(&header).unwrap();
        let head = bytes.len() + 1 + 5 + 1 + 3 + 1;
        bytes.extend(b"\n{...}\nd\ng\n\"created\"\n\"started\"\n");
        for cut in 0..bytes.len() {
            match parse(&bytes[..cut]) {
                None => assert!(cut < head, "{cut}"),
                Some((_, _, events)) => assert!(cut >= head && events.len() < 2, "{cut}"),
            }
        }
        let (header, config, events) = parse(&bytes).unwrap();
        assert_eq!((config, header.digest), (b"{...}".to_vec(), b"d\ng".to_vec()));
        assert_eq!(events, [Event::Created, Event::Started]);
    }

    #[test]
    fn no_flipped_bit_is_more_than_another_record_or_none() {
        let header = Header { config_length: 5, digest_length: 3, ..header("x") };
        let mut bytes = serde_json::to_vec(&header).unwrap();
        bytes.extend(b"\n{...}\nd\ng\n{\"init\":{\"pid\":77,\"inode\":5,\"start_time\":9}}\n\"created\"\n");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                if let Some((_, config, events)) = parse(&wrong) {
                    assert!(config.len() <= wrong.len() && events.len() <= 3, "byte {at}, bit {bit}");
                }
            }
        }
    }
}
