//! `rt check`: everything that is wrong or odd about a config, each at its line. What `create` would refuse is found by
//! what `create` calls; the lints come on top. Changes nothing, on the host or anywhere.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, ResolveFlag};
use oci_spec::runtime::Spec;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::features::able;
use super::{bundle, say};
use crate::cli::{self, Global, PlanFlags};
use crate::error::{Complaints, ConfigError, Rule};
use crate::plan;
use crate::seccomp::Syscall;
use crate::spec::{self, lint, pointer};
use crate::sys::{self, Errno};

/// Whether a config can run like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Error,
    Warning,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Finding<'a> {
    level: Level,
    rule: &'static str,
    pointer: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    fix: &'static str,
}

/// What is to be looked at.
struct Subject {
    /// The bundle, if one was given.
    bundle: Option<PathBuf>,
    /// Where relative paths begin.
    directory: PathBuf,
    /// What is put before a line number.
    name: String,
    raw: Vec<u8>,
}

/// Prints what there is to say. 1: there are errors.
pub fn check(global: &Global, args: &cli::Check) -> Result<u8> {
    let subject = read(&args.bundle)?;
    let strict = args.strict || bundle::strict(global);
    let report = spec::inspect(&subject.raw, strict);
    let mut errors = report.errors.clone();
    let mut warnings = report.warnings.clone();
    warnings.extend(lint::lint(&report, &|name| Syscall::named(name).is_some()));
    if let Some(spec) = &report.spec {
        if let Some(bundle) = &subject.bundle {
            warnings.extend(masked_links(spec, bundle));
        }
        // The plan of a config at fault would only repeat it.
        if errors.is_empty() {
            lower(global, args, &subject, spec, strict, &mut errors, &mut warnings)?;
        }
        errors.extend(subject.bundle.iter().flat_map(|bundle| missing(spec, bundle)));
    }
    let findings = findings(&subject.raw, &errors, &warnings);
    let text = if args.json { json(&findings)? } else { lines(&subject.name, &findings) };
    say(&text).context("check: write")?;
    Ok(u8::from(!errors.is_empty()))
}

/// A directory is a bundle, anything else a config by itself.
fn read(path: &Path) -> Result<Subject> {
    let found = sys::fs::open_host(&path.to_string_lossy(), OFlag::O_PATH | OFlag::O_DIRECTORY);
    match found {
        Err(error) if error.errno == Errno::ENOTDIR => {
            let flags = PlanFlags { config: Some(path.to_owned()), ..PlanFlags::default() };
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.display().to_string();
            Ok(Subject { bundle: None, directory: bundle::absolute(parent)?, name, raw: bundle::read(path, &flags)? })
        }
        found => {
            let directory = PathBuf::from(sys::fs::path_of(found?)?);
            let raw = bundle::read(&directory, &PlanFlags::default())?;
            let name = path.join("config.json").display().to_string();
            Ok(Subject { bundle: Some(directory.clone()), directory, name, raw })
        }
    }
}

/// What stands against the plan of `create`, and what it leaves undone.
fn lower(
    global: &Global,
    args: &cli::Check,
    subject: &Subject,
    spec: &Spec,
    strict: bool,
    errors: &mut Vec<ConfigError>,
    warnings: &mut Vec<ConfigError>,
) -> Result<()> {
    let facts = bundle::facts(global, args.facts.as_deref())?;
    let options = bundle::options(global, &PlanFlags::default(), "ID", &subject.directory);
    let options = plan::Options { strict, console_socket: terminal(spec), ..options };
    let refused = match plan::lower(spec, &facts, &options) {
        Ok(lowered) => {
            for text in &lowered.warnings {
                let warning = undone(text);
                // The lints have said it better.
                if !warnings.iter().any(|other| other.pointer == warning.pointer) {
                    warnings.push(warning);
                }
            }
            Vec::new()
        }
        Err(Complaints(list)) => list,
    };
    // What every host would refuse is no matter of this one.
    let elsewhere = [able::Host::V1, able::Host::V2].map(|host| plan::lower(spec, &able::facts(host), &options).err());
    let everywhere =
        |said: &ConfigError| elsewhere.iter().all(|all| all.as_ref().is_some_and(|all| all.0.contains(said)));
    errors.extend(refused.into_iter().map(|said| match said.rule {
        Rule::InvalidValue if !everywhere(&said) => said.of(Rule::CannotBeDone),
        _ => said,
    }));
    Ok(())
}

/// A terminal needs a socket at `create`, which is no matter of the config.
pub fn terminal(spec: &Spec) -> Option<String> {
    let terminal = spec.process().as_ref().is_some_and(|process| process.terminal() == Some(true));
    terminal.then(|| "SOCKET".to_owned())
}

/// A warning of the plan begins with its pointer, where it has one.
fn undone(text: &str) -> ConfigError {
    let (pointer, message) =
        text.split_once(": ").filter(|(pointer, _)| pointer.starts_with('/')).unwrap_or(("", text));
    ConfigError::at(pointer, message).of(Rule::NotDone)
}

/// Masks follow the links of the image, which may be others tomorrow: then the mask is where nobody looks for it.
fn masked_links(spec: &Spec, bundle: &Path) -> Vec<ConfigError> {
    let Some((root, linux)) = spec.root().as_ref().zip(spec.linux().as_ref()) else { return Vec::new() };
    let path = bundle.join(root.path());
    // That there is no such root is said by `create`, which knows the kernel's word for it.
    let Ok(root) = sys::fs::open_host(&path.to_string_lossy(), OFlag::O_PATH | OFlag::O_DIRECTORY) else {
        return Vec::new();
    };
    let mut said = Vec::new();
    for (name, paths) in [("maskedPaths", linux.masked_paths()), ("readonlyPaths", linux.readonly_paths())] {
        for (index, path) in paths.iter().flatten().enumerate().filter(|(_, path)| path.starts_with('/')) {
            let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS;
            let opened = sys::fs::open(root.as_fd(), path, OFlag::O_PATH, 0, resolve);
            if opened.is_err_and(|error| error.errno == Errno::ELOOP) {
                let message = format!("{path:?} leads through a symbolic link of the image");
                said.push(ConfigError::at(format!("/linux/{name}/{index}"), message).of(Rule::MaskOverSymlink));
            }
        }
    }
    said
}

/// What `create` would look for in vain.
fn missing(spec: &Spec, bundle: &Path) -> Vec<ConfigError> {
    let mut wanted = Vec::new();
    if let Some(root) = spec.root() {
        wanted.push(("/root/path".to_owned(), root.path(), OFlag::O_PATH | OFlag::O_DIRECTORY));
    }
    for (index, mount) in spec.mounts().iter().flatten().enumerate().filter(|(_, mount)| lint::is_bind(mount)) {
        wanted.extend(mount.source().as_ref().map(|path| (format!("/mounts/{index}/source"), path, OFlag::O_PATH)));
    }
    let look = |(pointer, path, flags): (String, &PathBuf, OFlag)| {
        let error = sys::fs::open_host(&bundle.join(path).to_string_lossy(), flags).err()?;
        let gone = matches!(error.errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP);
        gone.then(|| ConfigError::at(pointer, error.to_string()).of(Rule::CannotBeDone))
    };
    wanted.into_iter().filter_map(look).collect()
}

/// All of it, from top to bottom.
fn findings<'a>(raw: &[u8], errors: &'a [ConfigError], warnings: &'a [ConfigError]) -> Vec<Finding<'a>> {
    let all: Vec<(Level, &ConfigError)> = (errors.iter().map(|error| (Level::Error, error)))
        .chain(warnings.iter().map(|warning| (Level::Warning, warning)))
        .collect();
    // What is missing is looked for at its parent.
    let parent = |pointer: &'a str| pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    let places: Vec<&str> = all.iter().flat_map(|(_, said)| [said.pointer.as_str(), parent(&said.pointer)]).collect();
    let positions = pointer::positions(raw, &places);
    let mut findings: Vec<Finding<'a>> = Vec::new();
    for (index, (level, said)) in all.into_iter().enumerate() {
        let place = match said.rule {
            Rule::JsonSyntax => syntax(raw),
            _ => positions[2 * index].or(positions[2 * index + 1]),
        };
        let (line, column) = place.unwrap_or((1, 1));
        let ConfigError { pointer, message, rule } = said;
        findings.push(Finding { level, rule: rule.id(), pointer, line, column, message, fix: rule.fix() });
    }
    findings.sort_by_key(|finding| (finding.line, finding.column));
    findings
}

/// Where the parser stopped.
fn syntax(raw: &[u8]) -> Option<pointer::Position> {
    let error = serde_json::from_slice::<IgnoredAny>(raw).err()?;
    Some((error.line(), error.column().max(1)))
}

fn json(findings: &[Finding<'_>]) -> Result<String> {
    Ok(serde_json::to_string_pretty(findings).context("check")? + "\n")
}

/// One line a finding, in the form in which compilers name a place.
fn lines(name: &str, findings: &[Finding<'_>]) -> String {
    let line = |finding: &Finding<'_>| {
        let Finding { level, rule, pointer, line, column, message, fix } = finding;
        let level = if *level == Level::Error { "error" } else { "warning" };
        let pointer = if pointer.is_empty() { "/" } else { pointer };
        format!("{name}:{line}:{column}: {level}: {pointer}: {message} [{rule}]: {fix}\n")
    };
    findings.iter().map(line).collect()
}
