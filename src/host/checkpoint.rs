//! The host side of `checkpoint`: CRIU saves a container that runs. It is started beside us, and on failure lets the container
//! run on by itself.

use std::io::{Read, Seek};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;

use super::{Trouble, open_cgroup};
use crate::cgroups::{Cgroup, Group};
use crate::criu::{self, CgroupMode, Choices, Directories, Kind, Outside, Request, Service};
use crate::plan::Criu;
use crate::state::Record;
use crate::sys::process::Program;
use crate::sys::{self, Call, Error};

/// Saves a container: all of it, or (`PreDump`) its memory. `status` is the descriptor on which the
/// caller hears that pages can be asked for.
pub fn checkpoint(
    record: &Record,
    kind: Kind,
    choices: Choices,
    outside: &Outside,
    criu: &Criu,
    directories: &Directories,
    status: Option<BorrowedFd<'_>>,
) -> Result<(), Trouble> {
    let pid = record.init().map_or(0, |init| init.pid);
    let (images, work) = (directories.images.as_raw_fd(), directories.work.as_raw_fd());
    let mut request = Request::new(kind, choices, images, work);
    request.pid = Some(pid);
    let cgroup = open_cgroup(record)?;
    request.no_cgroups = cgroup.is_none();
    request.freezer = cgroup.as_ref().and_then(Cgroup::freezer_directory);
    if kind == Kind::Dump {
        tell_outside(&mut request, pid, outside, directories)?;
        criu::write_updates(&directories.images, &record.updates())?;
        criu::write_groups::<Group>(&directories.images, &[])?;
    }
    let groups = cgroup.as_ref().filter(|_| kind == Kind::Dump && request.choices.cgroups != Some(CgroupMode::Ignore));
    request.notify = status.is_some() || groups.is_some();
    let said = sys::fs::scratch("criu-output")?;
    let (ours, theirs) = sys::sock::pair()?;
    let null = sys::fs::open_host("/dev/null", OFlag::O_RDWR)?;
    let args = [criu.program.clone(), "swrk".to_owned(), "3".to_owned()];
    let stdio = [null.as_fd(), said.as_fd(), said.as_fd()];
    let program =
        Program { path: &criu.program, args: &args, env: &criu.env, directory: "/", stdio, more: &[theirs.as_fd()] };
    let (_, pidfd) = sys::process::spawn(&program)?;
    drop(theirs);
    let asked = Service::over(ours, pidfd.as_fd()).ask(&request, &mut |notice, _| {
        match (notice.script.as_str(), status, groups) {
            // What CRIU itself would write; its option for that is one that it will drop.
            ("status-ready", Some(status), _) => sys::fs::write_fd(status, b"\0"),
            // Everybody still stands where they were saved.
            ("post-dump", _, Some(cgroup)) => criu::write_groups(&directories.images, &cgroup.groups()?),
            _ => Ok(()),
        }
    });
    // With our end of the socket its work is over.
    sys::process::wait(&pidfd)?;
    match asked {
        Ok(answer) if answer.success => Ok(()),
        Ok(answer) => Err(criu::failure(&request, &answer, directories, &text(said)).into()),
        Err(error) => Err(criu::explained(&error, &request, directories, &text(said)).into()),
    }
}

/// Mounts, namespaces and stdio that are not the container's own.
fn tell_outside(request: &mut Request, pid: i32, outside: &Outside, directories: &Directories) -> sys::Result<()> {
    let mountinfo = sys::fs::read_host(&format!("/proc/{pid}/mountinfo"))?;
    let root = sys::fs::open_host(&format!("/proc/{pid}/root"), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
    // Where the path leads to now; what was mounted there may be gone, and then it is no matter.
    let resolve = |path: &str| sys::fs::open_in_root(&root, path, OFlag::O_PATH).and_then(sys::fs::path_of).ok();
    request.mounts = outside.to_save(&mountinfo, &resolve);
    request.choices.without_network(outside);
    for joined in &outside.joined {
        if let Some(key) = joined.key() {
            let file = sys::fs::open_host(&format!("/proc/{pid}/ns/{}", joined.kind), OFlag::O_RDONLY)?;
            request.external.push(format!("{}[{}]:{key}", joined.kind, sys::fs::stat(&file)?.st_ino));
        }
    }
    let stdio = criu::stdio(pid)?;
    let keys: Vec<Vec<String>> = stdio.iter().map(|one| one.keys(&mountinfo)).collect();
    request.external.extend(keys.iter().flatten().filter(|key| criu::is_named(key)).cloned());
    let names: Vec<String> =
        keys.into_iter().zip(stdio).map(|(mut keys, one)| keys.pop().unwrap_or(one.link)).collect();
    criu::write_descriptors(&directories.images, &names)
}

/// What CRIU wrote before it had a log.
fn text(output: OwnedFd) -> String {
    let mut output = std::fs::File::from(output);
    let mut text = Vec::new();
    match output.rewind().and_then(|()| output.take(4096).read_to_end(&mut text)) {
        Ok(_) => String::from_utf8_lossy(&text).into_owned(),
        Err(e) => Error::other(Call::Read, e.to_string()).to_string(),
    }
}
