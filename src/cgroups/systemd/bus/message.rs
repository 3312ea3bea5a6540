//! One D-Bus message: a header with fields, a body of values. Pure.
//!
//! [`parse`] takes whatever a socket gave. It never panics, never reads past the end, and never believes a length that is
//! larger than [`LARGEST`].

use super::value::Value;
use super::wire::{Reader, Writer};

/// The largest message that is read. What systemd has to tell us takes some hundred bytes.
pub const LARGEST: usize = 1 << 20;

/// What kind of message it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A call.
    #[default]
    Call,
    /// The answer to one.
    Answer,
    /// An answer that says why not.
    Error,
    /// A signal, or something newer.
    Signal,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What kind it is.
    pub kind: Kind,
    /// Its number.
    pub serial: u32,
    /// The number of the call that it answers.
    pub answers: Option<u32>,
    /// The object.
    pub path: String,
    /// The interface.
    pub interface: String,
    /// The method, or the signal.
    pub member: String,
    /// The name of an error.
    pub error: String,
    /// To whom.
    pub destination: String,
    /// From whom, as the bus says.
    pub sender: String,
    /// The values.
    pub body: Vec<Value>,
}

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a message.
    More,
    /// A message, and how many bytes it took.
    Whole(Box<Message>, usize),
    /// No message.
    Nonsense(&'static str),
}

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SENDER: u8 = 7;
const SIGNATURE: u8 = 8;

/// Little-endian, version 1.
const ENDIAN: u8 = b'l';
const VERSION: u8 = 1;

impl Message {
    /// The bytes for the socket.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Writer::default();
        self.body.iter().for_each(|value| body.value(value));
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Answer => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let mut all = Writer { bytes: vec![ENDIAN, kind, 0, VERSION] };
        all.u32(body.bytes.len() as u32);
        all.u32(self.serial);
        let field = |code: u8, value: Value| Value::Struct(vec![Value::Byte(code), Value::Variant(Box::new(value))]);
        let text = |text: &String| (!text.is_empty()).then(|| Value::Text(text.clone()));
        let signature: String = self.body.iter().map(Value::signature).collect();
        let fields: Vec<Value> = [
            (PATH, (!self.path.is_empty()).then(|| Value::Path(self.path.clone()))),
            (INTERFACE, text(&self.interface)),
            (MEMBER, text(&self.member)),
            (ERROR, text(&self.error)),
            (REPLY_SERIAL, self.answers.map(Value::U32)),
            (DESTINATION, text(&self.destination)),
            (SENDER, text(&self.sender)),
            (SIGNATURE, (!signature.is_empty()).then_some(Value::Signature(signature))),
        ]
        .into_iter()
        .filter_map(|(code, value)| Some(field(code, value?)))
        .collect();
        all.value(&Value::Array("(yv)".into(), fields));
        all.align(8);
        all.bytes.extend(body.bytes);
        all.bytes
    }
}

/// Looks whether the bytes begin with a whole message.
pub fn parse(bytes: &[u8]) -> Parsed {
    let Some(first) = bytes.get(..16) else { return Parsed::More };
    let big = match first[0] {
        ENDIAN => false,
        b'B' => true,
        _ => return Parsed::Nonsense("no byte order"),
    };
    if first[3] != VERSION {
        return Parsed::Nonsense("another version of the protocol");
    }
    let mut lengths = Reader::new(first, big);
    let numbers = (|| {
        lengths.align(4)?;
        for _ in 0..4 {
            lengths.byte()?;
        }
        Some((lengths.u32()? as usize, lengths.u32()?, lengths.u32()? as usize))
    })();
    let Some((body, serial, fields)) = numbers else { return Parsed::Nonsense("no header") };
    if body > LARGEST || fields > LARGEST || body + fields > LARGEST {
        return Parsed::Nonsense("larger than anything that systemd has to say");
    }
    let begin = (16 + fields).next_multiple_of(8);
    let Some(whole) = bytes.get(..begin + body) else { return Parsed::More };
    let message = Message { serial, ..Message::default() };
    match fill(message, whole, begin, big) {
        Some(message) => Parsed::Whole(Box::new(message), begin + body),
        None => Parsed::Nonsense("malformed"),
    }
}

fn fill(mut message: Message, bytes: &[u8], body_at: usize, big: bool) -> Option<Message> {
    message.kind = match bytes[1] {
        0 => return None,
        1 => Kind::Call,
        2 => Kind::Answer,
        3 => Kind::Error,
        _ => Kind::Signal,
    };
    // The fields are an array whose length stands at 12; its items are aligned as from the message's beginning.
    let mut reader = Reader::new(&bytes[..body_at], big);
    for _ in 0..12 {
        reader.byte()?;
    }
    let mut signature = String::new();
    let Value::Array(_, fields) = reader.values("a(yv)")?.pop()? else { return None };
    for field in fields {
        let Value::Struct(parts) = field else { return None };
        let [Value::Byte(code), Value::Variant(value)] = <[Value; 2]>::try_from(parts).ok()? else { return None };
        match (code, *value) {
            (PATH, Value::Path(path)) => message.path = path,
            (INTERFACE, Value::Text(text)) => message.interface = text,
            (MEMBER, Value::Text(text)) => message.member = text,
            (ERROR, Value::Text(text)) => message.error = text,
            (REPLY_SERIAL, Value::U32(serial)) => message.answers = Some(serial),
            (DESTINATION, Value::Text(text)) => message.destination = text,
            (SENDER, Value::Text(text)) => message.sender = text,
            (SIGNATURE, Value::Signature(text)) => signature = text,
            (PATH..=SIGNATURE, _) => return None,
            // Fields that are newer than this are to be ignored.
            _ => {}
        }
    }
    let mut reader = Reader::new(&bytes[body_at..], big);
    message.body = reader.values(&signature)?;
    (reader.at() == bytes.len() - body_at).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Message {
        Message {
            serial: 5,
            path: "/org/freedesktop/systemd1".into(),
            interface: "org.freedesktop.systemd1.Manager".into(),
            member: "StopUnit".into(),
            destination: "org.freedesktop.systemd1".into(),
            body: vec![Value::Text("a.scope".into()), Value::Text("replace".into()), Value::texts(["x"])],
            ..Message::default()
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let answer =
            Message { kind: Kind::Answer, serial: 9, answers: Some(5), sender: ":1.2".into(), ..Message::default() };
        for message in [call(), answer] {
            let bytes = message.bytes();
            assert_eq!(parse(&bytes), Parsed::Whole(Box::new(message.clone()), bytes.len()));
            // With the next one behind it.
            let two = [bytes.clone(), bytes.clone()].concat();
            assert_eq!(parse(&two), Parsed::Whole(Box::new(message), bytes.len()));
        }
    }

    #[test]
    fn a_part_of_a_message_asks_for_more() {
        let bytes = call().bytes();
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Parsed::More, "{length}");
        }
    }

    #[test]
    fn what_is_too_large_is_not_waited_for() {
        let mut bytes = call().bytes();
        bytes[4..8].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        assert!(matches!(parse(&bytes), Parsed::Nonsense(_)));
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(parse(&bytes), Parsed::Nonsense(_)));
    }

    /// Random changes of a real message: whatever it says, it is said and not panicked over.
    #[test]
    fn no_bytes_make_it_panic() {
        let good = call().bytes();
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let (mut whole, mut nonsense) = (0, 0);
        for _ in 0..200_000 {
            let mut bytes = good.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() as usize % bytes.len();
                bytes[at] = random() as u8;
            }
            bytes.truncate(1 + random() as usize % (bytes.len() * 2));
            match parse(&bytes) {
                Parsed::Whole(_, length) => {
                    assert!(length <= bytes.len());
                    whole += 1;
                }
                Parsed::Nonsense(_) => nonsense += 1,
                Parsed::More => {}
            }
        }
        assert!(whole > 100 && nonsense > 100, "{whole} read, {nonsense} refused");
    }
}
