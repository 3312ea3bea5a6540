//! `--timings`: how long each step took, in both processes. Nothing is measured unless it was asked for.

use std::fmt::Write;
use std::time::Instant;

use serde::Serialize;

use crate::plan::Plan;
use crate::step::Stage;

/// One measured step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stamp {
    /// The stage.
    pub stage: Stage,
    /// The step in words.
    pub step: String,
    /// Who asked for it.
    pub origin: String,
    /// How long it took.
    pub microseconds: u32,
}

/// Collects stamps, or does nothing.
pub struct Watch {
    on: bool,
    begun: Instant,
    host: Vec<(Stage, usize, u32)>,
    init: Vec<Stamp>,
}

impl Watch {
    /// A watch that measures only if `on`.
    pub fn new(on: bool) -> Self {
        Self { on, begun: Instant::now(), host: Vec::new(), init: Vec::new() }
    }

    /// Whether it measures.
    pub fn on(&self) -> bool {
        self.on
    }

    /// Runs a step of the host side and notes how long it took.
    pub fn step<T>(&mut self, stage: Stage, index: usize, act: impl FnOnce() -> T) -> T {
        if !self.on {
            return act();
        }
        let begun = Instant::now();
        let done = act();
        self.host.push((stage, index, begun.elapsed().as_micros() as u32));
        done
    }

    /// What init measured up to ready.
    pub fn init_stamps(&mut self, plan: &Plan, micros: &[u32]) {
        let stages = [(Stage::Build, &plan.build), (Stage::Enter, &plan.enter), (Stage::Become, &plan.become_)];
        let steps = stages.into_iter().flat_map(|(stage, steps)| steps.iter().map(move |s| (stage, s)));
        self.init.extend(steps.zip(micros).map(|((stage, step), &microseconds)| Stamp {
            stage,
            step: step.op.to_string(),
            origin: step.origin.to_string(),
            microseconds,
        }));
    }

    /// What init measured between the word to start and execve.
    pub fn start_stamps(&mut self, plan: &Plan, micros: &[u32]) {
        self.init.extend(plan.start.iter().zip(micros).map(|(step, &microseconds)| Stamp {
            stage: Stage::Start,
            step: step.op.to_string(),
            origin: step.origin.to_string(),
            microseconds,
        }));
    }

    /// All stamps: the host's, then init's.
    pub fn stamps(&self, plan: &Plan) -> Vec<Stamp> {
        let host = self.host.iter().map(|&(stage, index, microseconds)| {
            let steps = match stage {
                Stage::Prepare => &plan.prepare,
                Stage::Adopt => &plan.adopt,
                _ => &plan.hooks,
            };
            let (step, origin) = match steps.get(index).filter(|_| stage != Stage::Birth) {
                Some(step) => (step.op.to_string(), step.origin.to_string()),
                None => (plan.birth.to_string(), "/linux/namespaces".to_owned()),
            };
            Stamp { stage, step, origin, microseconds }
        });
        host.chain(self.init.iter().cloned()).collect()
    }

    /// Since the watch was made.
    pub fn total(&self) -> u32 {
        self.begun.elapsed().as_micros() as u32
    }

    /// For people.
    pub fn text(&self, plan: &Plan) -> String {
        let mut out = String::new();
        for stamp in self.stamps(plan) {
            let _ = writeln!(
                out,
                "{:>8} us  {:<8} {}    <- {}",
                stamp.microseconds,
                stamp.stage.name(),
                stamp.step,
                stamp.origin
            );
        }
        let _ = writeln!(out, "{:>8} us  in all", self.total());
        out
    }

    /// For programs.
    pub fn json(&self, plan: &Plan) -> String {
        serde_json::json!({ "steps": self.stamps(plan), "total_microseconds": self.total() }).to_string()
    }
}
