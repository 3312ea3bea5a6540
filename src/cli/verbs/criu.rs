//! The verbs that CRIU does: `checkpoint` and `restore`. Most flags are CRIU's own options and bear their names.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};

use super::super::ContainerId;

/// How the cgroups of the images are brought back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ManageCgroups {
    /// Values are set in cgroups that had to be made.
    Soft,
    /// Values are always set.
    Full,
    /// Everything must be there and fit.
    Strict,
    /// Not at all.
    Ignore,
}

/// A page server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Address.
    pub address: String,
    /// Port.
    pub port: u16,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').and_then(|(address, port)| Some((address, port.parse().ok()?)));
        let (address, port) = parts.filter(|(address, _)| !address.is_empty()).ok_or("expected ADDRESS:PORT")?;
        Ok(Self { address: address.to_owned(), port })
    }
}

/// CRIU knows how to leave the network out, and nothing else.
fn namespace(name: &str) -> Result<String, String> {
    match name {
        "network" | "net" => Ok("network".to_owned()),
        other => Err(format!("namespace {other:?} is not supported; only network is")),
    }
}

/// The flags that both verbs have.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct CriuFlags {
    /// Directory of the images [default: checkpoint, in the current directory]
    #[arg(long, value_name = "DIR")]
    pub image_path: Option<PathBuf>,
    /// Directory of CRIU's log and working files [default: that of the images]
    #[arg(long, value_name = "DIR")]
    pub work_path: Option<PathBuf>,
    /// Keep open TCP connections
    #[arg(long)]
    pub tcp_established: bool,
    /// Bring TCP connections back closed
    #[arg(long)]
    pub tcp_close: bool,
    /// Leave TCP connections out that are just being made
    #[arg(long)]
    pub tcp_skip_in_flight: bool,
    /// Allow Unix sockets whose other end is outside of the container
    #[arg(long)]
    pub ext_unix_sk: bool,
    /// Allow a session and a terminal that are those of a shell outside
    #[arg(long)]
    pub shell_job: bool,
    /// Keep file locks
    #[arg(long)]
    pub file_locks: bool,
    /// Keep deleted files that have other names, by linking them
    #[arg(long)]
    pub link_remap: bool,
    /// Keep pages only once that a parent has too
    #[arg(long)]
    pub auto_dedup: bool,
    /// Fetch pages of memory when they are needed
    #[arg(long)]
    pub lazy_pages: bool,
    /// How cgroups below the container's own are brought back [default: soft]
    #[arg(long, value_name = "MODE")]
    pub manage_cgroups_mode: Option<ManageCgroups>,
    /// Leave out what is in this namespace: network; may be repeated
    #[arg(long, value_name = "NAMESPACE", value_parser = namespace)]
    pub empty_ns: Vec<String>,
}

impl CriuFlags {
    /// Where the images are.
    pub fn images(&self) -> &Path {
        self.image_path.as_deref().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("checkpoint"))
    }

    /// Where the log is.
    pub fn work(&self) -> &Path {
        self.work_path.as_deref().filter(|p| !p.as_os_str().is_empty()).unwrap_or(self.images())
    }
}

/// `rt checkpoint`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: CriuFlags,
    /// Earlier images, relative to those that are written: only what has changed since is saved
    #[arg(long, value_name = "DIR")]
    pub parent_path: Option<PathBuf>,
    /// Let the container run on
    #[arg(long)]
    pub leave_running: bool,
    /// Save the memory only and let the container run on; a checkpoint with --parent-path follows
    #[arg(long)]
    pub pre_dump: bool,
    /// Descriptor to which CRIU writes a zero byte when it serves pages
    #[arg(long, value_name = "N")]
    pub status_fd: Option<i32>,
    /// Send the pages of memory there
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub page_server: Option<Server>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

/// `rt restore`
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub criu: CriuFlags,
    /// Directory of the bundle [default: the current directory]
    #[arg(short, long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// Socket to which the terminal's descriptor is sent
    #[arg(long, value_name = "PATH")]
    pub console_socket: Option<PathBuf>,
    /// File to write the pid of the container's first process to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Return as soon as the container runs
    #[arg(short, long)]
    pub detach: bool,
    /// Don't adopt orphans of the container
    #[arg(long)]
    pub no_subreaper: bool,
    /// Accepted as for create; how CRIU enters the root is its own affair
    #[arg(long)]
    pub no_pivot: bool,
    /// LSM profile that the processes get, as TYPE:NAME
    #[arg(long, value_name = "PROFILE")]
    pub lsm_profile: Option<String>,
    /// SELinux context that the mounts get
    #[arg(long, value_name = "CONTEXT")]
    pub lsm_mount_context: Option<String>,
    /// Name of the container
    #[arg(value_name = "ID", value_parser = ContainerId::from_str)]
    pub id: ContainerId,
}

impl Restore {
    /// The bundle: what `--bundle` says, or where we are.
    pub fn bundle(&self) -> &Path {
        self.bundle.as_deref().unwrap_or(Path::new("."))
    }
}
