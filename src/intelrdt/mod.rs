//! Intel RDT: the share of caches and memory bandwidth that a container gets, through the kernel's resctrl file system.
//!
//! A container joins one group (a directory below the mount, `closID`, else named like the container; `/` is the root
//! group) and, if it is to be monitored, one monitoring group in it. A group that is there already belongs to whoever
//! made it: it is never changed, only compared, and it stays when the container goes.

mod apply;
#[cfg(test)]
mod fake;
mod lower;
pub mod schemata;
mod update;

use std::fmt;

use serde::Serialize;

pub use apply::{Rdt, probe};
pub use lower::{Lowered, group, lower};
pub use update::Changed;

/// What the host side does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Finds the group, or makes it.
    Group {
        /// Its absolute directory.
        dir: String,
        /// Whether it must be there: without schemata a new one would be no different from the root group.
        must_exist: bool,
    },
    /// Writes the schemata of a group that we made; compares those of one that was there.
    Schemata {
        /// The group's directory.
        dir: String,
        /// Lines like `L3:0=ff;1=ff`, one for each resource.
        lines: Vec<String>,
    },
    /// Finds or makes the monitoring group.
    Monitor {
        /// Its absolute directory.
        dir: String,
    },
    /// Puts init into the groups.
    Assign {
        /// Their directories, the monitoring group last.
        dirs: Vec<String>,
    },
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Group { dir, must_exist: true } => write!(f, "find resctrl group {dir}"),
            Op::Group { dir, must_exist: false } => write!(f, "find resctrl group {dir}, or make it"),
            Op::Schemata { dir, lines } => {
                write!(f, "{dir}/schemata = {}, or check that a group which was there has them", lines.join(" "))
            }
            Op::Monitor { dir } => write!(f, "find resctrl monitoring group {dir}, or make it"),
            Op::Assign { dirs } => write!(f, "join resctrl group {}", dirs.join(" and ")),
        }
    }
}
