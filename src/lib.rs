//! `rt`: an OCI container runtime. `config.json` is lowered into a [plan](crate::step), the plan is run.
//!
//! The layers, from the ground up (a test holds the `use` lines against this table):
//! 0 `sys` · 1 `error step facts` · 2 the subjects · 3 `plan` · 4 `host`, `init` · 5 `commands`, `cli`.

pub mod cgroups;
pub mod cli;
pub mod commands;
pub mod criu;
pub mod error;
pub mod facts;
pub mod hooks;
pub mod host;
pub mod identity;
pub mod init;
pub mod intelrdt;
pub mod log;
pub mod namespaces;
pub mod plan;
pub mod rootfs;
pub mod seccomp;
pub mod spec;
pub mod state;
pub mod step;
pub mod sys;
pub mod talk;
pub mod timings;
pub mod tty;
