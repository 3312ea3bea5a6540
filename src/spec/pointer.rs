//! Where in a document: RFC 6901 pointers, made into text only when somebody complains.
//!
//! Also finds the line and column of a pointer in the bytes. Never used on the way of a config without fault.

use std::collections::HashMap;
use std::fmt;

/// One step down: a member's name or an index.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'a> {
    /// A member of an object.
    Name(&'a str),
    /// An element of an array.
    Index(usize),
}

/// A place in the document as a chain of borrowed links up to the root.
#[derive(Clone, Copy, Debug)]
pub struct Pointer<'a> {
    link: Option<(&'a Pointer<'a>, Segment<'a>)>,
}

impl Pointer<'static> {
    /// The whole document.
    pub const ROOT: Pointer<'static> = Pointer { link: None };
}

impl Pointer<'_> {
    /// The place one step further down.
    pub fn child<'b>(&'b self, segment: Segment<'b>) -> Pointer<'b> {
        Pointer { link: Some((self, segment)) }
    }
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((up, segment)) = self.link else { return Ok(()) };
        up.fmt(f)?;
        match segment {
            Segment::Name(name) => write!(f, "/{}", escape(name)),
            Segment::Index(index) => write!(f, "/{index}"),
        }
    }
}

/// A member's name as RFC 6901 writes it in a pointer.
pub fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Line and column, both from 1; the column counts bytes.
pub type Position = (usize, usize);

/// Where the value at `pointer` begins, if there is one.
pub fn position(bytes: &[u8], pointer: &str) -> Option<Position> {
    positions(bytes, &[pointer]).pop().flatten()
}

/// Where the values at `pointers` begin, in one pass over the bytes. What is not found (or lies behind a syntax error) is `None`.
pub fn positions(bytes: &[u8], pointers: &[&str]) -> Vec<Option<Position>> {
    let offsets = offsets(bytes, pointers);
    let mut order: Vec<usize> = (0..pointers.len()).filter(|&i| offsets[i].is_some()).collect();
    order.sort_by_key(|&i| offsets[i]);
    let mut found = vec![None; pointers.len()];
    let (mut at, mut line, mut line_start) = (0, 1, 0);
    for index in order {
        let offset = offsets[index].unwrap_or_default();
        for (distance, byte) in bytes[at..offset].iter().enumerate() {
            if *byte == b'\n' {
                line += 1;
                line_start = at + distance + 1;
            }
        }
        at = offset;
        found[index] = Some((line, offset - line_start + 1));
    }
    found
}

/// The byte offsets at which the values at `pointers` begin.
pub fn offsets(bytes: &[u8], pointers: &[&str]) -> Vec<Option<usize>> {
    let mut wanted: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, pointer) in pointers.iter().enumerate() {
        wanted.entry(pointer).or_default().push(index);
    }
    let mut scanner = Scanner { bytes, at: 0, path: String::new(), wanted, found: vec![None; pointers.len()] };
    // A scan that stops at a syntax error has found what comes before it.
    let _ = scanner.value(0);
    scanner.found
}

/// Walks the text of a document. The parser has the last word on syntax; this only needs to agree with it on valid JSON.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    path: String,
    wanted: HashMap<&'a str, Vec<usize>>,
    found: Vec<Option<usize>>,
}

impl Scanner<'_> {
    fn value(&mut self, depth: usize) -> Option<()> {
        self.space();
        if let Some(indices) = self.wanted.get(self.path.as_str()) {
            for &index in indices {
                self.found[index].get_or_insert(self.at);
            }
        }
        match self.bytes.get(self.at)? {
            // As deep as the parser goes, and not deeper: this recurses too.
            b'{' | b'[' if depth > super::json::MAX_DEPTH => None,
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.text().map(drop),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        loop {
            self.space();
            match self.bytes.get(self.at)? {
                b'}' => break,
                b',' => self.at += 1,
                b'"' => {
                    let raw = self.text()?;
                    let name: String = serde_json::from_slice(raw).ok()?;
                    self.space();
                    self.expect(b':')?;
                    let length = self.path.len();
                    self.path.push('/');
                    self.path.push_str(&escape(&name));
                    self.value(depth + 1)?;
                    self.path.truncate(length);
                }
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        let mut index = 0usize;
        loop {
            self.space();
            match self.bytes.get(self.at)? {
                b']' => break,
                b',' => {
                    self.at += 1;
                    index += 1;
                }
                _ => {
                    let length = self.path.len();
                    self.path.push('/');
                    self.path.push_str(&index.to_string());
                    self.value(depth + 1)?;
                    self.path.truncate(length);
                }
            }
        }
        self.at += 1;
        Some(())
    }

    /// A string with its quotes.
    fn text(&mut self) -> Option<&[u8]> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.bytes[start..self.at])
    }

    /// A number or a word. Always moves on, so that a scan of garbage ends.
    fn scalar(&mut self) -> Option<()> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take_while(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)).count();
        self.at += length;
        (length > 0).then_some(())
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (*self.bytes.get(self.at)? == byte).then(|| self.at += 1)
    }

    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_escaped() {
        let top = Pointer::ROOT.child(Segment::Name("a/b~c"));
        assert_eq!(top.child(Segment::Index(7)).to_string(), "/a~1b~0c/7");
        assert_eq!(Pointer::ROOT.to_string(), "");
    }

    #[test]
    fn positions_of_everything() {
        let text = "{\n  \"a\": [1, \"x\\\"]\",\n    {\"b/c\": true}],\n  \"d\\u0065\": null\n}";
        let at = |pointer: &str| position(text.as_bytes(), pointer);
        assert_eq!(at(""), Some((1, 1)));
        assert_eq!(at("/a"), Some((2, 8)));
        assert_eq!(at("/a/0"), Some((2, 9)));
        assert_eq!(at("/a/1"), Some((2, 12)));
        assert_eq!(at("/a/2/b~1c"), Some((3, 13)));
        assert_eq!(at("/de"), Some((4, 14)));
        assert_eq!(at("/a/3"), None);
    }

    #[test]
    fn garbage_and_depth_do_not_hurt() {
        for text in ["", "{", "[,,", "{\"a\"", "{\"a\":", "\"\\", "}", "[1}", "{\"\\x\": 1}", "[]]"] {
            assert_eq!(position(text.as_bytes(), "/zzz"), None);
        }
        assert_eq!(position("[".repeat(1_000_000).as_bytes(), "/zzz"), None);
    }
}
