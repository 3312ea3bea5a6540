//! `rt-fuzz SEED EXECUTIONS [TARGET...]`: gives damaged input to everything in rt that reads, and asks more than that it
//! doesn't panic: what was accepted keeps its promises. The corpus is what the tests have: tests/plans, tests/data, and
//! the texts here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use rt_fuzz::random::Random;
use rt_fuzz::targets::{self, Corpus, Target};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(seed), Some(executions)) = (number(0), number(1)) else {
        eprintln!("usage: rt-fuzz SEED EXECUTIONS [TARGET...]");
        return ExitCode::from(2);
    };
    // A panic is told once, with what brings it back.
    std::panic::set_hook(Box::new(|_| {}));
    let corpus = Corpus::read();
    let (mut passed, mut failed) = (0, 0);
    for (name, _) in targets::ALL {
        if !include_str!("../libfuzzer/Cargo.toml").contains(&format!("name = \"{name}\"")) {
            failed += 1;
            println!("FAILED {name}: libfuzzer/Cargo.toml has no such target");
        }
    }
    for (name, target) in
        targets::ALL.iter().filter(|(name, _)| words.len() < 3 || words[2..].iter().any(|w| w == name))
    {
        let begun = Instant::now();
        let broken = first_broken(*target, &corpus, seed, executions);
        match broken {
            None => {
                passed += 1;
                println!("{name}: {executions} executions, {} ms", begun.elapsed().as_millis());
            }
            Some(why) => {
                failed += 1;
                println!("FAILED {name}: {why}");
            }
        }
    }
    println!("{passed} passed, {failed} failed, 0 skipped");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Executes on all processors, each its share; what breaks first in the series is told.
fn first_broken(target: Target, corpus: &Corpus, seed: u64, executions: u64) -> Option<String> {
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let broken = std::thread::scope(|scope| {
        let share = |first| (first..executions).step_by(workers as usize);
        let run = move |first| share(first).find_map(|n| Some((n, execute(target, corpus, seed, n)?)));
        let running: Vec<_> = (0..workers).map(|first| scope.spawn(move || run(first))).collect();
        running.into_iter().filter_map(|worker| worker.join().expect("panics are caught in it")).min()
    });
    broken.map(|(n, why)| format!("execution {n} with seed {seed}: {why}"))
}

/// One execution, and what it broke.
fn execute(target: Target, corpus: &Corpus, seed: u64, n: u64) -> Option<String> {
    let mut random = Random::new(seed.wrapping_mul(0x1_0000_0001).wrapping_add(n));
    match catch_unwind(AssertUnwindSafe(|| target(&mut random, corpus))) {
        Ok(done) => done.err(),
        Err(panic) => Some(panic.downcast::<String>().map_or_else(|_| "panic".into(), |text| format!("panic: {text}"))),
    }
}
