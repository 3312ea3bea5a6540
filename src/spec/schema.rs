//! The shape of config.json: one walk over the value against the [tables](super::properties), all complaints at once.
//!
//! Looks only at types, ranges, names of enumerations and lengths; what the values mean is for [validate](super::validate).

use serde_json::{Map, Value};

use super::pointer::{Pointer, Segment};
use super::remarks::Remarks;
use crate::error::Rule;

/// The longest string that can be passed to a program (the kernel's MAX_ARG_STRLEN less the NUL).
pub const MAX_STRING: usize = 128 * 1024 - 1;
/// The longest path the kernel takes (PATH_MAX less the NUL).
pub const MAX_PATH: usize = 4095;
/// For text that only passes through: the size of the whole document is limit enough.
pub const UNLIMITED: usize = usize::MAX;

/// How many unknown properties are listed.
const MAX_UNKNOWN: usize = 1000;

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// An integer from the first to the second number.
    Int(i64, u64),
    /// A string of at most so many bytes.
    Text(usize),
    /// One of these words.
    Word(&'static [&'static str]),
    /// An object with these properties; others are ignored.
    Object(&'static [Property]),
    /// An object whose names are data.
    Map(&'static Kind),
    /// An array.
    List(&'static Kind),
    /// Belongs to another platform: not looked into.
    Foreign,
}

/// Whether a property must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It may.
    Optional,
    /// It may, and the empty string means that it is not there (Go programs write their zero values).
    Blankable,
}

/// A property of an object.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// Its name, matched exactly.
    pub name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Whether it must be there.
    pub need: Need,
}

/// The property of this name.
pub fn find<'t>(table: &'t [Property], name: &str) -> Option<&'t Property> {
    table.iter().find(|property| property.name == name)
}

/// The path of every property in a table, with `*` for an index or a name that is data: `/mounts/*/destination`.
pub fn paths(table: &'static [Property]) -> Vec<String> {
    let mut all = Vec::new();
    for property in table {
        let path = format!("/{}", property.name);
        all.push(path.clone());
        below(property.kind, &path, &mut all);
    }
    all
}

/// The words that the property at a path may have; the path as [`paths`] gives it. None if it is no word.
pub fn words(table: &'static [Property], path: &str) -> &'static [&'static str] {
    let mut kind = Kind::Object(table);
    for name in path.split('/').skip(1) {
        kind = match kind {
            Kind::Object(table) => find(table, name).map_or(Kind::Foreign, |property| property.kind),
            Kind::List(item) | Kind::Map(item) => *item,
            _ => Kind::Foreign,
        };
    }
    match kind {
        Kind::Word(words) => words,
        _ => &[],
    }
}

fn below(kind: Kind, path: &str, all: &mut Vec<String>) {
    match kind {
        Kind::List(item) | Kind::Map(item) => below(*item, &format!("{path}/*"), all),
        Kind::Object(table) => all.extend(paths(table).into_iter().map(|inner| format!("{path}{inner}"))),
        _ => {}
    }
}

/// What a walk found besides complaints and warnings.
#[derive(Debug, Default)]
pub struct Findings {
    /// Pointers of properties that the specification does not know.
    pub unknown: Vec<String>,
    /// Whether there is anything to sweep out: unknown or foreign properties, nulls, blank strings.
    pub untidy: bool,
}

/// Holds `value` against the table of its properties.
pub fn walk(value: &Value, table: &'static [Property], remarks: &mut Remarks) -> Findings {
    let mut walk = Walk { remarks, findings: Findings::default() };
    walk.value(value, Kind::Object(table), Pointer::ROOT);
    walk.findings
}

struct Walk<'r> {
    remarks: &'r mut Remarks,
    findings: Findings,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, kind: Kind, place: Pointer<'_>) {
        match (kind, value) {
            (Kind::Bool, Value::Bool(_)) | (Kind::Foreign, _) => {}
            (Kind::Int(least, most), Value::Number(number)) => {
                let fits = match (number.as_i64(), number.as_u64()) {
                    (_, Some(positive)) => positive <= most && i64::try_from(positive).map_or(true, |n| n >= least),
                    (Some(negative), None) => negative >= least,
                    (None, None) => return self.wrong(Rule::WrongType, place, "an integer", value),
                };
                if !fits {
                    self.wrong(Rule::OutOfRange, place, &format!("an integer from {least} to {most}"), value);
                }
            }
            (Kind::Text(most), Value::String(text)) => self.text(text, most, place),
            (Kind::Word(words), Value::String(text)) => {
                if !words.contains(&text.as_str()) {
                    self.wrong(Rule::UnknownWord, place, &one_of(words), value);
                }
            }
            (Kind::List(item), Value::Array(list)) => {
                for (index, value) in list.iter().enumerate() {
                    self.value(value, *item, place.child(Segment::Index(index)));
                }
            }
            (Kind::Map(item), Value::Object(map)) => {
                for (name, value) in map {
                    let place = place.child(Segment::Name(name));
                    self.text(name, MAX_STRING, place);
                    self.value(value, *item, place);
                }
            }
            (Kind::Object(table), Value::Object(members)) => self.object(members, table, place),
            _ => self.wrong(Rule::WrongType, place, noun(kind), value),
        }
    }

    fn object(&mut self, members: &Map<String, Value>, table: &'static [Property], place: Pointer<'_>) {
        for (name, value) in members {
            let here = place.child(Segment::Name(name));
            let Some(property) = find(table, name) else {
                self.unknown(name, table, here);
                continue;
            };
            match (property.need, value) {
                (Need::Blankable, Value::String(text)) if text.is_empty() => self.findings.untidy = true,
                (Need::Optional | Need::Blankable, Value::Null) => {
                    self.findings.untidy = true;
                    if self.remarks.strict {
                        self.remarks.fault(
                            Rule::NullValue,
                            here.to_string(),
                            "null is not a value; leave the property out",
                        );
                    }
                }
                _ => {
                    self.findings.untidy |= matches!(property.kind, Kind::Foreign);
                    self.value(value, property.kind, here);
                }
            }
        }
        for property in table.iter().filter(|property| property.need == Need::Required) {
            if !members.contains_key(property.name) {
                let here = place.child(Segment::Name(property.name));
                self.remarks.fault(
                    Rule::MissingProperty,
                    here.to_string(),
                    format!("missing; expected {}", wanted(property.kind)),
                );
            }
        }
    }

    fn text(&mut self, text: &str, most: usize, place: Pointer<'_>) {
        if text.len() > most {
            let message = format!("expected a string of at most {most} bytes, got {}", text.len());
            self.remarks.fault(Rule::TooMany, place.to_string(), message);
        }
        if text.as_bytes().contains(&0) {
            self.remarks.error(place.to_string(), format!("expected a string without NUL, got {}", quoted(text)));
        }
    }

    fn unknown(&mut self, name: &str, table: &'static [Property], place: Pointer<'_>) {
        self.findings.untidy = true;
        if self.findings.unknown.len() < MAX_UNKNOWN {
            self.findings.unknown.push(place.to_string());
        }
        if let Some(meant) = table.iter().find(|property| property.name.eq_ignore_ascii_case(name)) {
            let message = format!("ignored: names are matched exactly, and the property is called {:?}", meant.name);
            self.remarks.warn(Rule::MisspeltProperty, place.to_string(), message);
        }
    }

    fn wrong(&mut self, rule: Rule, place: Pointer<'_>, expected: &str, got: &Value) {
        self.remarks.fault(rule, place.to_string(), format!("expected {expected}, got {}", describe(got)));
    }
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int(..) => "an integer",
        Kind::Text(_) | Kind::Word(_) => "a string",
        Kind::Object(_) | Kind::Map(_) => "an object",
        Kind::List(_) => "an array",
        Kind::Foreign => "anything",
    }
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Word(words) => one_of(words),
        _ => noun(kind).to_owned(),
    }
}

/// `one of a, b, c`.
pub fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

/// A value as a complaint shows it: short, on one line.
pub fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string(),
    }
}

/// A string as a complaint shows it: quoted, escaped, cut when long.
pub fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", Value::from(&text[..end])),
        None => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::properties::CONFIG;
    use super::*;

    fn walked(value: Value) -> (Vec<String>, Vec<String>, Findings) {
        let mut remarks = Remarks::new(false);
        let findings = walk(&value, CONFIG, &mut remarks);
        let said = |list: &[crate::error::ConfigError]| list.iter().map(ToString::to_string).collect();
        (said(&remarks.errors), said(&remarks.warnings), findings)
    }

    fn minimal(linux: Value) -> Value {
        json!({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "linux": linux})
    }

    #[test]
    fn all_complaints_at_once_with_what_was_found() {
        let (errors, ..) = walked(json!({
            "ociVersion": 1,
            "process": {"args": "sh", "terminal": "no"},
            "linux": {"resources": {"memory": {"limit": "lots"}}},
        }));
        assert_eq!(
            errors,
            [
                r#"/linux/resources/memory/limit: expected an integer, got "lots""#,
                "/ociVersion: expected a string, got 1",
                r#"/process/args: expected an array, got "sh""#,
                r#"/process/terminal: expected true or false, got "no""#,
                "/process/cwd: missing; expected a string",
                "/root: missing; expected an object",
            ]
        );
    }

    #[test]
    fn integer_ranges_are_exact() {
        let weight = |weight: Value| walked(minimal(json!({"resources": {"blockIO": {"weight": weight}}}))).0;
        assert!(weight(json!(0)).is_empty());
        assert!(weight(json!(65535)).is_empty());
        let range = "/linux/resources/blockIO/weight: expected an integer from 0 to 65535, got ";
        assert_eq!(weight(json!(65536)), [format!("{range}65536")]);
        assert_eq!(weight(json!(-1)), [format!("{range}-1")]);
        assert_eq!(weight(json!(1.5)), ["/linux/resources/blockIO/weight: expected an integer, got 1.5"]);
        let shares = |shares: Value| walked(minimal(json!({"resources": {"cpu": {"shares": shares}}}))).0;
        assert!(shares(json!(u64::MAX)).is_empty());
        let quota = |quota: Value| walked(minimal(json!({"resources": {"cpu": {"quota": quota}}}))).0;
        assert!(quota(json!(i64::MIN)).is_empty());
        assert!(quota(json!(i64::MAX)).is_empty());
        assert_eq!(quota(json!(u64::MAX)).len(), 1);
    }

    #[test]
    fn unknown_properties_are_listed_not_refused() {
        let (errors, warnings, findings) = walked(json!({
            "ociVersion": "1.3.0", "root": {"path": "/r", "colour": 1}, "Process": {}, "x/y": [],
            "linux": {"resources": {"memory": {"Limit": 5}}},
        }));
        assert!(errors.is_empty());
        assert_eq!(findings.unknown, ["/Process", "/linux/resources/memory/Limit", "/root/colour", "/x~1y"]);
        assert_eq!(
            warnings,
            [
                "/Process: ignored: names are matched exactly, and the property is called \"process\"",
                "/linux/resources/memory/Limit: ignored: names are matched exactly, and the property is called \"limit\"",
            ]
        );
    }

    #[test]
    fn string_limit_is_exact() {
        let hostname = |length: usize| {
            walked(json!({"ociVersion": "1.3.0", "root": {"path": "/r"}, "hostname": "h".repeat(length)})).0
        };
        assert!(hostname(64).is_empty());
        assert_eq!(hostname(65), ["/hostname: expected a string of at most 64 bytes, got 65"]);
    }

    #[test]
    fn words_are_found_by_their_path() {
        assert_eq!(words(CONFIG, "/linux/personality/domain"), ["LINUX", "LINUX32"]);
        assert!(words(CONFIG, "/linux/seccomp/syscalls/*/args/*/op").contains(&"SCMP_CMP_EQ"));
        assert!(words(CONFIG, "/linux/seccomp").is_empty() && words(CONFIG, "/nowhere/at/all").is_empty());
    }

    #[test]
    fn complaints_are_capped() {
        let (errors, ..) = walked(json!({"ociVersion": "1.3.0", "root": {"path": "/r"}, "mounts": vec![0; 5000]}));
        assert_eq!(errors.len(), super::super::json::MAX_COMPLAINTS);
    }

    #[test]
    fn long_strings_are_cut_in_complaints() {
        assert_eq!(quoted(&"é".repeat(61)), format!("\"{}\"…", "é".repeat(60)));
        assert_eq!(quoted("a\"\n"), r#""a\"\n""#);
    }
}
