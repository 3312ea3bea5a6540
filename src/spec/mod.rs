//! config.json: read, limited, parsed, repaired, validated; every complaint carries a pointer, all come at once.
//!
//! Pure but for [`file`]. What leaves this room is fit to be lowered: types are right, names are known, numbers are in range.
//! Never decides what to do with a field; that is for the subjects' `lower`.

pub mod file;
pub mod json;
pub mod lint;
pub mod normalise;
pub mod pointer;
pub mod properties;
pub mod schema;
pub mod template;

mod cpulist;
mod hooks;
mod linux;
mod mounts;
mod namespaces;
mod process;
mod remarks;
mod resources;
mod sysctl;
mod validate;

#[cfg(test)]
mod tests;

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use mounts::GENERIC_OPTIONS;
pub use remarks::Remarks;
pub use sysctl::path as sysctl_path;
pub use validate::{Sections, validate};

use crate::error::{Complaints, ConfigError};
use schema::Property;

/// A config that is fit to be lowered.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What it says.
    pub spec: Spec,
    /// What was repaired or is ignored, for the log.
    pub warnings: Vec<ConfigError>,
    /// Pointers of properties that the specification does not know, for the debug log and lints.
    pub unknown: Vec<String>,
    /// The bytes as they were read: what goes into the state directory.
    pub raw: Vec<u8>,
}

/// Everything there is to say about a config, whether it is fit or not: for `rt check`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What it says, as far as that could be read; not fit to be lowered when there are errors.
    pub spec: Option<Spec>,
    /// What it is refused for, in the order of the document.
    pub errors: Vec<ConfigError>,
    /// What is repaired or ignored.
    pub warnings: Vec<ConfigError>,
    /// Pointers of properties that the specification does not know.
    pub unknown: Vec<String>,
}

/// Looks a config over. `strict` follows the letter of the specification where callers rely on something else.
pub fn inspect(raw: &[u8], strict: bool) -> Report {
    let mut value = match json::parse(raw) {
        Ok(value) => value,
        Err(errors) => return Report { errors: in_document_order(errors, 0, raw), ..Report::default() },
    };
    let mut remarks = Remarks::new(strict);
    let findings = schema::walk(&value, properties::CONFIG, &mut remarks);
    normalise::tidy(&mut value, properties::CONFIG, &findings);
    let sections = Sections::without(&remarks.errors);
    sections.cut(&mut value);
    normalise::config(&mut value, &mut remarks);
    let spec = value.is_object().then(|| deserialise::<Spec>(&value, &mut remarks)).flatten();
    if let Some(spec) = &spec {
        validate(spec, &value, &sections, &mut remarks);
    }
    let left_out = remarks.left_out();
    let errors = in_document_order(remarks.errors, left_out, raw);
    Report { spec, errors, warnings: remarks.warnings, unknown: findings.unknown }
}

/// Reads a config that is to be run, or says everything that is wrong with it.
pub fn read_config(raw: Vec<u8>, strict: bool) -> Result<Config, Complaints> {
    match inspect(&raw, strict) {
        Report { spec: Some(spec), errors, warnings, unknown } if errors.is_empty() => {
            Ok(Config { spec, warnings, unknown, raw })
        }
        Report { errors, .. } => Err(Complaints(errors)),
    }
}

/// Reads the file of `exec --process`: a `process` object by itself. Gives the warnings too.
pub fn read_process(bytes: &[u8], strict: bool) -> Result<(Process, Vec<ConfigError>), Complaints> {
    read_part(bytes, strict, properties::PROCESS, |value, remarks| {
        if let Some(object) = value.as_object_mut() {
            normalise::process(object, "", remarks);
        }
        let process = deserialise::<Process>(value, remarks)?;
        process::validate(&process, "", remarks);
        Some(process)
    })
}

/// Reads the file of `update --resources`: a `linux.resources` object by itself. Gives the warnings too.
pub fn read_resources(bytes: &[u8], strict: bool) -> Result<(LinuxResources, Vec<ConfigError>), Complaints> {
    read_part(bytes, strict, properties::RESOURCES, |value, remarks| {
        if let Some(object) = value.as_object_mut() {
            normalise::resources(object);
        }
        let resources = deserialise::<LinuxResources>(value, remarks)?;
        resources::validate(&resources, "", remarks);
        Some(resources)
    })
}

fn read_part<T>(
    bytes: &[u8],
    strict: bool,
    table: &'static [Property],
    finish: impl FnOnce(&mut Value, &mut Remarks) -> Option<T>,
) -> Result<(T, Vec<ConfigError>), Complaints> {
    let mut value = json::parse(bytes).map_err(|complaints| Complaints(in_document_order(complaints, 0, bytes)))?;
    let mut remarks = Remarks::new(strict);
    let findings = schema::walk(&value, table, &mut remarks);
    if !remarks.errors.is_empty() {
        return Err(refusal(remarks, bytes));
    }
    normalise::tidy(&mut value, table, &findings);
    match finish(&mut value, &mut remarks) {
        Some(part) if remarks.errors.is_empty() => Ok((part, remarks.warnings)),
        _ => Err(refusal(remarks, bytes)),
    }
}

/// The typed form. The walk has seen to it that this can't fail; should it, the complaint has at least the crate's words.
fn deserialise<T: DeserializeOwned>(value: &Value, remarks: &mut Remarks) -> Option<T> {
    T::deserialize(value).map_err(|error| remarks.error("", error.to_string())).ok()
}

fn refusal(remarks: Remarks, bytes: &[u8]) -> Complaints {
    let left_out = remarks.left_out();
    Complaints(in_document_order(remarks.errors, left_out, bytes))
}

/// Sorts complaints as the document goes, so that a person can mend it from top to bottom.
fn in_document_order(complaints: Vec<ConfigError>, left_out: usize, bytes: &[u8]) -> Vec<ConfigError> {
    if complaints.is_empty() {
        return complaints;
    }
    let mut places: Vec<&str> = Vec::new();
    for complaint in &complaints {
        places.push(&complaint.pointer);
        // What is missing is looked for at its parent.
        places.push(complaint.pointer.rsplit_once('/').map_or("", |(parent, _)| parent));
    }
    let offsets = pointer::offsets(bytes, &places);
    let place = |index: usize| offsets[2 * index].or(offsets[2 * index + 1]);
    let mut order: Vec<usize> = (0..complaints.len()).collect();
    order.sort_by_key(|&index| place(index));
    let mut complaints: Vec<Option<ConfigError>> = complaints.into_iter().map(Some).collect();
    let mut sorted: Vec<ConfigError> = order.into_iter().filter_map(|index| complaints[index].take()).collect();
    if left_out > 0 {
        sorted.push(ConfigError::at("", format!("and {left_out} more complaints")));
    }
    sorted
}
