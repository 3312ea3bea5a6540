//! The conversation with CRIU, and what lies beside its images.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, ResolveFlag};
use nix::sys::stat::SFlag;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::log;
use super::outside::Stdio;
use super::rpc::{self, Answer, Request};
use crate::sys::{self, Call, Errno, Error, Result};

/// The names of the first three descriptors of a saved container, a JSON list as other runtimes write it too.
const DESCRIPTORS: &str = "descriptors.json";
/// What `update` had set on a saved container: the list of what was asked for, as in the record.
const UPDATES: &str = "updates.json";

/// The groups that a saved container had on cgroup v2, which CRIU knows little of.
const GROUPS: &str = "cgroups.json";

/// The longest answer.
const LIMIT: usize = 64 << 10;
/// The largest log that is read.
const LOG_LIMIT: usize = 64 << 20;

/// Where the images are, and where the log is.
pub struct Directories {
    /// Images.
    pub images: OwnedFd,
    /// Log and working files.
    pub work: OwnedFd,
    /// Where that is, for people.
    pub place: String,
}

impl Directories {
    /// Opens them; `make`: those that are missing are made, for their owner only (memory of processes is in them).
    pub fn open(images: &str, work: &str, make: bool) -> Result<Self> {
        let open = |path: &str, make: bool| {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
            match sys::fs::open_host(path, flags) {
                Err(e) if e.errno == Errno::ENOENT && make => {
                    make_all(path)?;
                    sys::fs::open_host(path, flags)
                }
                other => other,
            }
        };
        let (images, work) = (open(images, make)?, open(work, true)?);
        let place = sys::fs::path_of(&work)?;
        Ok(Self { images, work, place })
    }

    /// Lets a group read the images.
    pub fn let_read(&self, gid: u32) -> Result<()> {
        let share = |file: &OwnedFd, stat: &nix::sys::stat::FileStat, bits: u32| {
            if stat.st_gid != gid {
                sys::fs::chown(file, stat.st_uid, gid)?;
            }
            if stat.st_mode & bits == bits { Ok(()) } else { sys::fs::fchmod(file, stat.st_mode & 0o7777 | bits) }
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = sys::fs::open(&self.images, ".", flags, 0, ResolveFlag::RESOLVE_BENEATH)?;
        share(&directory, &sys::fs::stat(&directory)?, 0o050)?;
        for name in sys::fs::names(&directory)? {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
            match sys::fs::open(&directory, &name, flags, 0, ResolveFlag::RESOLVE_BENEATH) {
                // A link: to the parent's images, which are that directory's affair.
                Err(e) if e.errno == Errno::ELOOP => {}
                other => {
                    let file = other?;
                    let stat = sys::fs::stat(&file)?;
                    if sys::fs::kind(&stat) == SFlag::S_IFREG {
                        share(&file, &stat, 0o040).map_err(|e| e.at(&name))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The same directories on the mounts of another process: CRIU mounts in its working directory, so that must be on
    /// mounts of its own.
    pub fn seen_by(&self, pid: i32) -> Result<Self> {
        let open = |directory: &OwnedFd| {
            let path = format!("/proc/{pid}/root{}", sys::fs::path_of(directory)?);
            sys::fs::open_host(&path, OFlag::O_PATH | OFlag::O_DIRECTORY)
        };
        Ok(Self { images: open(&self.images)?, work: open(&self.work)?, place: self.place.clone() })
    }
}

fn make_all(path: &str) -> Result<()> {
    let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0).chain([path.len()]);
    for part in ends.map(|end| &path[..end]) {
        match sys::fs::mkdir(sys::fs::cwd(), part, 0o700) {
            Err(e) if e.errno != Errno::EEXIST => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Our end of the conversation.
pub struct Service<'c> {
    socket: OwnedFd,
    /// CRIU itself: those that it brings back have a copy of its end for a while, which they would keep when it dies.
    criu: BorrowedFd<'c>,
}

impl<'c> Service<'c> {
    /// Over one end of a pair whose other end CRIU has.
    pub fn over(socket: OwnedFd, criu: BorrowedFd<'c>) -> Self {
        Self { socket, criu }
    }

    /// Asks, answers notifications, and comes back with the last answer. `notified` is told each notification, with the descriptor
    /// that came with it; an error of it ends the matter, for CRIU and for us.
    pub fn ask(
        &self,
        request: &Request,
        notified: &mut dyn FnMut(&Answer, Option<OwnedFd>) -> Result<()>,
    ) -> Result<Answer> {
        sys::sock::send(&self.socket, &request.encode(), &[]).map_err(|e| self.gone(e))?;
        let mut buffer = vec![0; LIMIT];
        let mut trouble = Ok(());
        loop {
            let spoke = sys::process::wait_first(&self.socket, self.criu)?;
            let (length, mut fds) =
                if spoke { sys::sock::receive(&self.socket, &mut buffer)? } else { (0, Vec::new()) };
            if length == 0 {
                trouble?;
                return Err(Error::other(Call::Recv, "criu ended without an answer"));
            }
            let answer = Answer::decode(&buffer[..length]);
            let answer = answer.ok_or_else(|| Error::other(Call::Recv, "criu gave an answer that is none"))?;
            if !answer.is_notice {
                // Our own refusal is the cause of CRIU's.
                trouble?;
                return Ok(answer);
            }
            if trouble.is_ok() {
                trouble = notified(&answer, fds.pop());
            }
            match sys::sock::send(&self.socket, &rpc::acknowledge(trouble.is_ok()), &[]) {
                Err(e) if trouble.is_ok() => return Err(self.gone(e)),
                _ => {}
            }
        }
    }

    fn gone(&self, error: Error) -> Error {
        match error.errno {
            Errno::EPIPE | Errno::ECONNRESET => Error::other(Call::Send, "criu ended before it was asked"),
            _ => error.about(format!("criu, descriptor {}", self.socket.as_raw_fd())),
        }
    }
}

/// CRIU's failure in words: its own, the lines of its log that say why, and where that log is. `said` is what it wrote on stderr.
pub fn failure(request: &Request, answer: &Answer, to: &Directories, said: &str) -> Error {
    let words = format!("criu failed: type {} errno {}", request.kind.name(), answer.errno);
    // Its own word is the first error of the log, of whatever kind; it counts where there is no log.
    let said = if answer.message.is_empty() { said } else { &answer.message };
    Error::other(Call::Recv, with_reasons(words, request, to, said))
}

/// Any other end of it, with the same lines.
pub fn explained(error: &Error, request: &Request, to: &Directories, said: &str) -> Error {
    Error::other(Call::Recv, with_reasons(error.to_string(), request, to, said))
}

fn with_reasons(words: String, request: &Request, to: &Directories, said: &str) -> String {
    let text = sys::fs::read(&to.work, request.log, LOG_LIMIT).unwrap_or_default();
    let mut reasons = log::reasons(&String::from_utf8_lossy(&text));
    if reasons.is_empty() && !said.trim().is_empty() {
        reasons.push(said.trim().to_owned());
    }
    let reasons = reasons.iter().map(|reason| format!(": {reason}")).collect::<String>();
    let log = if text.is_empty() { String::new() } else { format!(" (log file: {}/{})", to.place, request.log) };
    format!("{words}{reasons}{log}")
}

/// What the first three descriptors of a process are.
pub fn stdio(pid: i32) -> Result<Vec<Stdio>> {
    (0..3).map(|number| one_of_stdio(pid, number)).collect()
}

fn one_of_stdio(pid: i32, number: i32) -> Result<Stdio> {
    let path = format!("/proc/{pid}/fd/{number}");
    let link = match sys::fs::readlink(sys::fs::cwd(), &path) {
        // Closed: nothing of it has to be brought back.
        Err(e) if e.errno == Errno::ENOENT => return Ok(Stdio::default()),
        other => other?,
    };
    let info = sys::fs::read_host(&format!("/proc/{pid}/fdinfo/{number}"))?;
    let mount = info.lines().find_map(|l| l.strip_prefix("mnt_id:")?.trim().parse().ok()).unwrap_or(-1);
    let file = match sys::fs::open_host(&path, OFlag::O_PATH) {
        Ok(file) => sys::fs::stat(&file)?,
        // A socket can't be opened again, not even to be looked at.
        Err(_) => return Ok(Stdio { link, mount, ..Stdio::default() }),
    };
    let kind = sys::fs::kind(&file);
    let device = nix::sys::stat::major(file.st_rdev);
    let is_terminal = kind == SFlag::S_IFCHR && (matches!(device, 4 | 5) || (136..144).contains(&device));
    let terminal = is_terminal.then_some((file.st_rdev, file.st_dev));
    // /dev/null and its kin are files to CRIU, and so are terminals, with something beside.
    let is_file = kind == SFlag::S_IFREG || is_terminal || kind == SFlag::S_IFCHR && device == 1;
    Ok(Stdio { link, mount, inode: file.st_ino, file: is_file, terminal })
}

/// Leaves the names of the first three descriptors beside the images.
pub fn write_descriptors(images: &OwnedFd, names: &[String]) -> Result<()> {
    write(images, DESCRIPTORS, names)
}

/// The names of the first three descriptors; images of other tools may be without.
pub fn read_descriptors(images: &OwnedFd) -> Result<Vec<String>> {
    read(images, DESCRIPTORS)
}

/// Leaves what `update` has set beside the images; nothing where it has set nothing.
pub fn write_updates(images: &OwnedFd, updates: &[&Value]) -> Result<()> {
    write_some(images, UPDATES, updates)
}

/// What `update` had set, in that order.
pub fn read_updates(images: &OwnedFd) -> Result<Vec<Value>> {
    read(images, UPDATES)
}

/// Leaves the container's groups beside the images; nothing where there are none.
pub fn write_groups<T: Serialize>(images: &OwnedFd, groups: &[T]) -> Result<()> {
    write_some(images, GROUPS, groups)
}

/// The container's groups; images of other tools are without.
pub fn read_groups<T: DeserializeOwned>(images: &OwnedFd) -> Result<Vec<T>> {
    read(images, GROUPS)
}

fn write_some<T: Serialize>(images: &OwnedFd, name: &str, list: &[T]) -> Result<()> {
    match list {
        // Those of an earlier dump into the same directory are not of this one.
        [] => match sys::fs::unlink(images, name, false) {
            Err(e) if e.errno != Errno::ENOENT => Err(e),
            _ => Ok(()),
        },
        some => write(images, name, some),
    }
}

fn write<T: Serialize>(images: &OwnedFd, name: &str, list: &[T]) -> Result<()> {
    let text = serde_json::to_vec(list).map_err(|e| Error::other(Call::Write, e.to_string()))?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW;
    let file = sys::fs::open(images, name, flags, 0o600, ResolveFlag::RESOLVE_BENEATH)?;
    sys::fs::write_fd(&file, &text).map_err(|e| e.at(name))
}

fn read<T: DeserializeOwned>(images: &OwnedFd, name: &str) -> Result<Vec<T>> {
    match sys::fs::read(images, name, 1 << 20) {
        Err(e) if e.errno == Errno::ENOENT => Ok(Vec::new()),
        other => serde_json::from_slice(&other?)
            .map_err(|e| Error::other(Call::Read, format!("{name} beside the images: {e}"))),
    }
}
