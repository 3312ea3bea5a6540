//! D-Bus values as bytes: little-endian out, either order in. Pure; what comes in is checked, never trusted.

use super::value::{Value, split};

/// How deep values may be nested, variants included.
const DEEPEST: usize = 24;

/// Bytes in the making; alignment counts from their beginning.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        while !self.bytes.len().is_multiple_of(to) {
            self.bytes.push(0);
        }
    }

    pub(super) fn u32(&mut self, n: u32) {
        self.align(4);
        self.bytes.extend(n.to_le_bytes());
    }

    fn long(&mut self, bytes: [u8; 8]) {
        self.align(8);
        self.bytes.extend(bytes);
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend(text.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(n) => self.bytes.push(*n),
            Value::Bool(yes) => self.u32(u32::from(*yes)),
            Value::I16(n) => {
                self.align(2);
                self.bytes.extend(n.to_le_bytes());
            }
            Value::U16(n) => {
                self.align(2);
                self.bytes.extend(n.to_le_bytes());
            }
            Value::I32(n) => self.u32(*n as u32),
            Value::U32(n) => self.u32(*n),
            Value::I64(n) => self.long(n.to_le_bytes()),
            Value::U64(n) => self.long(n.to_le_bytes()),
            Value::Double(bits) => self.long(bits.to_le_bytes()),
            Value::Text(text) | Value::Path(text) => self.text(text),
            Value::Signature(text) => self.signature(text),
            Value::Array(of, items) => self.array(of, items),
            Value::Struct(fields) => {
                self.align(8);
                fields.iter().for_each(|field| self.value(field));
            }
            Value::Variant(inner) => {
                self.signature(&inner.signature());
                self.value(inner);
            }
        }
    }

    /// The length counts neither itself nor the padding before the first item.
    fn array(&mut self, of: &str, items: &[Value]) {
        self.u32(0);
        let length_at = self.bytes.len() - 4;
        self.align(alignment(of));
        let begin = self.bytes.len();
        items.iter().for_each(|item| self.value(item));
        let length = (self.bytes.len() - begin) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Where a type begins on the wire.
fn alignment(signature: &str) -> usize {
    match signature.as_bytes().first() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b's' | b'o' | b'a' | b'h') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

/// Reads values; every `None` says that the bytes are no such value.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    big: bool,
}

impl<'a> Reader<'a> {
    /// `big`: whether the numbers are big-endian.
    pub(super) fn new(bytes: &'a [u8], big: bool) -> Self {
        Self { bytes, at: 0, big }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn align(&mut self, to: usize) -> Option<()> {
        let at = self.at.next_multiple_of(to);
        (at <= self.bytes.len()).then(|| self.at = at)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.align(N)?;
        let mut bytes: [u8; N] = self.take(N)?.try_into().ok()?;
        if self.big {
            bytes.reverse();
        }
        Some(bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let text = std::str::from_utf8(self.take(length)?).ok()?;
        (self.byte()? == 0 && !text.contains('\0')).then(|| text.to_owned())
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        self.text(length)
    }

    /// All values of a signature.
    pub(super) fn values(&mut self, signature: &str) -> Option<Vec<Value>> {
        self.sequence(signature, 0)
    }

    fn sequence(&mut self, signature: &str, depth: usize) -> Option<Vec<Value>> {
        let mut values = Vec::new();
        let mut rest = signature;
        while !rest.is_empty() {
            let (first, after) = split(rest)?;
            values.push(self.value(first, depth)?);
            rest = after;
        }
        Some(values)
    }

    /// One value; `signature` is one complete type.
    fn value(&mut self, signature: &str, depth: usize) -> Option<Value> {
        if depth > DEEPEST {
            return None;
        }
        Some(match signature.as_bytes()[0] {
            b'y' => Value::Byte(self.byte()?),
            b'b' => match self.u32()? {
                n @ (0 | 1) => Value::Bool(n == 1),
                _ => return None,
            },
            b'n' => Value::I16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::U16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::I32(i32::from_le_bytes(self.number()?)),
            b'u' | b'h' => Value::U32(self.u32()?),
            b'x' => Value::I64(i64::from_le_bytes(self.number()?)),
            b't' => Value::U64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(u64::from_le_bytes(self.number()?)),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                let text = self.text(length)?;
                if signature == "s" { Value::Text(text) } else { Value::Path(text) }
            }
            b'g' => Value::Signature(self.signature()?),
            b'a' => self.array(&signature[1..], depth)?,
            b'(' | b'{' => {
                self.align(8)?;
                Value::Struct(self.sequence(&signature[1..signature.len() - 1], depth + 1)?)
            }
            b'v' => {
                let inner = self.signature()?;
                let (first, rest) = split(&inner)?;
                if !rest.is_empty() {
                    return None;
                }
                Value::Variant(Box::new(self.value(first, depth + 1)?))
            }
            _ => return None,
        })
    }

    fn array(&mut self, of: &str, depth: usize) -> Option<Value> {
        let length = self.u32()? as usize;
        self.align(alignment(of))?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let mut items = Vec::new();
        while self.at < end {
            let before = self.at;
            items.push(self.value(of, depth + 1)?);
            // An item without bytes would never come to the end.
            if self.at == before {
                return None;
            }
        }
        (self.at == end).then(|| Value::Array(of.to_owned(), items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(value: &Value) {
        let mut writer = Writer::default();
        writer.value(value);
        let mut reader = Reader::new(&writer.bytes, false);
        assert_eq!(reader.values(&value.signature()).as_deref(), Some(std::slice::from_ref(value)));
        assert_eq!(reader.at(), writer.bytes.len());
    }

    #[test]
    fn what_is_written_can_be_read() {
        let text = |s: &str| Value::Text(s.into());
        let variant = |v| Value::Variant(Box::new(v));
        for value in [
            Value::Byte(7),
            Value::Bool(true),
            Value::I16(-2),
            Value::U16(2),
            Value::I32(-3),
            Value::I64(i64::MIN),
            Value::U64(u64::MAX),
            Value::Double(0.5f64.to_bits()),
            text("grün"),
            Value::Path("/a/b".into()),
            Value::Signature("a(sv)".into()),
            Value::texts(["a", "", "ccc"]),
            Value::bytes([1, 2, 3]),
            Value::Array("(sv)".into(), vec![]),
            Value::Array(
                "(sv)".into(),
                vec![
                    Value::Struct(vec![text("PIDs"), variant(Value::Array("u".into(), vec![Value::U32(4)]))]),
                    Value::Struct(vec![text("MemoryMax"), variant(Value::U64(9))]),
                ],
            ),
        ] {
            there_and_back(&value);
        }
    }

    #[test]
    fn the_length_of_an_array_does_not_count_its_padding() {
        let mut writer = Writer::default();
        writer.value(&Value::Array("t".into(), vec![Value::U64(1)]));
        assert_eq!(writer.bytes, [8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn big_endian_is_read_too() {
        assert_eq!(Reader::new(&[0, 0, 1, 2], true).values("u"), Some(vec![Value::U32(258)]));
    }

    #[test]
    fn lies_about_lengths_are_refused() {
        for (bytes, signature) in [
            (&[255, 255, 255, 255, 0][..], "s"),
            (&[9, 0, 0, 0, 1], "ay"),
            (&[3, 0, 0, 0, 1, 0, 0, 0], "au"),
            (&[2, 0, 0, 0, b'a', 0, 0], "s"),
            (&[1, 0, 0, 0, 0xff, 0], "s"),
            (&[2, 0, 0, 0], "b"),
            (&[1, b'z', 0], "v"),
            (&[2, b's', b's', 0], "v"),
            (&[], "u"),
        ] {
            assert_eq!(Reader::new(bytes, false).values(signature), None, "{bytes:?} as {signature}");
        }
        // Variants within variants, each three bytes long: the stack is not theirs to use up.
        let nested: Vec<u8> = std::iter::repeat_n([1, b'v', 0], 10_000).flatten().collect();
        assert_eq!(Reader::new(&nested, false).values("v"), None);
    }
}
