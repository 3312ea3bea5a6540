//! What is said about a config while it is read: errors and warnings, and which of the two `--strict` makes of a finding.

use super::json::MAX_COMPLAINTS;
use crate::error::{ConfigError, Rule};

/// Collects what is wrong and what is odd. A config with errors is refused; one with warnings is not.
#[derive(Debug, Default)]
pub struct Remarks {
    /// Whether the letter of the specification counts more than what callers rely on.
    pub strict: bool,
    /// What the config is refused for.
    pub errors: Vec<ConfigError>,
    /// What is repaired or ignored.
    pub warnings: Vec<ConfigError>,
    left_out: usize,
}

impl Remarks {
    /// Nothing said yet.
    pub fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    /// The config must not run like this: the value can't be meant.
    pub fn error(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        self.fault(Rule::InvalidValue, pointer, message);
    }

    /// The config must not run like this, and what kind of fault it is.
    pub fn fault(&mut self, rule: Rule, pointer: impl Into<String>, message: impl Into<String>) {
        if self.errors.len() < MAX_COMPLAINTS {
            self.errors.push(ConfigError::at(pointer, message).of(rule));
        } else {
            self.left_out += 1;
        }
    }

    /// The config can run, but not quite as written.
    pub fn warn(&mut self, rule: Rule, pointer: impl Into<String>, message: impl Into<String>) {
        if self.warnings.len() < MAX_COMPLAINTS {
            self.warnings.push(ConfigError::at(pointer, message).of(rule));
        }
    }

    /// An error when strict; otherwise a warning that says what is done about it: `left out`.
    pub fn strictly(&mut self, rule: Rule, pointer: impl Into<String>, message: &str, otherwise: &str) {
        if self.strict {
            self.fault(rule, pointer, message);
        } else {
            self.warn(rule, pointer, format!("{message}; {otherwise}"));
        }
    }

    /// How many errors were left out because there were too many.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}
