//! The flags that stand before the verb. Data only.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use super::flags;
use crate::log::{Format, Level};

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Format::Text, Format::Json]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Format::Text => "text",
            Format::Json => "json",
        }))
    }
}

impl ValueEnum for Level {
    fn value_variants<'a>() -> &'a [Self] {
        &[Level::Error, Level::Warning, Level::Info, Level::Debug]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(if *self == Level::Warning { value.alias("warn") } else { value })
    }
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CgroupManager {
    /// We do, by writing to the cgroup filesystem.
    #[default]
    Cgroupfs,
    /// systemd does, asked over D-Bus.
    Systemd,
    /// Nobody: the container stays where we are.
    Disabled,
}

/// Whether we must get by without root's rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rootless {
    /// Look and see.
    #[default]
    Auto,
    /// Yes.
    True,
    /// No.
    False,
}

impl Rootless {
    /// The caller's word, if it has one.
    pub fn asked(self) -> Option<bool> {
        match self {
            Rootless::Auto => None,
            Rootless::True => Some(true),
            Rootless::False => Some(false),
        }
    }
}

fn rootless(value: &str) -> Result<Rootless, String> {
    match (value, flags::boolean(value.as_bytes())) {
        ("auto", _) => Ok(Rootless::Auto),
        (_, Some(true)) => Ok(Rootless::True),
        (_, Some(false)) => Ok(Rootless::False),
        _ => Err("expected auto, true or false".to_owned()),
    }
}

/// The global flags. They stand before the verb.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Directory that holds the state of containers [default: /run/rt, or $XDG_RUNTIME_DIR/rt without root's rights]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// File to which log lines are appended [default: stderr]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Form of log lines
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: Format,
    /// Least important lines to log [default: warning; with JSON: error]
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<Level>,
    /// Log everything
    #[arg(long)]
    pub debug: bool,
    /// Let systemd make the cgroups; cgroupsPath is then slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Who makes the cgroups
    #[arg(long, value_name = "MANAGER", default_value = "cgroupfs")]
    pub cgroup_manager: CgroupManager,
    /// Get by without root's rights: auto, true or false
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = rootless)]
    pub rootless: Rootless,
    /// Follow the letter of the specification where usage has softened it (also: RT_STRICT=1)
    #[arg(long)]
    pub strict: bool,
    /// Accepted for old callers and ignored
    #[arg(long, value_name = "PATH", hide = true)]
    pub criu: Option<PathBuf>,
    /// Print the version
    #[arg(short = 'v', long)]
    pub version: bool,
}

impl Global {
    /// Who makes the cgroups, whichever of the two flags said so.
    pub fn cgroups(&self) -> CgroupManager {
        if self.systemd_cgroup { CgroupManager::Systemd } else { self.cgroup_manager }
    }

    /// The least important lines to log. Callers that asked for JSON read the whole file as one object, the error:
    /// nothing else may come before it unless it was asked for.
    pub fn level(&self) -> Level {
        match (self.debug, self.log_level, self.log_format) {
            (true, _, _) => Level::Debug,
            (_, Some(level), _) => level,
            (_, _, Format::Json) => Level::Error,
            (_, _, Format::Text) => Level::Warning,
        }
    }
}
