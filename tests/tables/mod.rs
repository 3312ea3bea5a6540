//! For tests that hold a table of promises against the tests that keep them.
#![allow(dead_code)] // every test file uses another part

use std::fs;
use std::path::{Path, PathBuf};

/// A path in this package.
pub fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// Whether `file::name` is a test: a function, or a row of a macro that makes functions.
pub fn is_test(test: &str) -> bool {
    let Some((file, name)) = test.split_once("::") else { return false };
    let text = fs::read_to_string(path(file)).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let function = |at: usize| {
        lines[at].starts_with(&format!("fn {name}(")) && lines[..at].iter().rev().take(3).any(|line| *line == "#[test]")
    };
    (0..lines.len()).any(|at| function(at) || lines[at].starts_with(&format!("{name}: |")))
}

/// The names of the specification's properties in one of its documents.
pub fn names(document: &str) -> Vec<&'static str> {
    let all = include_str!("../../conformance/spec-properties.txt").lines();
    all.filter_map(|line| line.strip_prefix(document)?.strip_prefix(' ')).collect()
}
