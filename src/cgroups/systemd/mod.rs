//! systemd as the one who makes cgroups: a container's scope is asked for over D-Bus, and everything below it is ours.
//!
//! ```text
//! system.slice/                        systemd's
//!   rt-box.scope/                      systemd makes it, with init in it, and writes its properties (Delegate=yes: the
//!                                      rest is handed over)
//!     container/                       ours: init is moved here; all limits, the device filter, kill, freeze
//! ```
//! A cgroup has one writer. systemd may write the scope's files again at any time (`daemon-reload`, `set-property`), and
//! attach or drop device filters there; none of that reaches the directory below. So limits and devices outlive a
//! reload because nobody but us ever writes them, and the unit's properties only mirror them (`properties.rs`). For the
//! same reason the unit has no DeviceAllow: a second filter would take away what is added to the first one later.
//!
//! The way through: [`lower()`] names the [`Unit`] and collects properties · [`Session`] carries out its steps ·
//! [`release`] ends the unit · [`bring`] takes a later process in. `bus/` speaks D-Bus.
//!
//! Must never: start a unit that the record does not name, or stop one that was not started for this container.

mod annotations;
mod apply;
pub mod bus;
mod lower;
mod properties;
mod unit;

pub use annotations::PREFIX;
pub(super) use apply::Session;
pub(super) use apply::bring;
pub use apply::release;
pub use bus::{Instance, Value};
pub use lower::{lower, lower_update};
pub use unit::Unit;

/// The directory below the unit's cgroup. Others (cAdvisor, CRI-O) know crun's name for it.
pub const SUBGROUP: &str = "container";

/// The v2 controllers that systemd enables or disables as its units need them.
pub const CONTROLLERS: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
