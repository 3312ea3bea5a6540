//! Damaged input for everything in rt that reads, and what must hold of what was accepted. `main.rs` decides by a seed what is
//! tried; under `cargo fuzz` (libfuzzer/) the fuzzer's own bytes decide.

pub mod random;
pub mod targets;

use std::sync::OnceLock;

use random::Random;
use targets::{ALL, Corpus};

/// One execution of a target whose choices are these bytes.
///
/// # Panics
/// When something that must hold doesn't: that is how libFuzzer hears of it.
pub fn once(name: &str, choices: &[u8]) {
    static CORPUS: OnceLock<Corpus> = OnceLock::new();
    let target = ALL.iter().find(|(known, _)| *known == name).expect("a target's name").1;
    if let Err(why) = target(&mut Random::of(choices), CORPUS.get_or_init(Corpus::read)) {
        panic!("{name}: {why}");
    }
}
