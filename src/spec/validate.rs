//! What the values mean, field by field and one with another: pure, no filesystem, all complaints at once.
//!
//! This file has the document level; each noun of the specification has its own.

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde_json::{Value, json};

use super::remarks::Remarks;
use super::schema::quoted;
use super::{hooks, linux, mounts, namespaces, process};
use crate::error::{ConfigError, Rule};

/// The newest minor version of the specification (1.x) that we know.
const KNOWN_MINOR: u64 = 3;

/// Top-level properties that the walk found at fault. They are cut out before the rest is looked at, and nothing is said
/// about a field that depends on one of them: a complaint that only follows from another one helps nobody.
#[derive(Debug, Default)]
pub struct Sections {
    faulty: Vec<String>,
    /// Pointers of members that are cut out alone: nothing else in their section is judged by them.
    alone: Vec<String>,
}

/// Members on which no check of another member depends.
const ALONE: &[&str] = &[
    "/linux/cgroupsPath",
    "/linux/devices",
    "/linux/intelRdt",
    "/linux/maskedPaths",
    "/linux/memoryPolicy",
    "/linux/mountLabel",
    "/linux/personality",
    "/linux/readonlyPaths",
    "/linux/resources",
    "/linux/rootfsPropagation",
    "/linux/seccomp",
    "/linux/sysctl",
    "/process/capabilities",
    "/process/consoleSize",
    "/process/env",
    "/process/ioPriority",
    "/process/oomScoreAdj",
    "/process/rlimits",
    "/process/scheduler",
];

impl Sections {
    /// The sections that these complaints are about.
    pub fn without(complaints: &[ConfigError]) -> Self {
        let mut sections = Self::default();
        for complaint in complaints {
            let mut names = complaint.pointer.splitn(4, '/').skip(1);
            let (name, member) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
            let (pointer, list) = (format!("/{name}/{member}"), &mut sections.alone);
            let (list, entry) = if ALONE.contains(&pointer.as_str()) {
                (list, pointer)
            } else {
                (&mut sections.faulty, name.to_owned())
            };
            if !list.contains(&entry) {
                list.push(entry);
            }
        }
        sections
    }

    /// Whether this section can be trusted (it may be absent).
    pub fn sound(&self, name: &str) -> bool {
        !self.faulty.iter().any(|faulty| faulty == name)
    }

    /// Takes the faulty sections out of the document.
    pub fn cut(&self, value: &mut Value) {
        let Some(members) = value.as_object_mut() else { return };
        for name in &self.faulty {
            members.remove(name);
        }
        for (section, member) in self.alone.iter().filter_map(|pointer| pointer[1..].split_once('/')) {
            if let Some(object) = members.get_mut(section).and_then(Value::as_object_mut) {
                object.remove(member);
            }
        }
        if !self.sound("ociVersion") {
            members.insert("ociVersion".to_owned(), json!(""));
        }
    }
}

/// Everything that can be known to be wrong without looking at the host. `value` is the document that `spec` was made of.
pub fn validate(spec: &Spec, value: &Value, sections: &Sections, remarks: &mut Remarks) {
    if sections.sound("ociVersion") {
        version(spec.version(), remarks);
    }
    if spec.root().as_ref().is_some_and(|root| root.path().as_os_str().is_empty()) {
        remarks.error("/root/path", "expected the path of the root filesystem, got \"\"");
    }
    if let Some(process) = spec.process() {
        process::validate(process, "/process", remarks);
    }
    if let Some(hooks) = spec.hooks() {
        hooks::validate(hooks, remarks);
    }
    for key in spec.annotations().iter().flat_map(|all| all.keys()).filter(|key| key.is_empty()) {
        remarks.error(format!("/annotations/{key}"), "expected a key that is not empty, got \"\"");
    }
    mounts::validate(spec, sections, remarks);
    if sections.sound("linux") {
        names(spec, remarks);
        namespaces::validate(spec, remarks);
        if let Some(linux) = spec.linux() {
            linux::validate(linux, value, remarks);
        }
    }
}

/// Host and domain name belong to a uts namespace; without one they would be the host's.
fn names(spec: &Spec, remarks: &mut Remarks) {
    if namespaces::listed(spec.linux().as_ref(), LinuxNamespaceType::Uts).is_some() {
        return;
    }
    for (name, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
        if let Some(value) = value {
            let message = format!("needs a uts namespace in /linux/namespaces to be set to {}", quoted(value));
            remarks.fault(Rule::NeedsNamespace, format!("/{name}"), message);
        }
    }
}

fn version(version: &str, remarks: &mut Remarks) {
    let pointer = "/ociVersion";
    match semver(version) {
        None => remarks.fault(
            Rule::UnsupportedVersion,
            pointer,
            format!("expected a version like 1.3.0, got {}", quoted(version)),
        ),
        Some((1, minor)) if minor > KNOWN_MINOR => {
            remarks.warn(
                Rule::NewerVersion,
                pointer,
                format!("{version} is newer than 1.{KNOWN_MINOR}; what is new in it is ignored"),
            );
        }
        Some((1, _)) => {}
        Some(_) => {
            remarks.fault(Rule::UnsupportedVersion, pointer, format!("expected a version 1.x, got {}", quoted(version)))
        }
    }
}

/// Major and minor number of a SemVer 2.0 version.
fn semver(version: &str) -> Option<(u64, u64)> {
    let (rest, build) = version.split_once('+').map_or((version, None), |(rest, build)| (rest, Some(build)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(core, pre)| (core, Some(pre)));
    let identifier = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let no_leading_zero =
        |part: &str| !part.bytes().all(|b| b.is_ascii_digit()) || part == "0" || !part.starts_with('0');
    let fine_pre = pre.is_none_or(|pre| pre.split('.').all(|part| identifier(part) && no_leading_zero(part)));
    let fine_build = build.is_none_or(|build| build.split('.').all(identifier));
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if digits && no_leading_zero(part) { part.parse::<u64>().ok() } else { None }
    };
    let mut numbers = core.split('.').map(number);
    let (major, minor, _patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
    (numbers.next().is_none() && fine_pre && fine_build).then_some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn semantic_versions() {
        for good in ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.0.0-rc.5", "1.0.0-rc5+a.01", "1.10.0", "1.0.0--"] {
            assert_eq!(semver(good).map(|v| v.0), Some(1), "{good}");
        }
        let bad = [
            "",
            "1",
            "1.0",
            "1.0.0.0",
            "v1.0.0",
            "01.0.0",
            "1.0.0-",
            "1.0.0-01",
            "1.0.0+",
            "1.0.x",
            "1..0",
            " 1.0.0",
            "1.0.0-a_b",
        ];
        for bad in bad {
            assert_eq!(semver(bad), None, "{bad}");
        }
    }
}
