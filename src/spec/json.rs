//! Bytes to a JSON value, strictly: a size limit, a depth limit, no duplicate names, nothing after the end.
//!
//! Says nothing about what the document means. Never panics, whatever the bytes are.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

use super::pointer::{Pointer, Segment};
use crate::error::{ConfigError, Rule};

/// The largest config.json that is read, in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// How deep arrays and objects may be nested.
pub const MAX_DEPTH: usize = 64;

/// How many arrays and objects there may be, all together: an empty one costs the reader a hundred times its bytes.
pub const MAX_CONTAINERS: usize = 1 << 17;

/// How many complaints of one kind are kept; a hostile document could have millions.
pub const MAX_COMPLAINTS: usize = 100;

/// Parses a whole document. Every duplicate name is a complaint: engines that look at a config with a lenient parser would
/// see another value than we do.
pub fn parse(bytes: &[u8]) -> Result<Value, Vec<ConfigError>> {
    if bytes.len() > MAX_BYTES {
        let message = format!("expected at most {MAX_BYTES} bytes, got {}", bytes.len());
        return Err(vec![whole(message).of(Rule::DocumentLimit)]);
    }
    if let Some(encoding) = byte_order_mark(bytes) {
        return Err(vec![whole(format!("starts with a {encoding} byte order mark; save it as UTF-8 without one"))]);
    }
    let reader = Reader::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let root = Node { place: Pointer::ROOT, depth: 0, reader: &reader };
    let parsed = root.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    let mut faults = reader.faults.into_inner();
    match parsed {
        Ok(value) if faults.is_empty() => Ok(value),
        Ok(_) => Err(faults),
        // Too deep or too many: already said better than the parser can.
        Err(error) if error.is_data() && !faults.is_empty() => Err(faults),
        Err(error) => {
            faults.push(whole(format!("not valid JSON at {}:{}: {}", error.line(), error.column(), words(&error))));
            Err(faults)
        }
    }
}

fn whole(message: String) -> ConfigError {
    ConfigError::at("", message).of(Rule::JsonSyntax)
}

fn byte_order_mark(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => Some("UTF-8"),
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// The parser's message without the position that it appends.
fn words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// What all nodes share.
#[derive(Default)]
struct Reader {
    faults: RefCell<Vec<ConfigError>>,
    containers: Cell<usize>,
}

/// The node being read: builds the value, remembers where it is.
struct Node<'a> {
    place: Pointer<'a>,
    depth: usize,
    reader: &'a Reader,
}

impl Node<'_> {
    fn child<'b>(&'b self, segment: Segment<'b>) -> Node<'b> {
        Node { place: self.place.child(segment), depth: self.depth + 1, reader: self.reader }
    }

    /// Counts an array or object and stops at the limits.
    fn enter<E: serde::de::Error>(&self) -> Result<(), E> {
        self.reader.containers.set(self.reader.containers.get() + 1);
        let message = if self.depth >= MAX_DEPTH {
            format!("nested deeper than {MAX_DEPTH} arrays and objects")
        } else if self.reader.containers.get() > MAX_CONTAINERS {
            format!("expected at most {MAX_CONTAINERS} arrays and objects, and this is one more")
        } else {
            return Ok(());
        };
        self.reader.faults.borrow_mut().push(ConfigError::at(self.place.to_string(), message).of(Rule::DocumentLimit));
        Err(E::custom("too much"))
    }

    fn duplicate(&self, name: &str) {
        let mut faults = self.reader.faults.borrow_mut();
        if faults.len() < MAX_COMPLAINTS {
            let place = self.place.child(Segment::Name(name)).to_string();
            faults.push(ConfigError::at(place, "given twice; keep one of them").of(Rule::DuplicateKey));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.child(Segment::Index(list.len())))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.enter()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(self.child(Segment::Name(&name)))?;
            match object.entry(name) {
                Entry::Vacant(free) => {
                    free.insert(value);
                }
                Entry::Occupied(taken) => self.duplicate(taken.key()),
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn gives_what_serde_json_gives() {
        let text =
            r#" {"a": [1, -2, 3.5, true, null, "x\u00e9\n"], "b": {"c": {}, "d": []}, "e": 18446744073709551615} "#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn every_duplicate_is_named() {
        let text = r#"{"a": 1, "b": [{"c/d": 1, "c/d": 1}], "a": {"x": 1, "x": 2}}"#;
        assert_eq!(
            complaints(text),
            [
                "/b/0/c~1d: given twice; keep one of them",
                "/a/x: given twice; keep one of them",
                "/a: given twice; keep one of them",
            ]
        );
    }

    #[test]
    fn syntax_errors_have_line_and_column() {
        assert_eq!(complaints("{\n  \"a\": 1,\n}"), ["/: not valid JSON at 3:1: trailing comma"]);
        assert_eq!(complaints("{}\n{}"), ["/: not valid JSON at 2:1: trailing characters"]);
        assert_eq!(complaints(""), ["/: not valid JSON at 1:0: EOF while parsing a value"]);
        assert_eq!(complaints("[1e999]"), ["/: not valid JSON at 1:6: number out of range"]);
    }

    #[test]
    fn other_encodings_are_refused_clearly() {
        let said = |bytes: &[u8]| parse(bytes).unwrap_err()[0].message.clone();
        assert_eq!(said(b"\xef\xbb\xbf{}"), "starts with a UTF-8 byte order mark; save it as UTF-8 without one");
        assert_eq!(said(b"\xff\xfe{\0}\0"), "starts with a UTF-16 byte order mark; save it as UTF-8 without one");
        assert!(said(b"{\"\xff\": 1}").starts_with("not valid JSON at 1:"));
    }

    #[test]
    fn depth_limit_is_exact() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        let pointer = "/0".repeat(MAX_DEPTH);
        assert_eq!(
            complaints(&nested(MAX_DEPTH + 1)),
            [format!("{pointer}: nested deeper than 64 arrays and objects")]
        );
        // Hostile depth ends at the limit, before recursion is deep.
        assert_eq!(complaints(&"[".repeat(1_000_000)).len(), 1);
        assert_eq!(complaints(&"{\"a\":".repeat(1_000_000)).len(), 1);
    }

    #[test]
    fn size_limit_is_exact() {
        let mut bytes = vec![b' '; MAX_BYTES];
        bytes[0] = b'1';
        assert!(parse(&bytes).is_ok());
        bytes.push(b' ');
        assert_eq!(parse(&bytes).unwrap_err()[0].message, "expected at most 8388608 bytes, got 8388609");
    }

    #[test]
    fn limit_of_arrays_and_objects_is_exact() {
        let many = |count: usize| format!("[{}{{}}]", "[],".repeat(count - 2));
        assert!(parse(many(MAX_CONTAINERS).as_bytes()).is_ok());
        let said = "/131071: expected at most 131072 arrays and objects, and this is one more";
        assert_eq!(complaints(&many(MAX_CONTAINERS + 1)), [said]);
    }

    #[test]
    fn duplicates_are_capped() {
        let text = format!("{{{}\"a\":1}}", "\"a\":1,".repeat(5000));
        assert_eq!(complaints(&text).len(), MAX_COMPLAINTS);
    }
}
