//! Hooks: programs that run at six points of a container's life, with its state on their standard input.
//!
//! A hook gets exactly its `args` and `env`, no descriptor but 0-2, a process group of its own, and no more time than
//! its `timeout`. Never runs a shell, never looks into PATH.

use std::fmt;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook as SpecHook, Spec};
use serde::Serialize;

use crate::step::Step;
use crate::sys::process::{Ended, Program};
use crate::sys::{self, Call, During, Error, Result};

/// The six points, in the order of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Point {
    /// Host, while init waits (deprecated by the spec, used by docker).
    Prestart,
    /// Host, while init waits.
    CreateRuntime,
    /// In the container's namespaces, before the pivot.
    CreateContainer,
    /// In the container, before the workload.
    StartContainer,
    /// Host, after the workload started.
    Poststart,
    /// Host, after the container was deleted.
    Poststop,
}

impl Point {
    /// All six, with the spec's words.
    pub const ALL: [(Point, &'static str); 6] = [
        (Point::Prestart, "prestart"),
        (Point::CreateRuntime, "createRuntime"),
        (Point::CreateContainer, "createContainer"),
        (Point::StartContainer, "startContainer"),
        (Point::Poststart, "poststart"),
        (Point::Poststop, "poststop"),
    ];

    /// The spec's word.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// One hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// When.
    pub point: Point,
    /// What: an absolute path.
    pub path: String,
    /// `argv`, with the name first.
    pub args: Vec<String>,
    /// The whole environment; `None`: what `rt` itself was given.
    pub env: Option<Vec<String>>,
    /// Seconds, if there is a limit.
    pub timeout: Option<u32>,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hook {}", self.point.name(), self.path)?;
        if let Some(seconds) = self.timeout {
            write!(f, ", at most {seconds} s")?;
        }
        Ok(())
    }
}

/// The hooks that the config has for one point.
pub fn listed(spec: &Spec, point: Point) -> &[SpecHook] {
    let Some(hooks) = spec.hooks() else { return &[] };
    #[allow(deprecated)] // prestart is deprecated by the spec, and docker's network depends on it
    let list = match point {
        Point::Prestart => hooks.prestart(),
        Point::CreateRuntime => hooks.create_runtime(),
        Point::CreateContainer => hooks.create_container(),
        Point::StartContainer => hooks.start_container(),
        Point::Poststart => hooks.poststart(),
        Point::Poststop => hooks.poststop(),
    };
    list.as_deref().unwrap_or_default()
}

/// The hooks of one point. `strict`: a hook without `env` gets an empty one, else the runtime's (startContainer: the workload's).
pub fn lower(spec: &Spec, point: Point, strict: bool) -> Vec<Step<Hook>> {
    let process_env = spec.process().as_ref().and_then(|p| p.env().clone());
    let lower_one = |(index, hook): (usize, &SpecHook)| {
        let env = match (hook.env().clone(), point) {
            (Some(env), _) => Some(env),
            (None, _) if strict => Some(Vec::new()),
            (None, Point::StartContainer) => Some(process_env.clone().unwrap_or_default()),
            (None, _) => None,
        };
        let path = hook.path().to_string_lossy().into_owned();
        let args = hook.args().clone().filter(|a| !a.is_empty()).unwrap_or_else(|| vec![path.clone()]);
        let timeout = hook.timeout().and_then(|t| u32::try_from(t).ok());
        Step::asked(format!("/hooks/{}/{index}", point.name()), Hook { point, path, args, env, timeout })
    };
    listed(spec, point).iter().enumerate().map(lower_one).collect()
}

/// How often somebody is asked whether a hook is still wanted.
const TICK: Duration = Duration::from_millis(100);

/// How the wait for a hook ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waited {
    /// It ended by itself.
    Ended,
    /// Its time was up.
    Late,
    /// Nobody wants it any more.
    Unwanted,
}

/// Runs one hook with `state` on its standard input, in `directory`, to its end.
pub fn run(hook: &Hook, state: &str, directory: &str) -> Result<()> {
    run_while(hook, state, directory, None)
}

/// As [`run`], as long as it is wanted: a hook that hangs must not outlive what it was to work on.
pub fn run_while(hook: &Hook, state: &str, directory: &str, wanted: Option<&dyn Fn() -> bool>) -> Result<()> {
    let failed = |note: String| Error::other(Call::Execve, format!("{} hook {}: {note}", hook.point.name(), hook.path));
    let input = sys::fs::scratch("hook-state")?;
    let output = sys::fs::scratch("hook-output")?;
    sys::fs::write_fd(&input, state.as_bytes())?;
    let mut input = std::fs::File::from(input);
    input.rewind().during(Call::Read)?;
    let env = hook.env.clone().unwrap_or_else(our_environment);
    let stdio = [input.as_fd(), output.as_fd(), output.as_fd()];
    let program = Program { path: &hook.path, args: &hook.args, env: &env, directory, stdio, more: &[] };
    let (pid, pidfd) = sys::process::spawn(&program).map_err(|e| failed(sys::words(e.errno)))?;
    let limit = hook.timeout.map(|s| Duration::from_secs(s.into()));
    let waited = wait(&pidfd, limit, wanted)?;
    if waited != Waited::Ended {
        // The whole group: what the hook started must not outlive its time either.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL);
    }
    let how = match (waited, sys::process::wait(&pidfd)?) {
        (Waited::Late, _) => format!("ran past its timeout of {} s", hook.timeout.unwrap_or(0)),
        (Waited::Unwanted, _) => "was ended, for the container has ended".to_owned(),
        (Waited::Ended, Ended::Exited(0)) => return Ok(()),
        (Waited::Ended, ended) => ended.to_string(),
    };
    let said = what_it_said(output);
    Err(failed(if said.is_empty() { how } else { format!("{how}: {said}") }))
}

fn wait(hook: &OwnedFd, limit: Option<Duration>, wanted: Option<&dyn Fn() -> bool>) -> Result<Waited> {
    let end = limit.map(|limit| Instant::now() + limit);
    loop {
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let step = if wanted.is_some() { Some(left.map_or(TICK, |left| left.min(TICK))) } else { left };
        if sys::process::wait_readable(hook, step)? {
            return Ok(Waited::Ended);
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(Waited::Late);
        }
        if wanted.is_some_and(|wanted| !wanted()) {
            return Ok(Waited::Unwanted);
        }
    }
}

/// What `rt` was given itself, for hooks that say nothing about theirs.
fn our_environment() -> Vec<String> {
    std::env::vars_os().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy())).collect()
}

fn what_it_said(output: OwnedFd) -> String {
    let mut output = std::fs::File::from(output);
    let mut said = Vec::new();
    if output.rewind().is_ok() {
        // The error is the hook's end; that its words can't be read changes nothing about it.
        let _ = output.take(2048).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u32>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { point: Point::Prestart, path: "/bin/sh".into(), args, env: Some(vec!["A=b".into()]), timeout }
    }

    #[test]
    fn a_hook_reads_the_state_and_has_its_own_environment_only() {
        run(&hook("read -r line; [ \"$line\" = state ] && [ \"$A$HOME\" = b ]", None), "state", "/").unwrap();
    }

    #[test]
    fn what_a_failing_hook_said_is_in_the_error() {
        let error = run(&hook("echo no luck >&2; exit 3", None), "", "/").unwrap_err();
        assert_eq!(error.to_string(), "prestart hook /bin/sh: exit status 3: no luck");
    }

    #[test]
    fn a_hook_that_takes_too_long_ends_with_its_children() {
        let error = run(&hook("sleep 1000 & sleep 1000", Some(1)), "", "/").unwrap_err();
        assert!(error.note.ends_with("ran past its timeout of 1 s"), "{error}");
    }

    #[test]
    fn a_hook_that_nobody_wants_any_more_ends_with_its_children() {
        let asked = std::cell::Cell::new(0);
        let wanted = || asked.replace(asked.get() + 1) < 2;
        let endless = hook("sleep 1000 & sleep 1000", None);
        let error = run_while(&endless, "", "/", Some(&wanted)).unwrap_err();
        assert!(error.note.ends_with("was ended, for the container has ended"), "{error}");
        assert_eq!(asked.get(), 3);
        run_while(&hook("sleep 0.3", None), "", "/", Some(&|| true)).unwrap();
        let late = run_while(&hook("sleep 1000", Some(1)), "", "/", Some(&|| true)).unwrap_err();
        assert!(late.note.ends_with("ran past its timeout of 1 s"), "{late}");
    }
}
