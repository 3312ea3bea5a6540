//! `rt doctor`: what this host can do, and what a bundle lacks here. Every line says what was looked at, what was there,
//! and what to do about it. Nothing is changed: what has to be tried is tried in a child that ends, or on a mount that
//! nobody sees.

mod cgroups;
mod extras;
mod files;
mod kernel;
mod line;
mod namespaces;
mod needs;
mod rights;
mod security;

use anyhow::{Context, Result};
use nix::fcntl::AtFlags;
use nix::unistd::AccessFlags;

use super::{bundle, state_root};
use crate::cli::{self, Global};
use crate::facts::Facts;
use crate::sys::{self, Call, Error};
use line::{Line, Verdict};

/// What all that is looked at begins with.
struct Host {
    facts: Facts,
    /// Where the state of containers goes.
    state: String,
    /// Where programs are looked for.
    path: String,
}

impl Host {
    /// Whether we are the real root.
    fn root(&self) -> bool {
        self.facts.euid == 0 && !self.facts.in_userns
    }

    /// Whether we have this capability over the host.
    fn has(&self, number: u8) -> bool {
        self.root() && self.facts.capabilities & (1 << number) != 0
    }
}

/// Prints. 1: something that is needed is missing.
pub fn doctor(global: &Global, args: &cli::Doctor) -> Result<u8> {
    let path =
        std::env::var("PATH").unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    let host = Host { facts: bundle::facts(global, None)?, state: state_root(global)?, path };
    let lines = match &args.bundle {
        None => everything(global, &host),
        Some(dir) => needs::lines(global, &host, dir)?,
    };
    let text = if args.json { serde_json::to_string_pretty(&lines)? + "\n" } else { line::text(&lines) };
    super::say(&text).context("doctor: write")?;
    Ok(u8::from(lines.iter().any(|line| line.verdict == Verdict::Fail)))
}

fn everything(global: &Global, host: &Host) -> Vec<Line> {
    let parts = [
        kernel::needed(),
        kernel::wished(),
        namespaces::lines(host),
        cgroups::lines(host),
        security::lines(host),
        rights::lines(host),
        files::needed(host),
        files::wished(),
        extras::lines(global, host),
    ];
    parts.into_iter().flatten().collect()
}

/// A small file of the kernel's or of the host's, if it can be read.
fn read(path: &str) -> Option<String> {
    sys::fs::read_host(path).ok().map(|text| text.trim_end().to_owned())
}

/// Whether we may do that to a file.
fn may(path: &str, what: AccessFlags) -> sys::Result<()> {
    nix::unistd::faccessat(sys::fs::cwd(), path, what, AtFlags::AT_EACCESS)
        .map_err(|errno| Error::new(Call::Stat, errno).about(path))
}

/// A program of the host.
fn find_program(host: &Host, name: &str) -> Option<String> {
    host.path.split(':').map(|dir| format!("{dir}/{name}")).find(|path| may(path, AccessFlags::X_OK).is_ok())
}
