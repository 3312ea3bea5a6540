//! New limits for a running container: all of them, or none. Before a file is written its value is kept; when a later one
//! is refused, the earlier ones get theirs back, last first.
//!
//! Must never leave a container with fewer device rules than before or after: the v1 list is emptied on the way, so the
//! container stands still while it changes.

use std::time::Duration;

use crate::step::Step;
use crate::sys::{self, Call, Errno, Error};

use super::apply::Cgroup;
use super::op::{FileValue, Op};
use super::place::Version;
use super::tree::Tree;

/// How long processes may take to stand still while the v1 device list changes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a control file held: what is to be written to have it so again.
struct Before {
    tree: usize,
    file: String,
    lines: Vec<String>,
}

impl Cgroup {
    /// Carries out the steps of an update. On failure everything is as it was; the step that failed comes with the error.
    pub fn update<'s>(&mut self, steps: &'s [Step<Op>]) -> Result<(), (&'s Step<Op>, Error)> {
        let mut before = Vec::new();
        for step in steps {
            before.extend(self.look(&step.op));
            if let Err(error) = self.change(step) {
                let error = self.take_back(before, error);
                return Err((step, error));
            }
        }
        Ok(())
    }

    /// Refuses a limit that is below what is used now: the kernel would take it, and kill.
    pub fn check_memory(&self, limit: u64) -> sys::Result<()> {
        let v1 = self.ours().find(|t| t.is_v1("memory")).map(|t| (t, "memory.usage_in_bytes"));
        let Some((tree, file)) = v1.or_else(|| self.ours().find(|t| t.is_v2()).map(|t| (t, "memory.current"))) else {
            return Ok(());
        };
        let used: u64 = tree.read(file)?.trim().parse().unwrap_or(0);
        if limit >= used {
            return Ok(());
        }
        Err(Error::other(Call::Write, format!("rejecting memory limit {limit} < usage {used} (checkBeforeUpdate)")))
    }

    /// Quota and period as they are, where there is such a file: `max 100000`.
    pub fn cpu_max(&self) -> String {
        self.ours().find(|t| t.is_v2()).and_then(|t| t.read("cpu.max").ok()).unwrap_or_default()
    }

    /// The limit of memory as it is on cgroup v2, where there is one.
    pub fn memory_max(&self) -> Option<u64> {
        self.ours().find(|t| t.is_v2())?.read("memory.max").ok()?.trim().parse().ok()
    }

    fn change(&mut self, step: &Step<Op>) -> sys::Result<()> {
        match &step.op {
            Op::Devices { tree, .. } if self.trees[*tree].place.version == Version::V1 => self.while_still(step),
            _ => self.apply(step),
        }
    }

    /// The v1 list is made anew from nothing: nobody may look at it meanwhile.
    fn while_still(&mut self, step: &Step<Op>) -> sys::Result<()> {
        let frozen = self.is_frozen()?;
        if !frozen && let Some(freezer) = self.find_freezer() {
            freezer.freeze(PATIENCE).inspect_err(|_| {
                // Half frozen is neither: the error that matters is the first one.
                let _ = freezer.thaw();
            })?;
        }
        let done = self.apply(step);
        let thawed = match self.find_freezer() {
            Some(freezer) if !frozen => freezer.thaw(),
            _ => Ok(()),
        };
        done.and(thawed)
    }

    /// What the files of an operation hold now. A file that is not there has nothing to be put back.
    fn look(&self, op: &Op) -> Vec<Before> {
        let tree = op.tree();
        let keep = |write: &FileValue| {
            let now = self.trees[tree].read(&write.file).ok()?;
            Some(Before { tree, file: write.file.clone(), lines: lines_for(write, &now) })
        };
        match op {
            Op::Write { write, .. } => keep(write).into_iter().collect(),
            Op::FirstOf { choices, .. } => choices.iter().filter_map(keep).take(1).collect(),
            // Written back in whatever order is accepted, as it was written.
            Op::Together { writes, .. } => writes.iter().filter_map(keep).collect(),
            Op::Period { .. } => keep(&FileValue::new("cpu.max", "")).into_iter().collect(),
            Op::Devices { .. } if self.trees[tree].place.version == Version::V1 => {
                let now = self.trees[tree].read("devices.list").unwrap_or_default();
                vec![Before { tree, file: "devices.allow".into(), lines: now.lines().map(str::to_owned).collect() }]
            }
            // The v2 filter changes in one step, or not at all. A controller that is enabled once does no harm.
            // systemd's properties come last, and are taken or refused together.
            Op::Devices { .. }
            | Op::Create { .. }
            | Op::Enable { .. }
            | Op::Inherit { .. }
            | Op::Own { .. }
            | Op::Bus { .. }
            | Op::Property { .. }
            | Op::StartUnit { .. }
            | Op::SetProperties { .. }
            | Op::Attach { .. } => Vec::new(),
        }
    }

    /// Puts back what was, last first; values that depend on each other in whatever order is accepted. What can't be put
    /// back is added to the error: the caller must know that the container is neither as it was nor as it should be.
    fn take_back(&self, before: Vec<Before>, mut error: Error) -> Error {
        let mut left: Vec<Before> = before.into_iter().rev().collect();
        loop {
            let many = left.len();
            let mut refused = Vec::new();
            left.retain(|b| match put_back(&self.trees[b.tree], b) {
                Ok(()) => false,
                Err(e) => {
                    refused.push(e.to_string());
                    true
                }
            });
            if left.is_empty() {
                return error;
            }
            if left.len() == many {
                error.note =
                    format!("{}; and what was set before could not be taken back: {}", error.note, refused.join("; "));
                return error;
            }
        }
    }
}

fn put_back(tree: &Tree, before: &Before) -> sys::Result<()> {
    if before.file == "devices.allow" {
        tree.write("devices.deny", "a")?;
    }
    before.lines.iter().try_for_each(|line| match tree.write(&before.file, line) {
        // A value that can only be read so ("8:0 0" for a disk that has none) was not there.
        Err(e) if e.errno == Errno::ENODEV => Ok(()),
        other => other,
    })
}

/// What has to be written to have the file as it is now. Some files hold a line for each disk or interface, and take one.
fn lines_for(write: &FileValue, now: &str) -> Vec<String> {
    let key = write.value.split(' ').next().unwrap_or_default();
    let keyed = key.contains(':') || write.file.ends_with("ifpriomap") || write.file == "rdma.max";
    if !keyed || !write.value.contains(' ') {
        return now.lines().next().map(str::to_owned).into_iter().collect();
    }
    if let Some(line) = now.lines().find(|line| line.split(' ').next() == Some(key)) {
        return vec![line.to_owned()];
    }
    let nothing = match write.file.as_str() {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "io.weight" | "io.bfq.weight" => "default",
        _ => "0",
    };
    vec![format!("{key} {nothing}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_a_disk_is_put_back_as_it_was_or_taken_away() {
        let io = FileValue::new("io.max", "8:0 rbps=1");
        assert_eq!(lines_for(&io, "8:16 rbps=5\n8:0 rbps=2 wbps=max\n"), ["8:0 rbps=2 wbps=max"]);
        assert_eq!(lines_for(&io, "8:16 rbps=5\n"), ["8:0 rbps=max wbps=max riops=max wiops=max"]);
        let v1 = FileValue::new("blkio.throttle.read_bps_device", "8:0 77");
        assert_eq!(lines_for(&v1, ""), ["8:0 0"]);
        assert_eq!(lines_for(&FileValue::new("net_prio.ifpriomap", "lo 5"), "lo 0\neth0 3\n"), ["lo 0"]);
    }

    #[test]
    fn a_file_with_one_value_gets_it_back() {
        assert_eq!(lines_for(&FileValue::new("cpu.max", "50000 100000"), "max 100000\n"), ["max 100000"]);
        assert_eq!(lines_for(&FileValue::new("io.weight", "100"), "default 50\n8:0 7\n"), ["default 50"]);
        assert_eq!(lines_for(&FileValue::new("memory.max", "1"), "max\n"), ["max"]);
    }
}
