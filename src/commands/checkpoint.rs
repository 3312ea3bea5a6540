//! `rt checkpoint`: saves a running container, and ends it unless it is to run on.

use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::fcntl::OFlag;

use super::{bundle, delete, missing, status, store};
use crate::cli::{Checkpoint, CriuFlags, Global, ManageCgroups};
use crate::criu::{CgroupMode, Choices, Directories, Kind, PageServer};
use crate::host;
use crate::log::Log;
use crate::plan::{self, Criu};
use crate::spec;
use crate::state::{Record, Status};
use crate::sys::{self, Errno};

/// The annotation that names CRIU's config file for a container. Empty: none is read.
const CONFIG: &str = "org.criu.config";
/// CRIU's config files for us, the first that is there.
const CONFIGS: [&str; 2] = ["/etc/criu/rt.conf", "/etc/criu/runc.conf"];
/// Where CRIU, and the tar that it needs for a tmpfs, are looked for by callers that have no PATH.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Saves.
pub fn checkpoint(global: &Global, args: &Checkpoint, log: &Log) -> Result<()> {
    let store = store(global, false).map_err(missing)?;
    let record = store.lock(&args.id).map_err(missing)?;
    match status(&record)? {
        Status::Running | Status::Paused => {}
        other => bail!("container cannot be checkpointed in {} state", other.name()),
    }
    let kind = if args.pre_dump { Kind::PreDump } else { Kind::Dump };
    let criu = find_criu(global)?;
    let outside = outside(global, &record)?;
    let directories = directories(&args.criu, true)?;
    let choices = Choices {
        leave_running: args.leave_running,
        parent: parent(args)?,
        page_server: args.page_server.clone().map(|s| PageServer { address: s.address, port: s.port }),
        ..choices(&args.criu, &record.header.annotations)?
    };
    let status = args.status_fd.filter(|fd| *fd >= 0);
    let inherited = status.and_then(sys::fs::inherited);
    if let (Some(number), None) = (status, inherited) {
        bail!("--status-fd {number}: no such descriptor");
    }
    let status = inherited.as_ref().map(AsFd::as_fd);
    host::checkpoint(&record, kind, choices, &outside, &criu, &directories, status)?;
    if args.leave_running || args.pre_dump { Ok(()) } else { delete::remove(&store, record, None, log) }
}

/// What of the container is not its own: its plan says so.
fn outside(global: &Global, record: &Record) -> Result<crate::criu::Outside> {
    let spec = spec::read_config(record.config.clone(), false)?.spec;
    let flags = crate::cli::PlanFlags::default();
    let options = bundle::options(global, &flags, &record.header.id, record.header.bundle.as_ref());
    let plan = plan::lower(&spec, &bundle::facts(global, None)?, &options)?.plan;
    plan::outside(&plan).map_err(anyhow::Error::msg)
}

/// `--parent-path`, which CRIU takes from the directory of the images.
fn parent(args: &Checkpoint) -> Result<Option<String>> {
    let Some(parent) = args.parent_path.as_ref().filter(|p| !p.as_os_str().is_empty()) else { return Ok(None) };
    if parent.is_absolute() {
        bail!("--parent-path {}: must be relative to --image-path", parent.display());
    }
    let whole = args.criu.images().join(parent);
    sys::fs::open_host(&whole.to_string_lossy(), OFlag::O_PATH | OFlag::O_DIRECTORY).context("--parent-path")?;
    Ok(Some(parent.to_string_lossy().into_owned()))
}

/// The directories of images and log. A new container's images must be there.
pub fn directories(flags: &CriuFlags, make: bool) -> Result<Directories> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    Ok(Directories::open(&text(flags.images()), &text(flags.work()), make)?)
}

/// The choices that both verbs have.
pub fn choices<'a>(
    flags: &CriuFlags,
    annotations: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<Choices> {
    Ok(Choices {
        ext_unix_sk: flags.ext_unix_sk,
        tcp_established: flags.tcp_established,
        tcp_close: flags.tcp_close,
        tcp_skip_in_flight: flags.tcp_skip_in_flight,
        shell_job: flags.shell_job,
        file_locks: flags.file_locks,
        auto_dedup: flags.auto_dedup,
        link_remap: flags.link_remap,
        lazy_pages: flags.lazy_pages,
        cgroups: flags.manage_cgroups_mode.map(|mode| match mode {
            ManageCgroups::Soft => CgroupMode::Soft,
            ManageCgroups::Full => CgroupMode::Full,
            ManageCgroups::Strict => CgroupMode::Strict,
            ManageCgroups::Ignore => CgroupMode::Ignore,
        }),
        empty_namespaces: if flags.empty_ns.is_empty() { 0 } else { libc::CLONE_NEWNET as u32 },
        config_file: config_file(annotations.into_iter().find(|(key, _)| *key == CONFIG).map(|(_, file)| file))?,
        ..Choices::default()
    })
}

/// CRIU's config file: what is in it counts more than what we ask for.
fn config_file(annotation: Option<&String>) -> Result<Option<String>> {
    if let Some(file) = annotation {
        return Ok(Some(file.clone()).filter(|f| !f.is_empty()));
    }
    for file in CONFIGS {
        if Path::new(file).try_exists().with_context(|| file.to_owned())? {
            return Ok(Some(file.to_owned()));
        }
    }
    Ok(None)
}

/// What CRIU is called: `--criu`, else `$RT_CRIU`, else `criu`; and the directories that it is looked for in.
pub fn criu_name(global: &Global) -> (String, String) {
    let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let asked = global.criu.as_ref().map(|p| p.to_string_lossy().into_owned()).filter(|p| !p.is_empty());
    let name = asked.or_else(|| var("RT_CRIU")).unwrap_or_else(|| "criu".to_owned());
    (name, var("PATH").unwrap_or_else(|| PATH.to_owned()))
}

/// CRIU, as both verbs start it.
pub fn find_criu(global: &Global) -> Result<Criu> {
    let (name, path) = criu_name(global);
    let program = crate::identity::lookup::look_up(&name, &path).map_err(|e| {
        let hint = "checkpoint and restore need CRIU: install it, or name it with --criu PATH or RT_CRIU";
        let note = format!("{} ({hint})", e.note);
        if e.errno == Errno::UnknownErrno { e.about(note) } else { e }
    })?;
    let mut env: Vec<String> = std::env::vars().filter(|(k, _)| k != "PATH").map(|(k, v)| format!("{k}={v}")).collect();
    env.push(format!("PATH={path}"));
    Ok(Criu { program, path, env })
}
