//! D-Bus values: what a message's body is made of, as data, with the signature that says so on the wire. Pure.

use std::fmt;

/// How deep arrays, structs and variants may be nested in each other: far more than systemd needs, and the stack's limit.
const DEEPEST: usize = 16;

/// A value with its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `y`
    Byte(u8),
    /// `b`
    Bool(bool),
    /// `n`
    I16(i16),
    /// `q`
    U16(u16),
    /// `i`
    I32(i32),
    /// `u`; also `h`, the index of a descriptor, which we never have.
    U32(u32),
    /// `x`
    I64(i64),
    /// `t`
    U64(u64),
    /// `d`, as its bits, so that values can be compared.
    Double(u64),
    /// `s`
    Text(String),
    /// `o`
    Path(String),
    /// `g`
    Signature(String),
    /// `a`, with the type of its items, which an empty one has too.
    Array(String, Vec<Value>),
    /// `(…)`, and `{…}` in an array.
    Struct(Vec<Value>),
    /// `v`
    Variant(Box<Value>),
}

impl Value {
    /// An array of strings.
    pub fn texts<'a>(items: impl IntoIterator<Item = &'a str>) -> Self {
        Value::Array("s".into(), items.into_iter().map(|s| Value::Text(s.into())).collect())
    }

    /// An array of bytes.
    pub fn bytes(bytes: impl IntoIterator<Item = u8>) -> Self {
        Value::Array("y".into(), bytes.into_iter().map(Value::Byte).collect())
    }

    /// The type, as a signature.
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::I16(_) => "n".into(),
            Value::U16(_) => "q".into(),
            Value::I32(_) => "i".into(),
            Value::U32(_) => "u".into(),
            Value::I64(_) => "x".into(),
            Value::U64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Text(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Array(of, _) => format!("a{of}"),
            Value::Struct(fields) => format!("({})", fields.iter().map(Value::signature).collect::<String>()),
            Value::Variant(_) => "v".into(),
        }
    }

    /// The text of a string or an object path.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) | Value::Path(text) => Some(text),
            _ => None,
        }
    }
}

/// As people read it.
impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// For people: as `systemctl show` would have it where that is short.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Byte(n) => n.fmt(f),
            Value::Bool(yes) => f.write_str(if *yes { "yes" } else { "no" }),
            Value::I16(n) => n.fmt(f),
            Value::U16(n) => n.fmt(f),
            Value::I32(n) => n.fmt(f),
            Value::U32(n) => n.fmt(f),
            Value::I64(n) => n.fmt(f),
            Value::U64(u64::MAX) => f.write_str("infinity"),
            Value::U64(n) => n.fmt(f),
            Value::Double(bits) => f64::from_bits(*bits).fmt(f),
            Value::Text(text) | Value::Path(text) | Value::Signature(text) => f.write_str(text),
            Value::Array(of, items) if of == "y" => {
                f.write_str("0x")?;
                items.iter().rev().try_for_each(|item| match item {
                    Value::Byte(n) => write!(f, "{n:02x}"),
                    other => other.fmt(f),
                })
            }
            Value::Array(_, items) => list(f, "[", items, "]"),
            Value::Struct(fields) => list(f, "(", fields, ")"),
            Value::Variant(value) => value.fmt(f),
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, open: &str, items: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    f.write_str(close)
}

/// Splits the first complete type off a signature. `None`: it is no signature, or nested too deep.
pub(super) fn split(signature: &str) -> Option<(&str, &str)> {
    let end = end_of_type(signature.as_bytes(), 0)?;
    Some(signature.split_at(end))
}

fn end_of_type(bytes: &[u8], depth: usize) -> Option<usize> {
    if depth > DEEPEST {
        return None;
    }
    match bytes.first()? {
        b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v' | b'h' => Some(1),
        b'a' => Some(1 + end_of_type(&bytes[1..], depth + 1)?),
        open @ (b'(' | b'{') => {
            let close = if *open == b'(' { b')' } else { b'}' };
            let mut at = 1;
            while *bytes.get(at)? != close {
                at += end_of_type(&bytes[at..], depth + 1)?;
            }
            // Nothing between them is no type.
            (at > 1).then_some(at + 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_type_of_a_signature() {
        for (all, first) in
            [("su", "s"), ("a(sv)s", "a(sv)"), ("aay", "aay"), ("a{sv}", "a{sv}"), ("(s(uu))x", "(s(uu))")]
        {
            assert_eq!(split(all).map(|(first, _)| first), Some(first), "{all}");
        }
        for bad in ["", "a", "(", "()", "(s", "{sv", "z", &"a".repeat(100), &"(".repeat(100)] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_value_knows_its_type() {
        let value = Value::Array(
            "(sv)".into(),
            vec![Value::Struct(vec![Value::Text("Delegate".into()), Value::Variant(Box::new(Value::Bool(true)))])],
        );
        assert_eq!(value.signature(), "a(sv)");
        assert_eq!(value.to_string(), "[(Delegate, yes)]");
        assert_eq!(Value::U64(u64::MAX).to_string(), "infinity");
        assert_eq!(Value::bytes([0x0f, 0x80]).to_string(), "0x800f");
    }
}
