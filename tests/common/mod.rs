//! What every root integration test stands on: bundles ([`Bundle`]), the runtime under test ([`Runtime`] and its
//! [`Output`]), and the oracles that say whether anything was left behind ([`Machine`]) or touched ([`Canary`]).
//!
//! | variable | meaning |
//! |---|---|
//! | `RT_BIN` | the runtime under test, if not the `rt` that cargo has just built |
//! | `RT_PROBE` | the probe program, if not the one beside that `rt` |
//! | `RT_TEST_TIMEOUT_FACTOR` | multiplies every time-out: a software-emulated machine is 5 to 15 times slower |
//!
//! A test never asserts how long something took; a time-out only ends what hangs. Tests run side by side: whatever a
//! test makes carries its own unique id, and the oracles look for that id only.
#![allow(dead_code, unused_imports)] // every test file uses another part
#![allow(unsafe_code, clippy::disallowed_methods)]

pub mod agent;
pub mod bundle;
pub mod caller;
pub mod canary;
pub mod cgroups;
pub mod children;
pub mod config;
pub mod kernel;
pub mod machine;
pub mod runtime;
pub mod saved;
pub mod terminal;

use std::time::{Duration, Instant};

pub use bundle::Bundle;
pub use canary::Canary;
pub use machine::Machine;
pub use runtime::{Output, Running, Runtime};
pub use serde_json::{Value, json};

/// Ends a test that makes no sense on this machine, and says why where CI counts it. libtest has no such thing, so the
/// line goes past its capture, straight to stderr.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::common::skipped(&format!($($reason)*));
        return;
    }};
}

/// The line of [`skip!`].
pub fn skipped(reason: &str) {
    use std::io::Write;
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("main"));
    std::io::stderr().write_all(line.as_bytes()).expect("stderr is open");
}

/// The longest that anything may take.
pub fn patience() -> Duration {
    let factor = std::env::var("RT_TEST_TIMEOUT_FACTOR").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    Duration::from_secs(20).mul_f64(factor)
}

/// Asks again and again until there is an answer, at most for `limit`.
pub fn wait_until<T>(limit: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        // An init can't go before those in its pid namespace that are left to us have been waited for.
        children::reap();
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// The inode of a namespace of a process: `namespace_of(1, "net")`.
pub fn namespace_of(pid: i64, kind: &str) -> u64 {
    let link = std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).expect("the process has namespaces");
    let text = link.to_string_lossy().into_owned();
    let number = text.trim_end_matches(']').rsplit('[').next().and_then(|n| n.parse().ok());
    number.unwrap_or_else(|| panic!("not a namespace: {text}"))
}

/// The inode of a namespace of the test itself.
pub fn own_namespace(kind: &str) -> u64 {
    namespace_of(i64::from(std::process::id()), kind)
}

/// A JSON array of texts as a list.
pub fn texts(value: &Value) -> Vec<String> {
    let list = value.as_array().unwrap_or_else(|| panic!("not a list: {value}"));
    list.iter().map(|entry| entry.as_str().map_or_else(|| entry.to_string(), str::to_owned)).collect()
}
