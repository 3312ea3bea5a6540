//! What can be wrong with a config, said so that a stranger can mend it.

mod rule;

use std::fmt;

pub use rule::Rule;

/// One complaint about config.json: where, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// RFC 6901 pointer: `/linux/resources/memory/limit`; empty for the whole document.
    pub pointer: String,
    /// What was expected and what was found: `expected an integer, got "lots"`.
    pub message: String,
    /// What kind of complaint it is.
    pub rule: Rule,
}

impl ConfigError {
    /// A complaint about the field at `pointer`.
    pub fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into(), rule: Rule::InvalidValue }
    }

    /// The same complaint, of a kind that is known better.
    #[must_use]
    pub fn of(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointer = if self.pointer.is_empty() { "/" } else { &self.pointer };
        write!(f, "{pointer}: {}", self.message)
    }
}

/// All complaints about one config, in document order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints(pub Vec<ConfigError>);

impl std::error::Error for Complaints {}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "invalid config.json: {}", lines.join("; "))
    }
}
