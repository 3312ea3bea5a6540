//! `org.systemd.property.NAME` annotations: more properties for the container's unit, their values written as GVariant
//! text (`uint64 5000000`, `'mixed'`, `['a.service']`). Pure.
//!
//! Annotations come from further away than the rest of a config (images, pods), and systemd's properties reach further
//! than a container: `BindsTo` ends units of the host, `Slice` and `Delegate` are the placement itself. So there is a
//! list of what may be set, and everything else is refused, never ignored (CVE-2024-3154).

use std::collections::HashMap;

use super::bus::Value;
use super::properties::Property;
use crate::error::ConfigError;

/// What such annotations begin with.
pub const PREFIX: &str = "org.systemd.property.";

/// What may be set: how the unit ends, what it is ordered after, and what limits or counts it further. None of it can lift
/// a limit, for those that the config asks for are on the container's own cgroup too.
const ALLOWED: &[&str] = &[
    "After",
    "Before",
    "CPUAccounting",
    "CollectMode",
    "Description",
    "Documentation",
    "FinalKillSignal",
    "IOAccounting",
    "IPAccounting",
    "IPAddressAllow",
    "IPAddressDeny",
    "KillMode",
    "KillSignal",
    "ManagedOOMMemoryPressure",
    "ManagedOOMMemoryPressureLimit",
    "ManagedOOMPreference",
    "ManagedOOMSwap",
    "MemoryAccounting",
    "MemoryHigh",
    "MemoryPressureThresholdUSec",
    "MemoryPressureWatch",
    "MemoryZSwapMax",
    "OOMPolicy",
    "RestartKillSignal",
    "RuntimeMaxUSec",
    "RuntimeRandomizedExtraUSec",
    "SendSIGHUP",
    "SendSIGKILL",
    "SurviveFinalKillSignal",
    "TasksAccounting",
    "TimeoutStopUSec",
    "WatchdogSignal",
];

/// The longest value.
const LONGEST: usize = 4096;
/// How deep arrays and tuples may be nested in each other.
const DEEPEST: usize = 4;

/// The properties that the annotations ask for, sorted, each with the pointer of its annotation.
pub fn lower(annotations: &HashMap<String, String>, complaints: &mut Vec<ConfigError>) -> Vec<(String, Property)> {
    let mut asked: Vec<(&str, &String)> =
        annotations.iter().filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value))).collect();
    asked.sort();
    let mut properties = Vec::new();
    for (name, text) in asked {
        let pointer = format!("/annotations/{PREFIX}{}", name.replace('~', "~0").replace('/', "~1"));
        match property(name, text) {
            Ok(property) => properties.push((pointer, property)),
            Err(message) => complaints.push(ConfigError::at(pointer, message)),
        }
    }
    properties
}

fn property(name: &str, text: &str) -> Result<Property, String> {
    // systemd's files say seconds, its bus microseconds: as runc does, both are taken.
    let seconds = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U'));
    let on_bus = seconds.map_or_else(|| name.to_owned(), |stem| format!("{stem}USec"));
    if !ALLOWED.contains(&on_bus.as_str()) {
        return Err(format!("no property that an annotation may set; these may be: {}", ALLOWED.join(", ")));
    }
    let value = parse(text).ok_or_else(|| {
        format!("{text:?} is no GVariant text; expected something like true, 'text', uint64 5000000, ['a', 'b']")
    })?;
    let value = if seconds.is_some() { microseconds(&value).ok_or("expected a number of seconds")? } else { value };
    Ok((on_bus, value))
}

fn microseconds(value: &Value) -> Option<Value> {
    const SECOND: u64 = 1_000_000;
    let micros = match value {
        Value::Byte(n) => u64::from(*n).checked_mul(SECOND),
        Value::I32(n) => u64::try_from(*n).ok()?.checked_mul(SECOND),
        Value::U32(n) => u64::from(*n).checked_mul(SECOND),
        Value::I64(n) => u64::try_from(*n).ok()?.checked_mul(SECOND),
        Value::U64(n) => n.checked_mul(SECOND),
        Value::Double(bits) => {
            let n = f64::from_bits(*bits);
            (0.0..1e12).contains(&n).then_some((n * SECOND as f64) as u64)
        }
        _ => None,
    };
    micros.map(Value::U64)
}

/// Reads GVariant text: the whole of it is one value.
fn parse(text: &str) -> Option<Value> {
    if text.len() > LONGEST {
        return None;
    }
    let mut parser = Parser { rest: text };
    let value = parser.value(None, 0)?;
    parser.rest.trim_start().is_empty().then_some(value)
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn eat(&mut self, text: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A word of letters and digits: a keyword or a number.
    fn word(&mut self) -> &str {
        self.rest = self.rest.trim_start();
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-._".contains(c))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// One value; `wanted` is the type that stood before it.
    fn value(&mut self, wanted: Option<&str>, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        self.rest = self.rest.trim_start();
        match self.rest.chars().next()? {
            '@' => {
                self.rest = &self.rest[1..];
                let end = self.rest.find(char::is_whitespace)?;
                let (signature, rest) = self.rest.split_at(end);
                self.rest = rest;
                self.value(Some(signature), depth + 1)
            }
            quote @ ('\'' | '"') => {
                let text = self.quoted(quote)?;
                match wanted {
                    None | Some("s") => Some(Value::Text(text)),
                    Some("o") => Some(Value::Path(text)),
                    Some(_) => None,
                }
            }
            '[' => self.array(wanted, depth),
            '(' => self.tuple(depth),
            _ => self.plain(wanted, depth),
        }
    }

    /// `true`, a number, or the name of a type and what is of it.
    fn plain(&mut self, wanted: Option<&str>, depth: usize) -> Option<Value> {
        let word = self.word().to_owned();
        let of_type = match word.as_str() {
            "true" | "false" => return (wanted.is_none_or(|w| w == "b")).then_some(Value::Bool(word == "true")),
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            _ => return number(&word, wanted),
        };
        self.value(Some(of_type), depth + 1)
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut letters = self.rest.char_indices().skip(1);
        while let Some((at, c)) = letters.next() {
            match c {
                '\\' => text.push(match letters.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    c @ ('\\' | '\'' | '"') => c,
                    _ => return None,
                }),
                '\0' => return None,
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Some(text);
                }
                c => text.push(c),
            }
        }
        None
    }

    /// All items of one type; an empty array needs its type before it.
    fn array(&mut self, wanted: Option<&str>, depth: usize) -> Option<Value> {
        let mut of = wanted.map(|signature| signature.strip_prefix('a').map(str::to_owned));
        if of == Some(None) || !self.eat("[") {
            return None;
        }
        let mut of = of.take().flatten();
        let mut items = Vec::new();
        while !self.eat("]") {
            if !items.is_empty() && !self.eat(",") {
                return None;
            }
            let simple = of.as_deref().filter(|of| of.len() == 1);
            let item = self.value(simple, depth + 1)?;
            let signature = item.signature();
            if *of.get_or_insert_with(|| signature.clone()) != signature {
                return None;
            }
            items.push(item);
        }
        Some(Value::Array(of?, items))
    }

    fn tuple(&mut self, depth: usize) -> Option<Value> {
        let mut fields = Vec::new();
        self.eat("(");
        while !self.eat(")") {
            // A single field has a comma behind it.
            if !fields.is_empty() && !self.eat(",") {
                return None;
            }
            if self.eat(")") {
                break;
            }
            fields.push(self.value(None, depth + 1)?);
        }
        (!fields.is_empty()).then_some(Value::Struct(fields))
    }
}

/// A number of the type that is wanted; without one it is an int32, or a double when it has a point.
fn number(word: &str, wanted: Option<&str>) -> Option<Value> {
    let whole = |word: &str| match word.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16).ok(),
        None => word.parse::<i128>().ok(),
    };
    Some(match wanted {
        Some("y") => Value::Byte(whole(word)?.try_into().ok()?),
        Some("n") => Value::I16(whole(word)?.try_into().ok()?),
        Some("q") => Value::U16(whole(word)?.try_into().ok()?),
        Some("i") => Value::I32(whole(word)?.try_into().ok()?),
        Some("u") => Value::U32(whole(word)?.try_into().ok()?),
        Some("x") => Value::I64(whole(word)?.try_into().ok()?),
        Some("t") => Value::U64(whole(word)?.try_into().ok()?),
        Some("d") => Value::Double(word.parse::<f64>().ok()?.to_bits()),
        None => match whole(word) {
            Some(n) => Value::I32(n.try_into().ok()?),
            // `inf` and `nan` are words here, not numbers.
            None if word.starts_with(|c: char| c.is_ascii_digit() || c == '-') => {
                Value::Double(word.parse::<f64>().ok()?.to_bits())
            }
            None => return None,
        },
        Some(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_callers_write_them() {
        let text = |s: &str| Value::Text(s.into());
        for (written, value) in [
            ("uint64 5000000", Value::U64(5_000_000)),
            ("15", Value::I32(15)),
            ("-1", Value::I32(-1)),
            ("0x10", Value::I32(16)),
            ("true", Value::Bool(true)),
            ("'mixed'", text("mixed")),
            (" \"it's\" ", text("it's")),
            (r"'a\'b\\c\n'", text("a'b\\c\n")),
            ("['a.service', 'b.service']", Value::texts(["a.service", "b.service"])),
            ("@as []", Value::texts([])),
            ("[uint32 1, 2]", Value::Array("u".into(), vec![Value::U32(1), Value::U32(2)])),
            ("byte 0xff", Value::Byte(255)),
            ("1.5", Value::Double(1.5f64.to_bits())),
            ("int64 -9", Value::I64(-9)),
            (
                "[('/dev/null', uint64 4)]",
                Value::Array("(st)".into(), vec![Value::Struct(vec![text("/dev/null"), Value::U64(4)])]),
            ),
            ("('a',)", Value::Struct(vec![text("a")])),
            ("objectpath '/a'", Value::Path("/a".into())),
        ] {
            assert_eq!(parse(written).as_ref(), Some(&value), "{written}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let deep = "[".repeat(5000);
        let types = "uint64 ".repeat(500);
        for bad in [
            "",
            " ",
            "plain",
            "'open",
            "[",
            "[]",
            "[1, 'a']",
            "[1 2]",
            "()",
            "(1",
            "1 2",
            "uint64",
            "uint64 -1",
            "byte 256",
            "uint32 'a'",
            "99999999999",
            "@as",
            "@u []",
            "nan",
            "inf",
            "''x",
            "'\\z'",
            "@as [1]",
            "uint64 [1]",
            "@as 'a'",
            &deep,
            &types,
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    fn lowered(key: &str, value: &str) -> Result<String, String> {
        let annotations = HashMap::from([(format!("{PREFIX}{key}"), value.to_owned()), ("other".into(), "x".into())]);
        let mut complaints = Vec::new();
        let all = lower(&annotations, &mut complaints);
        match complaints.first() {
            Some(complaint) => Err(complaint.to_string()),
            None => Ok(all.iter().map(|(pointer, (name, value))| format!("{pointer}: {name} = {value}")).collect()),
        }
    }

    #[test]
    fn seconds_become_microseconds() {
        let pointer = "/annotations/org.systemd.property.TimeoutStop";
        assert_eq!(
            lowered("TimeoutStopUSec", "uint64 5000000").unwrap(),
            format!("{pointer}USec: TimeoutStopUSec = 5000000")
        );
        assert_eq!(lowered("TimeoutStopSec", "5").unwrap(), format!("{pointer}Sec: TimeoutStopUSec = 5000000"));
        assert_eq!(lowered("TimeoutStopSec", "0.5").unwrap(), format!("{pointer}Sec: TimeoutStopUSec = 500000"));
        assert!(lowered("TimeoutStopSec", "'5'").unwrap_err().contains("number of seconds"));
        assert!(lowered("TimeoutStopSec", "-5").is_err());
    }

    #[test]
    fn what_reaches_beyond_the_container_is_refused() {
        for name in
            ["Slice", "Delegate", "PIDs", "BindsTo", "ExecStartPost", "User", "DeviceAllow", "MemoryMax", "a/b", ""]
        {
            let said = lowered(name, "'x'").unwrap_err();
            assert!(said.contains("no property that an annotation may set"), "{said}");
        }
        assert!(lowered("KillMode", "mixed").unwrap_err().contains("GVariant"));
    }
}
