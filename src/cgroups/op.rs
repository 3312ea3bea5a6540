//! The operations on a cgroup, as data. `tree` is an index into the placement's trees.
//!
//! Order within a plan: all directories, then devices, then the other limits: nobody may be in the cgroup before its
//! device rules stand.

use std::fmt;

use serde::Serialize;

use super::devices::DeviceRules;
use super::systemd::{Instance, Unit, Value};

/// One control file and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileValue {
    /// The control file's name: `memory.max`.
    pub file: String,
    /// What is written, in one write.
    pub value: String,
}

impl FileValue {
    /// `file = value`.
    pub fn new(file: impl Into<String>, value: impl ToString) -> Self {
        Self { file: file.into(), value: value.to_string() }
    }
}

impl fmt::Display for FileValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.value)
    }
}

/// What can be done to a cgroup before the container's process is in it (or, for `update`, while it is).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Make the directory, and its ancestors; refuse one that has processes or is frozen.
    Create {
        /// Which tree.
        tree: usize,
        /// The absolute directory, for people.
        dir: String,
    },
    /// v2: make controllers available in the directory, by enabling them in each ancestor.
    Enable {
        /// Which tree.
        tree: usize,
        /// All that are wanted.
        controllers: Vec<String>,
        /// Those that a limit needs: without them it is an error.
        needed: Vec<String>,
    },
    /// v1 cpuset: a new directory has no cpus and no memory nodes, and cannot be joined; take over those of its parent.
    Inherit {
        /// Which tree.
        tree: usize,
        /// The files that the config does not set itself.
        files: Vec<String>,
    },
    /// `file = value`.
    Write {
        /// Which tree.
        tree: usize,
        /// What to write.
        #[serde(flatten)]
        write: FileValue,
    },
    /// The first of these files that this kernel has.
    FirstOf {
        /// Which tree.
        tree: usize,
        /// In order of preference.
        choices: Vec<FileValue>,
    },
    /// Values that depend on each other: written in whatever order the kernel accepts.
    Together {
        /// Which tree.
        tree: usize,
        /// In the order that suits a new cgroup.
        writes: Vec<FileValue>,
    },
    /// v2: the period of `cpu.max`, keeping its quota.
    Period {
        /// Which tree.
        tree: usize,
        /// Microseconds.
        period: u64,
    },
    /// Gives the directory, and what the kernel lists as to be delegated, to the container's user.
    Own {
        /// Which tree.
        tree: usize,
        /// The absolute directory, for people.
        dir: String,
        /// The user, as the host sees it.
        uid: u32,
    },
    /// systemd: a connection to it, before anything is made.
    Bus {
        /// Which tree.
        tree: usize,
        /// Whose systemd.
        of: Instance,
    },
    /// systemd: a property of the unit, which is set when it is started, or with [`Op::SetProperties`].
    Property {
        /// Which tree.
        tree: usize,
        /// Its name on the bus.
        name: String,
        /// Its value.
        value: Value,
    },
    /// systemd makes the unit; a scope with the container's first process in it.
    StartUnit {
        /// Which tree.
        tree: usize,
        /// The unit.
        unit: Unit,
    },
    /// systemd: the properties that were collected replace those of the running unit.
    SetProperties {
        /// Which tree.
        tree: usize,
        /// The unit's name.
        unit: String,
    },
    /// Moves the container's first process into the directory.
    Attach {
        /// Which tree.
        tree: usize,
        /// The absolute directory, for people.
        dir: String,
    },
    /// Which devices may be used: the v1 list, or the v2 filter.
    Devices {
        /// Which tree.
        tree: usize,
        /// The rules.
        rules: DeviceRules,
    },
}

impl Op {
    /// The tree that the operation is about.
    pub fn tree(&self) -> usize {
        match self {
            Op::Create { tree, .. }
            | Op::Own { tree, .. }
            | Op::Enable { tree, .. }
            | Op::Inherit { tree, .. }
            | Op::Write { tree, .. }
            | Op::FirstOf { tree, .. }
            | Op::Together { tree, .. }
            | Op::Period { tree, .. }
            | Op::Bus { tree, .. }
            | Op::Property { tree, .. }
            | Op::StartUnit { tree, .. }
            | Op::SetProperties { tree, .. }
            | Op::Attach { tree, .. }
            | Op::Devices { tree, .. } => *tree,
        }
    }
}

fn joined(items: &[FileValue], between: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(between)
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Create { dir, .. } => write!(f, "make cgroup {dir}"),
            Op::Enable { controllers, .. } => write!(f, "enable the controllers {} above it", controllers.join(" ")),
            Op::Inherit { files, .. } if files.is_empty() => f.write_str("fill the cpusets above it"),
            Op::Inherit { files, .. } => write!(f, "take over {} of the parent", files.join(" and ")),
            Op::Write { write, .. } => write.fmt(f),
            Op::FirstOf { choices, .. } => f.write_str(&joined(choices, " or else ")),
            Op::Together { writes, .. } => f.write_str(&joined(writes, " with ")),
            Op::Period { period, .. } => write!(f, "cpu.max = (its quota) {period}"),
            Op::Own { dir, uid, .. } => write!(f, "cgroup {dir} belongs to uid {uid}"),
            Op::Devices { rules, .. } => rules.fmt(f),
            Op::Bus { of, .. } => write!(f, "connect to the {} instance of systemd", of.name()),
            Op::Property { name, value, .. } => write!(f, "unit property {name} = {value}"),
            Op::StartUnit { unit, .. } if unit.is_slice() => write!(f, "systemd starts {}", unit.name),
            Op::StartUnit { unit, .. } => write!(f, "systemd starts {} in {}, with init in it", unit.name, unit.slice),
            Op::SetProperties { unit, .. } => write!(f, "systemd changes the properties of {unit}"),
            Op::Attach { dir, .. } => write!(f, "move init to {dir}"),
        }
    }
}
