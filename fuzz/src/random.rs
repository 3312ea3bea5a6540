//! Randomness that a seed decides, and the two ways to damage things: as text and as JSON.

use serde_json::{Value, json};

/// Numbers that are given, and when there are no more, splitmix64.
pub struct Random<'a> {
    state: u64,
    given: &'a [u8],
}

impl<'a> Random<'a> {
    /// All from a seed.
    pub fn new(seed: u64) -> Self {
        Random { state: seed, given: &[] }
    }

    /// First these bytes: two a number, for most numbers choose among few.
    pub fn of(given: &'a [u8]) -> Self {
        Random { state: given.len() as u64, given }
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        if let Some((word, rest)) = self.given.split_first_chunk::<2>() {
            self.given = rest;
            return u16::from_le_bytes(*word).into();
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// One of a list.
    pub fn one<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }
}

/// Pieces that readers trip over.
pub const PIECES: [&str; 36] = [
    "",
    "/",
    "..",
    ".",
    "../..",
    "//",
    "\0",
    "\n",
    " ",
    "=",
    ":",
    ",",
    "-1",
    "0",
    "1",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "0x10",
    "1e3",
    "é",
    "\u{1f980}",
    "%2e",
    "\\",
    "\"",
    "{",
    "[",
    "ro",
    "rbind",
    "idmap",
    "size=1k",
    "net.",
    "kernel.",
    "CAP_",
    "--root",
    "-",
];

/// Damages a text once or a few times.
pub fn text(random: &mut Random<'_>, from: &str) -> String {
    String::from_utf8_lossy(&bytes(random, from.as_bytes())).into_owned()
}

/// Damages bytes once or a few times.
pub fn bytes(random: &mut Random<'_>, from: &[u8]) -> Vec<u8> {
    let mut all = from.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(all.len() + 1);
        match random.below(6) {
            0 if at < all.len() => all[at] ^= 1 << random.below(8),
            1 => drop(all.splice(at..at, random.one(&PIECES).bytes())),
            2 => all.truncate(at),
            3 if at < all.len() => {
                let end = (at + 1 + random.below(8)).min(all.len());
                all.drain(at..end);
            }
            4 if at < all.len() && all.len() < 1 << 16 => {
                let end = (at + 1 + random.below(64)).min(all.len());
                let part = all[at..end].to_vec();
                all.splice(at..at, part);
            }
            _ => all.insert(at, random.next() as u8),
        }
    }
    all
}

/// Damages a document in one or a few places: values vanish, change, double, or are another place's.
pub fn document(random: &mut Random<'_>, from: &Value) -> Value {
    let mut all = from.clone();
    for _ in 0..=random.below(3) {
        let stranger = pick(random, from).clone();
        damage(random, &mut all, &stranger);
    }
    all
}

fn pick<'a>(random: &mut Random<'_>, mut here: &'a Value) -> &'a Value {
    loop {
        let below: Vec<&Value> = match here {
            Value::Object(map) => map.values().collect(),
            Value::Array(list) => list.iter().collect(),
            _ => return here,
        };
        if below.is_empty() || random.below(4) == 0 {
            return here;
        }
        here = below[random.below(below.len())];
    }
}

fn damage(random: &mut Random<'_>, here: &mut Value, stranger: &Value) {
    let deeper = random.below(6) != 0;
    match here {
        Value::Object(map) if deeper && !map.is_empty() => {
            let key = map.keys().nth(random.below(map.len())).cloned().unwrap_or_default();
            match random.below(12) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(text(random, &key), stranger.clone())),
                _ => damage(random, map.entry(key).or_insert(Value::Null), stranger),
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = random.below(list.len());
            match random.below(12) {
                0 => drop(list.remove(at)),
                1 => list.insert(at, stranger.clone()),
                2 => list.push(list[at].clone()),
                _ => damage(random, &mut list[at], stranger),
            }
        }
        Value::String(old) if random.below(3) != 0 => *old = text(random, old),
        other => *other = replacement(random, stranger),
    }
}

fn replacement(random: &mut Random<'_>, stranger: &Value) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(*random.one(&[0i64, -1, 1, i64::MAX, i64::MIN, 1 << 32, (1 << 32) - 1])),
        3 => json!(u64::MAX - random.next() % 3),
        4 => json!(random.one(&PIECES)),
        5 => json!([]),
        6 => json!({}),
        7 => json!(1.5),
        _ => stranger.clone(),
    }
}
