//! Cgroups: where a container stands in each hierarchy, its limits, and everything that is done to it as a group.
//!
//! The way through: [`probe`] reads which trees this host has (facts) · [`lower()`] turns `cgroupsPath` and `resources`
//! into a [`Placement`] (kept in the container's record) and steps · [`Cgroup`] carries them out, below one descriptor
//! per tree, and later joins, signals, freezes and removes. Limits are modelled once (`limits.rs`); each hierarchy is
//! a table of `file = value` (`v1.rs`, `v2.rs`). Where systemd makes the cgroups, it is asked to (`systemd/`).
//!
//! Must never: touch a directory outside the placement, or leave a limit that was asked for unset without an error.

mod apply;
mod cpuset;
mod devices;
mod ebpf;
mod freeze;
mod join;
mod limits;
mod lower;
mod op;
mod owner;
mod place;
pub mod probe;
mod processes;
mod remove;
mod saved;
mod stats;
mod stats_v1;
mod stats_v2;
pub mod systemd;
mod tree;
mod update;
mod v1;
mod v2;
mod watch;

pub use apply::Cgroup;
pub use devices::{Access, DeviceRules, Kind, Rule};
pub use join::{Below, Join};
pub use limits::Purpose;
pub use lower::{Lowered, Resources, lower, lower_devices, lower_resources};
pub use op::{FileValue, Op};
pub use place::{Place, Placement, Version};
pub use saved::Group;
pub use stats::{Interface, Stats, interfaces};
pub use watch::{Happening, Watcher};
