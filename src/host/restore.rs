//! The host side of `restore`: CRIU was born in init's stead, and brings init back as our child.
//!
//! ```text
//! rt                                  the child
//! prepares what create would
//!   ── clone3, new mounts, cgroup ─►  joins the cgroups (or systemd puts it there: Go), attaches the root, makes mount points
//!   ◄── Ready ── Start ───────────►   becomes `criu swrk 3`
//!   ── restore these images ──────►
//!   ◄── setup-namespaces ──────────   prestart and createRuntime hooks
//!   ◄── post-setup-namespaces ─────   CRIU leaves the container's cgroup, which passes controllers on
//!   ◄── orphan-pts-master (fd) ────   the terminal, to the console socket or to us
//!   ◄── post-restore ──────────────   limits of the cgroups below; init is there: its pid goes into the record
//!   ◄── done ──────────────────────
//! the record says "started"
//! ```

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::after::{Whose, Word, await_exec};
use super::{Host, Prepared, Trouble};
use crate::cgroups::{Cgroup, Group};
use crate::criu::{self, CgroupMode, Directories, Kind, Network, Request, Restore, Service};
use crate::namespaces;
use crate::plan::HostOp;
use crate::state::{self, Event, Status};
use crate::step::Stage;
use crate::sys::{self, Call, Errno, Error};
use crate::talk::HostSays;
use crate::timings::Watch;

/// Our ends of what is between CRIU and us.
pub(super) struct Ends {
    service: OwnedFd,
    /// The socket that wants the terminal's master.
    console: Option<OwnedFd>,
}

impl Ends {
    /// Makes them; CRIU's are handed to the child, with a second copy of the stdio that it hands on: it closes what it hands
    /// on, and may want the first three for itself (`--shell-job`).
    pub(super) fn new(restore: &Restore, prepared: &mut Prepared) -> sys::Result<Self> {
        let (service, theirs) = sys::sock::pair()?;
        prepared.handed.push(theirs);
        for number in 0..3 {
            let stdio = sys::fs::inherited(number);
            let stdio =
                stdio.ok_or_else(|| Error::new(Call::Fcntl, Errno::EBADF).about(format!("descriptor {number}")))?;
            prepared.handed.push(sys::fs::duplicate_from(stdio, 3)?);
        }
        for joined in restore.outside.joined.iter().filter(|joined| joined.key().is_some()) {
            let file = prepared.namespaces.find(joined.kind);
            let file = file.ok_or_else(|| Error::new(Call::Setns, Errno::EBADF).about(joined.kind))?;
            prepared.handed.push(sys::fs::duplicate_from(file, 3)?);
        }
        Ok(Self { service, console: prepared.console.take() })
    }
}

/// What happened in a restore, as its notifications told.
#[derive(Default)]
struct Heard {
    init: Option<(i32, OwnedFd)>,
    terminal: Option<OwnedFd>,
}

impl Host<'_> {
    /// Lets CRIU bring the container back; it runs when this returns.
    pub fn bring_back(&mut self, directories: &Directories, watch: &mut Watch) -> Result<(), Trouble> {
        let ends = self.restore.take().ok_or_else(|| Error::new(Call::Send, Errno::ENOTCONN))?;
        let plan = self.plan;
        let restore = plan.restore.as_ref().ok_or_else(|| Error::new(Call::Send, Errno::ENOTCONN))?;
        if let Some(gid) = restore.readers {
            directories.let_read(gid)?;
        }
        let directories = directories.seen_by(self.pid())?;
        self.say(HostSays::Start)?;
        let channel = self.channel.take().ok_or_else(|| Error::new(Call::Recv, Errno::ENOTCONN))?;
        let (header, pid) = (&self.record.header, self.pid());
        let whose = Whose { header, status: Status::Creating, init: pid, pid };
        if await_exec(&plan, &channel, whose, watch)? == Word::Unheard {
            return Err(self.explain_death());
        }
        let request = request(restore, &directories, pid)?;
        let heard = self.converse(&request, ends, &directories)?;
        // CRIU has done its work, and ends when nobody is at the other end any more.
        let init = heard.init.ok_or_else(|| Error::other(Call::Recv, "criu brought nobody back"))?;
        let criu = self.init.replace(init);
        criu.map(|(_, criu)| sys::process::wait(criu)).transpose()?;
        self.terminal = heard.terminal;
        self.record.note(Event::Created)?;
        Ok(self.record.note(Event::Started)?)
    }

    /// The conversation. Whoever was brought back is in the record before it runs.
    fn converse(&mut self, request: &Request, ends: Ends, directories: &Directories) -> Result<Heard, Trouble> {
        let mut heard = Heard::default();
        let mut in_hooks = None;
        // Of the notifications that come before it runs only some name it.
        let mut born = 0;
        let own_network = self.plan.restore.as_ref().is_some_and(|r| r.outside.network != Network::Others);
        let full = request.choices.cgroups == Some(CgroupMode::Full);
        let groups: Vec<Group> = match request.choices.cgroups {
            Some(CgroupMode::Ignore) => Vec::new(),
            _ => criu::read_groups(&directories.images)?,
        };
        let criu = sys::fs::duplicate_from(self.pidfd()?, 3)?;
        let asked =
            Service::over(ends.service, criu.as_fd()).ask(request, &mut |notice, fd| match notice.script.as_str() {
                "setup-namespaces" => {
                    born = notice.pid;
                    if request.choices.empty_network() && own_network {
                        namespaces::loopback_of(notice.pid)?;
                    }
                    self.hooks_of_restore(notice.pid).map_err(|trouble| {
                        let error = trouble.error.clone();
                        in_hooks = Some(trouble);
                        error
                    })
                }
                "post-setup-namespaces" => self.groups_of_restore(|cgroup| cgroup.pass_on(&groups, born, full)),
                "orphan-pts-master" => {
                    heard.terminal = hand_terminal(fd, ends.console.as_ref())?;
                    Ok(())
                }
                "post-restore" => {
                    self.groups_of_restore(|cgroup| cgroup.limit_again(&groups, full))?;
                    let pidfd = sys::process::pidfd(notice.pid)?;
                    let identity = state::identify(notice.pid, &pidfd)?;
                    heard.init = Some((notice.pid, pidfd));
                    self.record.note(Event::Init(identity))
                }
                _ => Ok(()),
            });
        let error = match asked {
            Ok(answer) if answer.success => return Ok(heard),
            Ok(answer) => criu::failure(request, &answer, directories, ""),
            Err(error) => criu::explained(&error, request, directories, ""),
        };
        if let Some((_, init)) = heard.init {
            // Too late for CRIU to take it back.
            let _ = sys::process::signal(&init, libc::SIGKILL);
            let _ = sys::process::wait(&init);
        }
        Err(in_hooks.unwrap_or_else(|| error.into()))
    }

    /// CRIU's part in the container's groups is the smaller one where they are v2's.
    fn groups_of_restore(&self, act: impl FnOnce(&Cgroup) -> sys::Result<()>) -> sys::Result<()> {
        self.cgroup.as_ref().map_or(Ok(()), act)
    }

    fn hooks_of_restore(&self, pid: i32) -> Result<(), Trouble> {
        let state = self.record.header.for_hooks(Status::Created, pid);
        for step in &self.plan.hooks {
            if let HostOp::Hook(hook) = &step.op {
                crate::hooks::run_while(hook, &state, &self.record.header.bundle, Some(&|| self.init_lives()))
                    .map_err(|e| Trouble::of(Stage::Hooks, step, e))?;
            }
        }
        Ok(())
    }
}

/// The master goes to the console socket, or to us, who then serve it.
fn hand_terminal(master: Option<OwnedFd>, console: Option<&OwnedFd>) -> sys::Result<Option<OwnedFd>> {
    let master = master.ok_or_else(|| Error::other(Call::Recv, "criu announced a terminal and sent none"))?;
    match console {
        Some(socket) => {
            let name = format!("/dev/pts/{}", sys::tty::number(&master)?);
            sys::sock::send(socket, name.as_bytes(), &[master.as_raw_fd()]).map_err(|e| e.about("console socket"))?;
            Ok(None)
        }
        None => Ok(Some(master)),
    }
}

/// What CRIU is told. `pid` is its own: it stands where the container is to stand.
fn request(restore: &Restore, directories: &Directories, pid: i32) -> sys::Result<Request> {
    let (images, work) = (directories.images.as_raw_fd(), directories.work.as_raw_fd());
    let mut request = Request::new(Kind::Restore, restore.choices.clone(), images, work);
    request.root = Some(restore.root.clone());
    request.mounts = restore.outside.to_bring_back(&sys::fs::read_host("/proc/self/mountinfo")?);
    request.choices.without_network(&restore.outside);
    let names = criu::read_descriptors(&directories.images)?;
    // As they were handed over: the socket, stdio, namespaces.
    request.inherit = names.into_iter().zip(4..7).filter(|(name, _)| criu::is_outside(name)).collect();
    let keys = restore.outside.joined.iter().filter_map(|joined| joined.key());
    request.inherit.extend(keys.map(str::to_owned).zip(7..));
    let others = restore.outside.joined.iter().filter(|joined| joined.key().is_none());
    request.join = others.map(|joined| (joined.kind, joined.path.clone())).collect();
    if restore.cgroups {
        request.cgroups = cgroups_of(&sys::fs::read_host(&format!("/proc/{pid}/cgroup"))?);
    } else {
        request.no_cgroups = true;
    }
    Ok(request)
}

/// Each controller with its path.
fn cgroups_of(table: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    let each = |(controllers, path): (String, String)| {
        controllers.split(',').map(|c| (c.to_owned(), path.clone())).collect::<Vec<_>>()
    };
    table.lines().filter_map(line).flat_map(each).collect()
}
