//! What one bundle needs: its plan is gone through step by step, and each step's own needs are looked at here. What the
//! plan itself found impossible, or leaves undone, comes first.

mod host;
mod init;
mod program;

use std::path::Path;

use anyhow::{Context, Result};

use super::line::{Line, look};
use super::{Host, files, kernel, namespaces};
use crate::cgroups::Placement;
use crate::cli::{Global, PlanFlags};
use crate::commands::{bundle, check};
use crate::error::ConfigError;
use crate::plan::{self, Options, Plan};
use crate::spec;
use crate::step::{Origin, Step};

const SUBJECT: &str = "bundle";

/// A plan, and what its steps are looked at with.
struct Needs<'a> {
    host: &'a Host,
    plan: &'a Plan,
    placement: &'a Placement,
    /// The root file system.
    root: String,
}

/// All that is needed, what is there as well.
pub fn lines(global: &Global, host: &Host, dir: &Path) -> Result<Vec<Line>> {
    let directory = bundle::absolute(dir)?;
    let flags = PlanFlags::default();
    let raw = bundle::read(&directory, &flags)?;
    let strict = bundle::strict(global);
    let mut lines = kernel::needed();
    lines.extend(files::needed(host));
    let report = spec::inspect(&raw, strict);
    if !report.errors.is_empty() {
        lines.extend(report.errors.iter().map(refused));
        return Ok(lines);
    }
    let spec = report.spec.context("config.json could not be read")?;
    let options = bundle::options(global, &flags, "ID", &directory);
    let options = Options { console_socket: check::terminal(&spec), ..options };
    match plan::lower(&spec, &host.facts, &options) {
        Err(complaints) => lines.extend(complaints.0.iter().map(refused)),
        Ok(lowered) => {
            lines.extend(lowered.warnings.iter().map(|text| undone(text)));
            let root = directory.join(spec.root().as_ref().map_or(Path::new("rootfs"), |root| root.path()));
            let root = root.to_string_lossy().into_owned();
            Needs { host, plan: &lowered.plan, placement: &lowered.placement, root }.collect(&mut lines);
        }
    }
    Ok(lines)
}

fn refused(error: &ConfigError) -> Line {
    let name = if error.pointer.is_empty() { "/" } else { &error.pointer };
    look(SUBJECT, name, "config.json, as create reads it").fail(error.message.as_str(), error.rule.fix())
}

/// A warning of the plan begins with its pointer, where it has one.
fn undone(text: &str) -> Line {
    let (name, found) = text.split_once(": ").filter(|(name, _)| name.starts_with('/')).unwrap_or(("plan", text));
    look(SUBJECT, name, "the plan")
        .note(found, "the container runs without it; if it matters, see what rt doctor says about it without a bundle")
}

/// The config's field that asked for a step, or the step itself.
fn name<Op: std::fmt::Display>(step: &Step<Op>) -> String {
    match &step.origin {
        Origin::Config(pointer) => pointer.clone(),
        Origin::Default(_) => step.op.to_string(),
    }
}

impl Needs<'_> {
    fn collect(&self, lines: &mut Vec<Line>) {
        let mut new: Vec<Line> =
            self.plan.new_namespaces().map(|kind| namespaces::one(self.host, kind, true)).collect();
        let Plan { prepare, adopt, hooks, build, enter, become_, start, .. } = self.plan;
        for step in [prepare, adopt, hooks].into_iter().flatten() {
            new.extend(self.of_host(&name(step), step));
        }
        for step in [build, enter, become_, start].into_iter().flatten() {
            new.extend(self.of_init(&name(step), step));
        }
        // Several steps may need the same.
        for line in new {
            if !lines
                .iter()
                .any(|other| (other.subject, &other.name, &other.probed) == (line.subject, &line.name, &line.probed))
            {
                lines.push(line);
            }
        }
        lines.sort_by_key(|line| line.subject == SUBJECT);
    }
}
