//! One struct per verb: its flags and operands, and nothing else. Only verbs that work are in the table.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Command, ValueEnum};

use super::{ContainerId, Global, Usage, read, settings};

mod criu;
mod running;

pub use criu::{Checkpoint, CriuFlags, ManageCgroups, Restore, Server};
pub use running::{Events, Exec, Pause, Ps, Resume, Update, Wait};

/// Reads the canonical tokens of one verb.
type Read = fn(&Global, Command, Vec<OsString>) -> Result<Verb, Box<Usage>>;

/// A line of the table: how a verb is called and read.
pub(super) struct Row {
    name: &'static str,
    about: &'static str,
    augment: fn(Command) -> Command,
    read: Read,
}

impl Row {
    pub(super) fn command(&self) -> Command {
        let command = Command::new(self.name).bin_name(format!("rt {}", self.name));
        // The derive takes the struct's own comment for the description.
        (self.augment)(settings(command)).about(self.about).long_about(None)
    }

    pub(super) fn read(&self, global: &Global, command: Command, tokens: Vec<OsString>) -> Result<Verb, Box<Usage>> {
        (self.read)(global, command, tokens)
    }
}

/// The verb with that name.
pub(super) fn find(name: &OsStr) -> Option<&'static Row> {
    ROWS.iter().find(|row| OsStr::new(row.name) == name)
}

macro_rules! verbs {
    ($($verb:ident $name:literal $about:literal,)*) => {
        /// What to do, with its flags and operands.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Verb { $(#[doc = $about] $verb($verb),)* }

        impl Verb {
            /// The word on the command line.
            pub fn name(&self) -> &'static str {
                match self { $(Verb::$verb(_) => $name,)* }
            }
        }

        pub(super) const ROWS: &[Row] = &[$(Row {
            name: $name,
            about: $about,
            augment: <$verb as Args>::augment_args,
            read: |global, command, tokens| read(Some(global), command, tokens).map(Verb::$verb),
        },)*];
    };
}

verbs! {
    Run "run" "Create a container, start it and wait for its end",
    Create "create" "Create a container that waits to be started",
    Start "start" "Start the process of a created container",
    Exec "exec" "Run another process in a container",
    State "state" "Print the state of a container as JSON",
    Kill "kill" "Send a signal to the first process of a container",
    Ps "ps" "List the processes of a container",
    Events "events" "Print what a container uses and what befalls it, as lines of JSON",
    Wait "wait" "Wait for the end of a container, and exit as it did",
    Pause "pause" "Stop every process of a container until it is resumed",
    Resume "resume" "Let the processes of a paused container run again",
    Update "update" "Change the limits of a container",
    Checkpoint "checkpoint" "Save a running container to disk, and end it unless told otherwise",
    Restore "restore" "Bring a container back as it was saved, and wait for its end",
    Delete "delete" "Remove a stopped container",
    List "list" "List containers",
    Spec "spec" "Write a config.json to begin with",
    Features "features" "Print what this binary can do, as JSON",
    Explain "explain" "Print the steps that create would take for a bundle",
    Check "check" "Say what is wrong or odd about a bundle's config",
    Doctor "doctor" "Say what this host can do, and what a bundle lacks here",
}

/// In which form `--timings` reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Timings {
    /// A table for people.
    Text,
    /// One JSON object.
    Json,
}

/// The flags that change the plan: `create`, `run` and `explain` share them.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanFlags {
    /// Move the root by mount and chroot, not pivot_root: for roots on the initramfs
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Pass this many more descriptors on, from 3 upwards
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,
    /// Read this file, not config.json of the bundle
    #[arg(short = 'f', long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The flags that `create` and `run` share.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateFlags {
    /// Directory of the bundle [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Socket to which the terminal's descriptor is sent
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// Socket to which the pidfd of the container's first process is sent
    #[arg(long, value_name = "PATH")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the pid of the container's first process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Say where the time went, step by step, on stderr
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub timings: Option<Timings>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub plan: PlanFlags,
}

impl CreateFlags {
    /// The bundle: what `--bundle` says, or where we are.
    pub fn bundle(&self) -> &Path {
        self.bundle.as_deref().unwrap_or(Path::new("."))
    }
}

/// `rt create`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Create {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub create: CreateFlags,
    /// Name for the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt run`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Run {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub create: CreateFlags,
    /// Return as soon as the container runs
    #[arg(short, long)]
    pub detach: bool,
    /// Leave the state of the container when it has ended
    #[arg(long)]
    pub keep: bool,
    /// Don't adopt orphans of the container
    #[arg(long)]
    pub no_subreaper: bool,
    /// Run CMD in this root filesystem, with the config that `rt spec` would write
    #[arg(long, value_name = "DIR", conflicts_with_all = ["bundle", "config"])]
    pub rootfs: Option<PathBuf>,
    /// Name for the container, or (with a slash in it) the bundle's directory; then a name is made up
    #[arg(value_name = "ID|BUNDLE")]
    pub target: Option<OsString>,
    /// With --rootfs: the command and its arguments
    #[arg(value_name = "CMD", last = true)]
    pub command: Vec<OsString>,
}

/// What `rt run` is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A bundle; a container without an id gets one.
    Bundle {
        /// The bundle's directory.
        dir: PathBuf,
        /// The container's name, if one was given.
        id: Option<ContainerId>,
    },
    /// A command in a root filesystem, with the template's config.
    Rootfs {
        /// The root filesystem.
        dir: PathBuf,
        /// The container's name, if one was given.
        id: Option<ContainerId>,
        /// The command and its arguments; never empty.
        command: Vec<OsString>,
    },
}

impl Run {
    /// What the operands mean together.
    pub fn workload(&self) -> Result<Workload, String> {
        // `run -- ID` is an id as well, as with every other verb.
        let (operand, command) = match (&self.target, self.command.as_slice()) {
            (None, [only]) if self.rootfs.is_none() => (Some(only), [].as_slice()),
            (operand, command) => (operand.as_ref(), command),
        };
        if let Some(dir) = &self.rootfs {
            if command.is_empty() {
                return Err("--rootfs needs a command: rt run --rootfs DIR -- CMD".to_owned());
            }
            let id = operand.map(|text| container_id(text)).transpose()?;
            return Ok(Workload::Rootfs { dir: dir.clone(), id, command: command.to_vec() });
        }
        if !command.is_empty() {
            return Err("a command needs --rootfs DIR; the command of a bundle is in its config.json".to_owned());
        }
        let operand = operand.ok_or("\"run\" requires exactly 1 argument(s)")?;
        if !is_path(operand) {
            return Ok(Workload::Bundle { dir: self.create.bundle().to_owned(), id: Some(container_id(operand)?) });
        }
        if self.create.bundle.is_some() {
            return Err(format!("{} and --bundle both name a bundle; one is enough", Path::new(operand).display()));
        }
        Ok(Workload::Bundle { dir: operand.into(), id: None })
    }
}

/// No id has a slash in it, nor is one `.` or `..`.
fn is_path(operand: &OsStr) -> bool {
    operand.as_bytes().contains(&b'/') || operand == "." || operand == ".."
}

fn container_id(text: &OsStr) -> Result<ContainerId, String> {
    text.to_string_lossy().parse().map_err(|e: super::InvalidId| e.to_string())
}

/// `rt start`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// Say where the time went, step by step, on stderr
    #[arg(long, value_name = "FORM", num_args = 0..=1, require_equals = true, default_missing_value = "text")]
    pub timings: Option<Timings>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt state`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt kill`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Signal every process of the container
    #[arg(short, long, hide = true)]
    pub all: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
    /// Signal, by name (KILL, SIGKILL) or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    pub signal: String,
}

/// `rt delete`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// Kill it first if it still runs, clean up what is left of it, and don't complain if there is nothing
    #[arg(short, long)]
    pub force: bool,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// In which form `rt list` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns for people.
    Table,
    /// One JSON array.
    Json,
}

/// `rt list`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct List {
    /// Form of the list
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: ListFormat,
    /// Print ids only
    #[arg(short, long)]
    pub quiet: bool,
}

/// `rt spec`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Directory to write config.json to [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// For a caller without root's rights: with a user namespace
    #[arg(long)]
    pub rootless: bool,
}

/// `rt features`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Features {}

/// `rt explain`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Plan for the host that this file describes, not for this one
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub plan: PlanFlags,
    /// Directory of the bundle
    #[arg(value_name = "BUNDLE", default_value = ".")]
    pub bundle: PathBuf,
}

/// `rt doctor`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Doctor {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Directory of a bundle: say only what this one needs
    #[arg(value_name = "BUNDLE")]
    pub bundle: Option<PathBuf>,
}

/// `rt check`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Print a JSON array
    #[arg(long)]
    pub json: bool,
    /// Take the letter of the specification where callers rely on something else
    #[arg(long)]
    pub strict: bool,
    /// Check for the host that this file describes, not for this one
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Directory of the bundle, or a config by itself
    #[arg(value_name = "BUNDLE|FILE", default_value = ".")]
    pub bundle: PathBuf,
}
