//! What the seccomp tests share: the shipped profiles, libseccomp as an oracle in its own process, a plain reading of
//! the rules as a second oracle, and random profiles and calls.
#![allow(dead_code)] // each test file uses its part

pub mod model;
pub mod oracle;
pub mod profiles;
pub mod random;

use rt::seccomp::{Profile, lower};
use serde_json::Value;

/// Lowers a section that must be good.
pub fn lowered(section: &Value) -> Profile {
    let mut complaints = Vec::new();
    let section = serde_json::from_value(section.clone()).expect("an OCI seccomp section");
    lower(&section, &mut complaints).unwrap_or_else(|| panic!("{complaints:?}"))
}
