//! `process`: what must hold before a program can be started.
//!
//! Serves config.json and the file of `exec --process`; `base` is where the object stands in its document.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oci_spec::runtime::{LinuxSchedulerPolicy, PosixRlimit, PosixRlimitType, Process, Scheduler, User};

use super::remarks::Remarks;
use super::schema::quoted;
use crate::error::Rule;

/// The id that means "no change" to the kernel.
const NO_ID: u32 = u32::MAX;
/// The kernel's NGROUPS_MAX.
const MAX_GROUPS: usize = 65536;
/// The kernel gives arguments and environment a quarter of the stack, but never more than this ...
const MOST_ARGUMENTS: u64 = 6 << 20;
/// ... and never less than this.
const LEAST_ARGUMENTS: u64 = 128 << 10;

/// Looks at a whole process.
pub fn validate(process: &Process, base: &str, remarks: &mut Remarks) {
    program(process, base, remarks);
    absolute(process.cwd(), || format!("{base}/cwd"), remarks);
    environment(process.env().as_deref().unwrap_or_default(), || format!("{base}/env"), remarks);
    user(process.user(), base, remarks);
    let rlimits = process.rlimits().as_deref().unwrap_or_default();
    check_rlimits(rlimits, base, remarks);
    argument_space(process, rlimits, base, remarks);
    if let Some(scheduler) = process.scheduler() {
        check_scheduler(scheduler, &format!("{base}/scheduler"), remarks);
    }
}

/// A path must begin at a root.
pub fn absolute(path: &Path, pointer: impl FnOnce() -> String, remarks: &mut Remarks) {
    if path.as_os_str().as_bytes().first() != Some(&b'/') {
        remarks.fault(
            Rule::RelativePath,
            pointer(),
            format!("expected an absolute path, got {}", quoted(&path.to_string_lossy())),
        );
    }
}

/// Entries of an environment are `NAME=value`.
pub fn environment(entries: &[String], pointer: impl Fn() -> String, remarks: &mut Remarks) {
    for (index, entry) in entries.iter().enumerate() {
        if entry.find('=').is_none_or(|equals| equals == 0) {
            remarks.error(format!("{}/{index}", pointer()), format!("expected NAME=value, got {}", quoted(entry)));
        }
    }
}

fn program(process: &Process, base: &str, remarks: &mut Remarks) {
    match process.args().as_deref() {
        None => remarks.fault(
            Rule::MissingProperty,
            format!("{base}/args"),
            "missing; expected at least the program to run",
        ),
        Some([]) => remarks.error(format!("{base}/args"), "expected at least the program to run, got an empty array"),
        Some([program, ..]) if program.is_empty() => {
            remarks.error(format!("{base}/args/0"), "expected the program to run, got \"\"");
        }
        Some(_) => {}
    }
}

fn user(user: &User, base: &str, remarks: &mut Remarks) {
    let mut id = |name: &str, id: u32| {
        if id == NO_ID {
            remarks.error(
                format!("{base}/user/{name}"),
                format!("expected an id below {NO_ID}, which means no id at all"),
            );
        }
    };
    id("uid", user.uid());
    id("gid", user.gid());
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    for (index, gid) in groups.iter().enumerate() {
        id(&format!("additionalGids/{index}"), *gid);
    }
    if groups.len() > MAX_GROUPS {
        let message = format!("expected at most {MAX_GROUPS} groups, got {}", groups.len());
        remarks.fault(Rule::TooMany, format!("{base}/user/additionalGids"), message);
    }
}

fn check_rlimits(rlimits: &[PosixRlimit], base: &str, remarks: &mut Remarks) {
    for (index, rlimit) in rlimits.iter().enumerate() {
        if rlimit.soft() > rlimit.hard() {
            let message = format!("expected at most the hard limit {}, got {}", rlimit.hard(), rlimit.soft());
            remarks.fault(Rule::RlimitSoftAboveHard, format!("{base}/rlimits/{index}/soft"), message);
        }
        if let Some(first) = rlimits[..index].iter().position(|other| other.typ() == rlimit.typ()) {
            let message = format!("{} is set already by {base}/rlimits/{first}; keep one of them", rlimit.typ());
            remarks.fault(Rule::DuplicateRlimit, format!("{base}/rlimits/{index}/type"), message);
        }
    }
}

/// The kernel counts every string with its NUL and a pointer, and refuses with E2BIG what is more than a quarter of the stack.
fn argument_space(process: &Process, rlimits: &[PosixRlimit], base: &str, remarks: &mut Remarks) {
    let strings = process.args().iter().chain(process.env()).flatten();
    let needed: u64 = strings.map(|text| (text.len() + 1 + size_of::<usize>()) as u64).sum();
    let stack = rlimits.iter().find(|rlimit| rlimit.typ() == PosixRlimitType::RlimitStack);
    let room = stack.map_or(MOST_ARGUMENTS, |stack| (stack.soft() / 4).clamp(LEAST_ARGUMENTS, MOST_ARGUMENTS));
    if needed > room {
        let message = format!("expected args and env to need at most {room} bytes, got {needed}");
        remarks.fault(Rule::TooMany, format!("{base}/args"), message);
    }
}

fn check_scheduler(scheduler: &Scheduler, base: &str, remarks: &mut Remarks) {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedOther, SchedRr};
    let policy = *scheduler.policy();
    let (nice, priority) = (scheduler.nice().unwrap_or(0), scheduler.priority().unwrap_or(0));
    if matches!(policy, SchedOther | SchedBatch) && !(-20..=19).contains(&nice) {
        remarks.fault(
            Rule::Scheduler,
            format!("{base}/nice"),
            format!("expected an integer from -20 to 19, got {nice}"),
        );
    }
    match policy {
        SchedFifo | SchedRr if !(1..=99).contains(&priority) => {
            remarks.fault(
                Rule::Scheduler,
                format!("{base}/priority"),
                format!("expected 1 to 99 for {policy}, got {priority}"),
            );
        }
        SchedFifo | SchedRr => {}
        _ if priority != 0 => {
            let message = format!("only SCHED_FIFO and SCHED_RR have a priority, not {policy}; got {priority}");
            remarks.fault(Rule::Scheduler, format!("{base}/priority"), message);
        }
        _ => {}
    }
    let times = [("runtime", scheduler.runtime()), ("deadline", scheduler.deadline()), ("period", scheduler.period())];
    for (name, time) in times {
        let time = time.unwrap_or(0);
        if policy == SchedDeadline && time == 0 {
            remarks.fault(
                Rule::Scheduler,
                format!("{base}/{name}"),
                "missing; SCHED_DEADLINE needs runtime, deadline and period",
            );
        } else if policy != SchedDeadline && time != 0 {
            let message = format!("only SCHED_DEADLINE has a {name}, not {policy}; got {time}");
            remarks.fault(Rule::Scheduler, format!("{base}/{name}"), message);
        }
    }
    if let [Some(runtime), Some(deadline), Some(period)] = times.map(|(_, time)| *time)
        && !(runtime <= deadline && deadline <= period)
    {
        let message = format!("expected runtime <= deadline <= period, got {runtime}, {deadline}, {period}");
        remarks.fault(Rule::Scheduler, base, message);
    }
}
