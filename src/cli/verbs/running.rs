//! The verbs for a container that runs: `exec`, `ps`, `events`, `wait`, `pause`, `resume`, `update`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::super::{ContainerId, User, duration, size, user};
use super::{ListFormat, Timings};

/// `rt exec`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// File with the process as JSON, as in config.json; the flags count more
    #[arg(short, long, value_name = "FILE")]
    pub process: Option<PathBuf>,
    /// Return as soon as the process runs
    #[arg(short, long)]
    pub detach: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Socket to which the terminal's descriptor is sent
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Socket to which the pidfd of the process is sent
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the pid of the process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<String>,
    /// Set an environment variable; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Run as this user, by numbers
    #[arg(short, long, value_name = "UID[:GID]", value_parser = User::from_str)]
    pub user: Option<User>,
    /// Add a supplementary group, by number; may be repeated
    #[arg(short = 'g', long, value_name = "GID", value_parser = user::id)]
    pub additional_gids: Vec<u32>,
    /// Add a capability to the bounding, effective and permitted sets; may be repeated
    #[arg(short, long, value_name = "CAP")]
    pub cap: Vec<String>,
    /// Set no_new_privs
    #[arg(long)]
    pub no_new_privs: bool,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    pub process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    pub apparmor: Option<String>,
    /// Pass this many more descriptors on, from 3 upwards
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Run in this cgroup below the container's own; may be repeated
    #[arg(long, value_name = "[CONTROLLER:]PATH")]
    pub cgroup: Vec<String>,
    /// Go into a paused container too, and wait until it runs again
    #[arg(long)]
    pub ignore_paused: bool,
    /// Say where the time went, step by step, on stderr
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub timings: Option<Timings>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
    /// The command and its arguments
    #[arg(value_name = "CMD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// `rt ps`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Ps {
    /// Form of the output: a table, or the pids as JSON
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
    /// Options as for ps(1): -ef, aux, -o COLUMN,…
    #[arg(value_name = "PS-OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// `rt events`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Print the statistics once
    #[arg(long)]
    pub stats: bool,
    /// How often to print them: 500ms, 5s, 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration::parse)]
    pub interval: Duration,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt wait`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt pause`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt resume`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt update`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// File with linux.resources as JSON, or - for stdin; devices in it are left out, the other flags count more
    #[arg(short, long, value_name = "FILE")]
    pub resources: Option<PathBuf>,
    /// File with a list like linux.resources.devices, or - for stdin: takes the place of all device rules
    #[arg(long, value_name = "FILE")]
    pub devices: Option<PathBuf>,
    /// Weight for block devices, 10 to 1000
    #[arg(long, value_name = "N")]
    pub blkio_weight: Option<u16>,
    /// CPU period in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_period: Option<u64>,
    /// CPU quota in microseconds each period; -1 for none
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,
    /// CPU time in microseconds that may be saved up for later
    #[arg(long, value_name = "N")]
    pub cpu_burst: Option<u64>,
    /// CPU shares, relative to other containers
    #[arg(long, value_name = "N")]
    pub cpu_share: Option<u64>,
    /// Realtime period in microseconds
    #[arg(long, value_name = "N")]
    pub cpu_rt_period: Option<u64>,
    /// Realtime runtime in microseconds
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub cpu_rt_runtime: Option<i64>,
    /// Run only when no other group wants to (1), or not (0)
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    pub cpu_idle: Option<i64>,
    /// CPUs to run on: 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use: 0-1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Ignored: Linux has no such limit any more
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, hide = true)]
    pub kernel_memory: Option<String>,
    /// Limit for TCP buffers (cgroup v1)
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = size::parse)]
    pub kernel_memory_tcp: Option<i64>,
    /// Memory limit: 512m; -1 for none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = size::parse)]
    pub memory: Option<i64>,
    /// Memory that is left to it when the host runs short
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = size::parse)]
    pub memory_reservation: Option<i64>,
    /// Limit for memory and swap together; -1 for none
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true, value_parser = size::parse)]
    pub memory_swap: Option<i64>,
    /// How many processes there may be; -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,
    /// Intel RDT: schema of the L3 cache
    #[arg(long, value_name = "SCHEMA")]
    pub l3_cache_schema: Option<String>,
    /// Intel RDT: schema of the memory bandwidth
    #[arg(long, value_name = "SCHEMA")]
    pub mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}
