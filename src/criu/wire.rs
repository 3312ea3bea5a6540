//! As much of protobuf's wire format as CRIU's messages need: numbers, texts, messages in messages. Strict when it reads:
//! what is cut off or of an unknown kind is no message.

/// A message being written.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// The bytes.
    pub(super) fn bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, kind: u8) {
        self.varint(u64::from(field << 3) | u64::from(kind));
    }

    /// An integer or an enumeration; negative ones take ten bytes, as the format wants it.
    pub(super) fn number(&mut self, field: u32, value: i64) {
        self.key(field, 0);
        self.varint(value as u64);
    }

    /// A boolean; one that is false is left out, which means the same.
    pub(super) fn flag(&mut self, field: u32, on: bool) {
        if on {
            self.number(field, 1);
        }
    }

    /// A text.
    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.blob(field, text.as_bytes());
    }

    /// A message within this one.
    pub(super) fn message(&mut self, field: u32, inner: Writer) {
        self.blob(field, &inner.0);
    }

    fn blob(&mut self, field: u32, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }
}

/// The value of a field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, a boolean or an enumeration.
    Number(u64),
    /// A text or a message.
    Bytes(&'a [u8]),
}

impl Value<'_> {
    /// The number; 0 for anything else.
    pub(super) fn number(&self) -> i64 {
        if let Value::Number(n) = self { *n as i64 } else { 0 }
    }

    /// The text; empty for anything else.
    pub(super) fn text(&self) -> String {
        if let Value::Bytes(bytes) = self { String::from_utf8_lossy(bytes).into_owned() } else { String::new() }
    }

    /// The fields of a message within.
    pub(super) fn fields(&self) -> Option<Vec<(u32, Value<'_>)>> {
        if let Value::Bytes(bytes) = self { fields(bytes) } else { None }
    }
}

/// The fields of a message, in their order.
pub(super) fn fields(mut bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let field = u32::try_from(key >> 3).ok()?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut bytes)?),
            1 => Value::Bytes(take(&mut bytes, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut bytes)?).ok()?;
                Value::Bytes(take(&mut bytes, length)?)
            }
            5 => Value::Bytes(take(&mut bytes, 4)?),
            _ => return None,
        };
        found.push((field, value));
    }
    Some(found)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the format's own documentation.
    #[test]
    fn bytes_as_the_format_has_them() {
        let mut inner = Writer::default();
        inner.number(1, 150);
        let mut outer = Writer::default();
        outer.text(2, "testing");
        outer.message(3, inner);
        outer.flag(4, false);
        outer.number(5, -2);
        let bytes = outer.bytes();
        let mut want = vec![0x12, 7];
        want.extend(b"testing");
        want.extend([0x1a, 3, 0x08, 0x96, 0x01, 0x28]);
        want.extend([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
        assert_eq!(bytes, want);
        let read = fields(&bytes).unwrap();
        assert_eq!(read[0], (2, Value::Bytes(b"testing")));
        assert_eq!(read[1].1.fields().unwrap(), [(1, Value::Number(150))]);
        assert_eq!((read[2].0, read[2].1.number()), (5, -2));
    }

    #[test]
    fn what_is_cut_off_is_no_message() {
        let mut message = Writer::default();
        message.text(300, "a text");
        message.number(1, 1 << 40);
        let bytes = message.bytes();
        let borders = [0, 9, bytes.len()];
        for cut in 0..=bytes.len() {
            assert_eq!(fields(&bytes[..cut]).is_some(), borders.contains(&cut), "{cut}");
        }
        assert_eq!(fields(&[0x0b]), None, "a group");
        assert_eq!(fields(&[0xff; 12]), None, "a number without an end");
        assert_eq!(fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), None);
    }

    #[test]
    fn fields_of_fixed_width_are_passed_over() {
        let bytes = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x18, 1];
        assert_eq!(fields(&bytes).unwrap().last(), Some(&(3, Value::Number(1))));
    }
}
