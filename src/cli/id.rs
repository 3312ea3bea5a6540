//! What may be a container's name. It becomes the name of a directory and of a cgroup, so the letters are few.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// The longest id: one directory entry.
const LONGEST: usize = 255;

/// A container id that is safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

/// Why a text is no container id. The first words are those that callers know from runc.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidId {
    /// No text at all.
    Empty,
    /// A text with something that an id must not have.
    Format {
        /// The text.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidId::Empty => f.write_str("container id cannot be empty"),
            InvalidId::Format { id, why } => write!(f, "invalid container ID format: {id:?}: {why}"),
        }
    }
}

impl std::error::Error for InvalidId {}

impl FromStr for ContainerId {
    type Err = InvalidId;

    fn from_str(id: &str) -> Result<Self, InvalidId> {
        let wrong = |why| Err(InvalidId::Format { id: id.to_owned(), why });
        let ours = |b: u8| b.is_ascii_alphanumeric() || b"_+.-".contains(&b);
        match id.as_bytes() {
            [] => Err(InvalidId::Empty),
            bytes if !bytes.iter().copied().all(ours) => wrong("only letters, digits and _ + . - are allowed"),
            // Hidden names are ours (temporary files, locks), and "." and ".." are the directory tree's.
            [b'.', ..] => wrong("must not start with a dot"),
            // It would be read as a flag by whatever the id is handed to.
            [b'-', ..] => wrong("must not start with a dash"),
            bytes if bytes.len() > LONGEST => wrong("longer than 255 bytes"),
            _ => Ok(Self(id.to_owned())),
        }
    }
}

impl ContainerId {
    /// An id for a container that was given none: the time and our pid, so that two at once differ.
    pub fn unique(now: SystemTime, pid: u32) -> Self {
        let micros = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros();
        Self(format!("rt-{micros:x}-{pid:x}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::ops::Deref for ContainerId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<std::path::Path> for ContainerId {
    fn as_ref(&self) -> &std::path::Path {
        self.0.as_ref()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_callers_use() {
        for id in ["a", "4f2e", "buildah-buildah1", "x_y+z.1-2", &"f".repeat(64), &"f".repeat(255)] {
            assert_eq!(id.parse::<ContainerId>().map(|id| id.to_string()), Ok(id.to_owned()));
        }
    }

    #[test]
    fn ids_that_could_lead_elsewhere() {
        for id in [".", "..", ".hidden", "a/b", "../x", "-f", "a b", "a\n", "é", "a\0b", &"f".repeat(256)] {
            let error = id.parse::<ContainerId>().unwrap_err().to_string();
            assert!(error.starts_with("invalid container ID format"), "{id:?}: {error}");
        }
        assert_eq!("".parse::<ContainerId>().unwrap_err().to_string(), "container id cannot be empty");
    }

    #[test]
    fn a_made_id_is_an_id() {
        let made = ContainerId::unique(SystemTime::UNIX_EPOCH + Duration::from_micros(0xabc), 0x10);
        assert_eq!(made.as_str(), "rt-abc-10");
        assert_eq!(made.parse::<ContainerId>(), Ok(made));
    }
}
