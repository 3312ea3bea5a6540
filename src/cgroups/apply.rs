//! Carries cgroup operations out, on the host side, below one descriptor per tree.
//!
//! Thrift: a control file costs one open, one write and one close; a directory is made before it is looked for. What
//! was made is remembered, so that a failed create can take it all back with [`Cgroup::undo`].

use std::os::fd::{AsFd, AsRawFd};

use crate::step::Step;
use crate::sys::process::{Birth, Born, Ended};
use crate::sys::{self, Call, Errno, Error, bpf, cgroup, fs};

use super::devices::DeviceRules;
use super::op::{FileValue, Op};
use super::place::{Place, Placement, Version};
use super::systemd::{self, Session, Unit};
use super::tree::Tree;
use super::{cpuset, ebpf, owner};

/// How often an ancestor may vanish between two looks before that is an error: another container's end may take it.
const ATTEMPTS: usize = 16;

/// The cgroup of one container, open in every tree. No trees: it has none of its own, and everything is a no-op.
///
/// Dropping it closes descriptors and changes nothing.
#[derive(Debug)]
pub struct Cgroup {
    pub(super) trees: Vec<Tree>,
    /// The unit that holds them, if systemd makes them.
    pub(super) unit: Option<Unit>,
    session: Session,
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::close_all(self.trees.drain(..).map(Tree::into_mount));
    }
}

impl Cgroup {
    /// Opens the trees for a container that is about to be made.
    pub fn prepare(placement: &Placement) -> sys::Result<Cgroup> {
        Self::over(placement, Tree::open)
    }

    /// Opens the trees of a container that exists, as its record has them.
    pub fn open(placement: &Placement) -> sys::Result<Cgroup> {
        Self::over(placement, Tree::reopen)
    }

    fn over(placement: &Placement, open: fn(Place) -> sys::Result<Tree>) -> sys::Result<Cgroup> {
        let trees = placement.trees.iter().cloned().map(open).collect::<sys::Result<_>>()?;
        let session = Session::of(placement.started);
        Ok(Cgroup { trees, unit: placement.unit.clone(), session })
    }

    /// The container's first process was born: systemd is to be told of it.
    pub fn expect(&mut self, init: i32) {
        self.session.init = init;
    }

    /// The placement, with the ancestors that were made: this is what the record must hold from now on.
    pub fn placement(&self) -> Placement {
        let trees = self.trees.iter().map(|t| t.place.clone()).collect();
        Placement { trees, unit: self.unit.clone(), started: self.session.started }
    }

    /// Carries out one step; the errors that it tolerates are answers.
    pub fn apply(&mut self, step: &Step<Op>) -> sys::Result<()> {
        match self.execute(&step.op) {
            Err(error) if step.tolerate.contains(&error.errno) => Ok(()),
            result => result,
        }
    }

    /// The trees in which the container has its directory by now.
    pub(super) fn ours(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter().filter(|tree| tree.ours)
    }

    /// Takes back what [`Cgroup::apply`] has made: directories that were there before stay. Waits for the processes in
    /// them to end; whoever calls has killed them.
    pub fn undo(&self) -> sys::Result<()> {
        let mut result = Ok(());
        for tree in &self.trees {
            let leaf = if tree.fresh { tree.remove() } else { Ok(()) };
            result = result.and(leaf.and_then(|()| tree.remove_ancestors()));
        }
        if let Some(unit) = self.unit.as_ref().filter(|_| self.session.started) {
            // Policy: a unit in which nobody is left ends by itself; asking for it only makes sure when.
            let _ = systemd::release(unit);
        }
        result
    }

    /// Carries out one operation.
    pub fn execute(&mut self, op: &Op) -> sys::Result<()> {
        let Self { trees, session, .. } = self;
        let tree = &mut trees[op.tree()];
        match op {
            Op::Bus { of, .. } => session.connect(*of),
            Op::Property { name, value, .. } => {
                session.properties.push((name.clone(), value.clone()));
                Ok(())
            }
            Op::StartUnit { unit, .. } => session.start(unit).and_then(|()| session.arrived(unit, tree)),
            Op::SetProperties { unit, .. } => session.set(unit),
            Op::Attach { .. } => tree.write("cgroup.procs", &session.init.to_string()),
            Op::Create { .. } => tree.create(),
            Op::Enable { controllers, needed, .. } => tree.enable(controllers, needed),
            Op::Inherit { files, .. } => cpuset::inherit(tree, files),
            Op::Write { write, .. } => tree.set(write),
            Op::FirstOf { choices, .. } => tree.first_of(choices),
            Op::Together { writes, .. } => tree.together(writes),
            Op::Period { period, .. } => tree.period(*period),
            Op::Own { uid, .. } => owner::give(tree, *uid),
            Op::Devices { rules, .. } => match tree.place.version {
                Version::V1 => tree.device_list(rules),
                Version::V2 => tree.device_filter(rules),
            },
        }
    }
}

impl Tree {
    /// Makes the directory. One that is there already will do if nobody is in it and it is not frozen: the same path
    /// may have been used before.
    fn create(&mut self) -> sys::Result<()> {
        let path = self.place.path.clone();
        for _ in 0..ATTEMPTS {
            match fs::mkdir(self.mount(), &path, 0o755) {
                Ok(()) => {
                    (self.fresh, self.ours) = (true, true);
                    return Ok(());
                }
                Err(e) if e.errno == Errno::EEXIST => {
                    self.must_be_free()?;
                    if !self.is_v2() || !self.ends_newborns()? {
                        self.ours = true;
                        return Ok(());
                    }
                    cgroup::remove_dir(self.mount(), &path).map_err(|e| {
                        let note =
                            format!("{path} (Linux ends whoever is born in it, since cgroup.kill was used on it)");
                        self.blame(e.about(note))
                    })?;
                }
                Err(e) if e.errno == Errno::ENOENT => self.make_ancestors()?,
                Err(e) => return Err(self.explain_make(e)),
            }
        }
        Err(self.blame(Error::new(Call::Mkdir, Errno::ENOENT).about(format!("{path} (its parent keeps vanishing)"))))
    }

    fn make_ancestors(&mut self) -> sys::Result<()> {
        let path = self.place.path.clone();
        for (end, _) in path.match_indices('/') {
            let ancestor = &path[..end];
            match fs::mkdir(self.mount(), ancestor, 0o755) {
                Ok(()) => self.place.made.insert(0, ancestor.to_owned()),
                Err(e) if e.errno == Errno::EEXIST => {}
                // A parent went away again; the caller tries once more.
                Err(e) if e.errno == Errno::ENOENT => return Ok(()),
                Err(e) => return Err(self.explain_make(e)),
            }
        }
        Ok(())
    }

    fn explain_make(&self, mut error: Error) -> Error {
        error.note += match error.errno {
            Errno::EROFS => " (mounted read-only)",
            Errno::EACCES | Errno::EPERM => " (no right to make cgroups there; delegate one, or leave cgroupsPath out)",
            Errno::EAGAIN => " (cgroup.max.descendants or cgroup.max.depth of an ancestor is reached)",
            _ => "",
        };
        self.blame(error)
    }

    /// Whether a child that clone3 places there is killed at once. Linux 6.14 and later do that in a cgroup whose cgroup.kill
    /// was ever written to, and nothing shows it but trying.
    fn ends_newborns(&self) -> sys::Result<bool> {
        let dir = cgroup::open_dir(self.mount(), &self.place.path).map_err(|e| self.blame(e))?;
        let birth = Birth { cgroup: Some(dir.as_raw_fd()), ..Birth::default() };
        match sys::process::clone3(birth) {
            Ok(Born::Child) => sys::process::exit_now(0),
            Ok(Born::Parent { pidfd, .. }) => Ok(sys::process::wait(&pidfd)? == Ended::Killed(libc::SIGKILL)),
            // What keeps anybody from being born there is said when it matters.
            Err(_) => Ok(false),
        }
    }

    fn must_be_free(&self) -> sys::Result<()> {
        let pids = self.pids()?;
        let busy = |why: String| {
            Err(self.blame(Error::new(Call::Mkdir, Errno::EBUSY).about(format!("{} ({why})", self.place.path))))
        };
        if let Some(first) = pids.first() {
            return busy(format!("not empty: {} process(es) live in this cgroup, one is {first}", pids.len()));
        }
        if self.is_frozen()? {
            return busy("it is frozen".to_owned());
        }
        Ok(())
    }

    /// Enables `controllers` in every ancestor, from the root down.
    fn enable(&self, controllers: &[String], needed: &[String]) -> sys::Result<()> {
        let path = &self.place.path;
        let below_root = path.match_indices('/').map(|(end, _)| &path[..=end]);
        let foreign: Vec<String> =
            needed.iter().filter(|c| !systemd::CONTROLLERS.contains(&c.as_str())).cloned().collect();
        std::iter::once("").chain(below_root).try_for_each(|dir| {
            match dir.len() > self.place.delegated.len() || self.place.delegated.is_empty() {
                true => self.enable_in(dir, controllers, needed),
                // Above that it is for systemd to say, but for the controllers that it does not know.
                false if foreign.is_empty() => Ok(()),
                false => self.enable_in(dir, &foreign, &foreign),
            }
        })
    }

    /// All at once, or those that this level has, or at least the needed ones. Never one by one: in a cgroup that has
    /// processes some controllers can be enabled, which makes it threaded, and useless to a container.
    pub(super) fn enable_in(&self, dir: &str, controllers: &[String], needed: &[String]) -> sys::Result<()> {
        let file = format!("{dir}cgroup.subtree_control");
        let write = |names: &[&String]| {
            let words: Vec<String> = names.iter().map(|name| format!("+{name}")).collect();
            self.write_at(&file, &words.join(" "))
        };
        let all: Vec<&String> = controllers.iter().collect();
        let mut result = write(&all);
        if result.as_ref().is_err_and(|e| matches!(e.errno, Errno::ENOENT | Errno::EINVAL)) {
            let text = self.read_at(&format!("{dir}cgroup.controllers"))?;
            let here: Vec<&str> = text.split_whitespace().collect();
            let (some, missing): (Vec<&String>, Vec<&String>) =
                all.into_iter().partition(|c| here.contains(&c.as_str()));
            if let (Err(error), Some(name)) = (&result, missing.into_iter().find(|name| needed.contains(name))) {
                return Err(self.explain_enable(error.clone(), dir, name));
            }
            result = if some.is_empty() { Ok(()) } else { write(&some) };
        }
        if result.as_ref().is_err_and(|e| matches!(e.errno, Errno::EACCES | Errno::EPERM | Errno::EROFS)) {
            // Above what was delegated to us others decide; what they have passed on is there.
            let on = self.read_at(&file)?;
            let on: Vec<&str> = on.split_whitespace().collect();
            if needed.iter().all(|name| on.contains(&name.as_str())) {
                return Ok(());
            }
        }
        match (result, needed.first()) {
            (Err(_), Some(first)) => {
                let needed: Vec<&String> = needed.iter().collect();
                write(&needed).map_err(|error| self.explain_enable(error, dir, first))
            }
            // Policy: what no limit needs is good to have, for statistics and nested containers, and no more.
            (Err(_), None) | (Ok(()), _) => Ok(()),
        }
    }

    fn explain_enable(&self, mut error: Error, dir: &str, controller: &str) -> Error {
        let kind = self.read_at(&format!("{dir}cgroup.type")).unwrap_or_default();
        let why = match (error.errno, kind.trim()) {
            (_, "threaded" | "domain invalid") => format!("the cgroup is {}", kind.trim()),
            (Errno::ENOENT | Errno::EINVAL, _) => {
                format!("the {controller} controller is not available in this cgroup; its parent does not pass it on")
            }
            (Errno::EBUSY, _) => {
                "processes live in this cgroup, so it cannot pass controllers on (no internal processes)".to_owned()
            }
            (Errno::EACCES | Errno::EPERM | Errno::EROFS, _) => {
                format!("the {controller} controller is not delegated to us; whoever owns this cgroup must enable it")
            }
            (Errno::EOPNOTSUPP, _) => format!("a threaded cgroup is below it, and {controller} does not work with one"),
            _ => return error,
        };
        error.note = format!("{} ({why})", error.note);
        error
    }

    fn set(&self, write: &FileValue) -> sys::Result<()> {
        self.write(&write.file, &write.value).map_err(|e| self.explain_write(e, write))
    }

    fn explain_write(&self, mut error: Error, write: &FileValue) -> Error {
        let more = match (error.errno, write.file.as_str()) {
            (Errno::ENOENT, _) => "this cgroup has no such file".to_owned(),
            (Errno::EBUSY, "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes") => {
                let usage = self.read("memory.usage_in_bytes").unwrap_or_default();
                let peak = self.read("memory.max_usage_in_bytes").unwrap_or_default();
                format!("unable to set memory limit: current usage {}, peak usage {}", usage.trim(), peak.trim())
            }
            (Errno::EACCES | Errno::EINVAL | Errno::ENOSPC | Errno::ERANGE, "cpuset.cpus" | "cpuset.mems") => {
                "not among those of the parent cgroup".to_owned()
            }
            (Errno::ENODEV | Errno::ENXIO, _) => "no such device".to_owned(),
            _ => return error,
        };
        error.note = format!("{} ({more})", error.note);
        error
    }

    fn first_of(&self, choices: &[FileValue]) -> sys::Result<()> {
        let mut result = Ok(());
        for choice in choices {
            result = self.set(choice);
            match &result {
                Err(error) if error.errno == Errno::ENOENT => {}
                _ => return result,
            }
        }
        result
    }

    /// The kernel holds each value against the other's present state and says EINVAL: what it refuses now it may accept
    /// after the next. Gives up when a whole round has moved nothing.
    fn together(&self, writes: &[FileValue]) -> sys::Result<()> {
        let mut left: Vec<&FileValue> = writes.iter().collect();
        loop {
            let before = left.len();
            let mut refused = Ok(());
            let mut still = Vec::new();
            for write in left {
                match self.set(write) {
                    Err(error) if error.errno == Errno::EINVAL => {
                        still.push(write);
                        refused = refused.and(Err(error));
                    }
                    result => result?,
                }
            }
            if still.is_empty() || still.len() == before {
                return refused;
            }
            left = still;
        }
    }

    fn period(&self, period: u64) -> sys::Result<()> {
        let now = self.read("cpu.max")?;
        let quota = now.split_whitespace().next().unwrap_or("max");
        self.write("cpu.max", &format!("{quota} {period}"))
    }

    /// The v1 list: first the default, which empties it, then the exceptions through one descriptor.
    fn device_list(&self, rules: &DeviceRules) -> sys::Result<()> {
        let (default, exceptions) = match rules.default_allow {
            true => ("devices.allow", "devices.deny"),
            false => ("devices.deny", "devices.allow"),
        };
        self.write(default, "a")?;
        if rules.rules.is_empty() {
            return Ok(());
        }
        let path = self.file(exceptions);
        let file = cgroup::open_to_write(self.mount(), &path).map_err(|e| self.blame(e))?;
        for rule in &rules.rules {
            fs::write_fd(file.as_fd(), rule.to_string().as_bytes())
                .map_err(|e| self.blame(e.about(format!("{path} = {rule}"))))?;
        }
        Ok(())
    }

    /// The v2 filter: exactly one of ours, put in place of what is there in one step.
    fn device_filter(&self, rules: &DeviceRules) -> sys::Result<()> {
        let dir = cgroup::open_dir(self.mount(), &self.place.path).map_err(|e| self.blame(e))?;
        let dir = dir.as_fd();
        let about = |e: Error| if e.note.is_empty() { self.blame(e.about(self.place.path.clone())) } else { e };
        let old = if self.fresh { Vec::new() } else { bpf::device_filters(dir).map_err(about)? };
        if rules.default_allow && rules.rules.is_empty() {
            return old.iter().try_for_each(|filter| bpf::detach_device_filter(dir, filter.as_fd())).map_err(about);
        }
        let filter = bpf::load_device_filter(&ebpf::program(rules)).map_err(about)?;
        let instead = old.first().filter(|_| old.len() == 1).map(AsFd::as_fd);
        bpf::attach_device_filter(dir, filter.as_fd(), instead).map_err(about)?;
        // Several filters are all asked and all must allow, so the new one counts already while the old ones go.
        let rest = if instead.is_some() { &[][..] } else { &old[..] };
        rest.iter().try_for_each(|filter| bpf::detach_device_filter(dir, filter.as_fd())).map_err(about)
    }
}
