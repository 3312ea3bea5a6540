//! Holds conformance/spec-coverage.md against the names of the specification, against our own tables and against the
//! tests it names. Needs no root. Says how far we are, where `make test` can see it.
#![allow(clippy::disallowed_methods)] // a test may ask whether a file is there

mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use tables::{is_test, path};

const NAMES: &str = include_str!("../conformance/spec-properties.txt");
const TABLE: &str = include_str!("../conformance/spec-coverage.md");

/// What a row may say of its property.
const VERDICTS: [&str; 6] = ["kernel", "plan", "document", "refused", "ignored", "missing"];

/// One line of the table.
#[derive(Debug)]
struct Row {
    property: &'static str,
    place: &'static str,
    verdict: &'static str,
    words: &'static str,
}

fn names() -> Vec<&'static str> {
    NAMES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect()
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        let [property, place, words] = cells[..] else { panic!("three cells: {line}") };
        let (verdict, words) = words.split_once(": ").unwrap_or_else(|| panic!("a verdict and a reason: {line}"));
        Some(Row { property: property.trim_end_matches('`'), place: place.trim_matches('`'), verdict, words })
    };
    TABLE.lines().filter_map(row).collect()
}

/// The tests that a cell names: `file::name`, in backticks.
fn named(words: &str) -> Vec<&str> {
    words.split('`').filter(|part| part.contains("::")).collect()
}

#[test]
fn every_property_has_a_row_and_every_row_a_property() {
    let names = names();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows() {
        *counts.entry(row.property).or_default() += 1;
    }
    let without: Vec<_> = names.iter().filter(|name| !counts.contains_key(**name)).collect();
    let unknown: Vec<_> = counts.keys().filter(|name| !names.contains(name)).collect();
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(without.is_empty() && unknown.is_empty() && twice.is_empty(), "{without:?} {unknown:?} {twice:?}");
    assert!(names.len() > 250 && names.is_sorted_by(|a, b| a < b), "the list of names is sorted and whole");
}

#[test]
fn every_row_is_filled_in_and_names_what_there_is() {
    let mut wrong = Vec::new();
    for row in rows() {
        let Row { property, place, verdict, words } = row;
        if !VERDICTS.contains(&verdict) || words.len() < 10 {
            wrong.push(format!("{property}: {verdict}: {words}"));
        }
        let proven = matches!(verdict, "kernel" | "plan" | "document");
        if proven && named(words).is_empty() {
            wrong.push(format!("{property}: names no test"));
        }
        let missing = named(words).into_iter().filter(|test| !is_test(test));
        wrong.extend(missing.map(|test| format!("{property}: there is no test {test}")));
        if place == "nowhere" && verdict != "missing" || place != "nowhere" && !path(place).exists() {
            wrong.push(format!("{property}: {place} is no file"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The validator's tables and the specification's schema have the same names; ours may leave out what is ignored anyway.
#[test]
fn our_tables_have_the_specifications_names() {
    let of_config = |line: &&'static str| line.strip_prefix("config ");
    // In our tables the clocks of timeOffsets are data, which is checked later.
    let data = |name: &str| name.replace("/boottime", "/*").replace("/monotonic", "/*");
    let theirs: BTreeSet<String> = names().iter().filter_map(of_config).map(data).collect();
    let ours: BTreeSet<String> = rt::spec::schema::paths(rt::spec::properties::CONFIG).into_iter().collect();
    let more: Vec<_> = ours.difference(&theirs).collect();
    assert!(more.is_empty(), "no names of the specification: {more:?}");
    let ignored: BTreeSet<String> =
        rows().iter().filter(|row| row.verdict == "ignored").map(|row| row.property.to_owned()).collect();
    let is_data = |name: &str| name.ends_with("/*");
    let fewer: Vec<_> = theirs
        .difference(&ours)
        .filter(|name| !is_data(name) && !ignored.contains(&format!("config {name}")))
        .collect();
    assert!(fewer.is_empty(), "our tables don't have {fewer:?}");
}

/// The line that `make test` closes with.
#[test]
fn the_counts_are_said() {
    let rows = rows();
    let count = |verdicts: &[&str]| rows.iter().filter(|row| verdicts.contains(&row.verdict)).count();
    let proven = count(&["kernel", "plan", "document"]);
    let mut line = format!(
        "spec: {} properties, {proven} proven, {} refused with reason",
        rows.len(),
        count(&["refused", "ignored"])
    );
    for (verdicts, words) in [(["plan"], "of the proven by the plan alone"), (["missing"], "missing")] {
        if count(&verdicts) > 0 {
            line.push_str(&format!(", {} {words}", count(&verdicts)));
        }
    }
    // Past the capture of the test harness.
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
