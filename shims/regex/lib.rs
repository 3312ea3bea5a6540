//! `oci-spec` checks one property, `execCPUAffinity`, with a regular expression; for that alone `regex` would be a fifth of
//! our binary. `regex-lite` has the same interface and knows no Unicode tables and no automata that are compiled ahead.

pub use regex_lite::{Regex, RegexBuilder};
