//! The vocabulary of the plan: a step, who asked for it, and when it runs.

use std::fmt;

use serde::Serialize;

use crate::sys::Errno;

/// Who asked for a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A field of config.json, as an RFC 6901 pointer: `/mounts/7`.
    Config(String),
    /// Nobody in particular; the text says why it is done all the same.
    Default(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Config(pointer) => f.write_str(pointer),
            Origin::Default(why) => write!(f, "({why})"),
        }
    }
}

/// One typed step of a plan. `Op` says what; the subject's `apply.rs` knows how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step<Op> {
    /// Who asked.
    pub origin: Origin,
    /// Errors that are not failures here; the reason stands where the step is lowered.
    #[serde(skip)]
    pub tolerate: &'static [Errno],
    /// What to do.
    pub op: Op,
}

impl<Op> Step<Op> {
    /// A step that the config field at `pointer` asks for.
    pub fn asked(pointer: impl Into<String>, op: Op) -> Self {
        Self { origin: Origin::Config(pointer.into()), tolerate: &[], op }
    }

    /// A step that nobody asked for, and why it is done.
    pub fn default(why: &'static str, op: Op) -> Self {
        Self { origin: Origin::Default(why), tolerate: &[], op }
    }

    /// The same step, with errors that are answers.
    #[must_use]
    pub fn tolerating(mut self, errnos: &'static [Errno]) -> Self {
        self.tolerate = errnos;
        self
    }

    /// The same step with its op wrapped: how a subject's op joins the plan.
    pub fn map<To>(self, wrap: impl FnOnce(Op) -> To) -> Step<To> {
        Step { origin: self.origin, tolerate: self.tolerate, op: wrap(self.op) }
    }
}

/// When a step runs, and in which process. See ARCHITECTURE.md, "Process model".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Stage {
    /// Host: open, compile and create everything that can be had before the child exists.
    Prepare,
    /// Host: one clone3.
    Birth,
    /// Host: what needs the child's pid, before the child may go on.
    Adopt,
    /// Init: mounts, devices, links.
    Build,
    /// Host: prestart and createRuntime hooks, when init has built.
    Hooks,
    /// Init: createContainer hooks, pivot, masks, console.
    Enter,
    /// Init: credentials, limits, labels.
    Become,
    /// Init: after `start`: hooks, signals, descriptors, seccomp.
    Start,
    /// Init: execve.
    Exec,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Stage; 9] = [
        Stage::Prepare,
        Stage::Birth,
        Stage::Adopt,
        Stage::Build,
        Stage::Hooks,
        Stage::Enter,
        Stage::Become,
        Stage::Start,
        Stage::Exec,
    ];

    /// The stage with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Stage> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The word that `explain`, timings and errors use.
    pub fn name(self) -> &'static str {
        ["prepare", "birth", "adopt", "build", "hooks", "enter", "become", "start", "exec"][self as usize]
    }
}
