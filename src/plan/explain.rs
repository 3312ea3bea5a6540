//! The plan in words, one line a step: the stage, what is done, who asked for it.

use std::fmt::{Display, Write};

use serde_json::json;

use super::Plan;
use crate::step::{Origin, Stage, Step};

/// For people.
pub fn text(plan: &Plan) -> String {
    let mut out = String::new();
    section(&mut out, Stage::Prepare, &plan.prepare);
    let _ = writeln!(out, "{}:\n  {}", Stage::Birth.name(), plan.birth);
    section(&mut out, Stage::Adopt, &plan.adopt);
    section(&mut out, Stage::Build, &plan.build);
    section(&mut out, Stage::Hooks, &plan.hooks);
    section(&mut out, Stage::Enter, &plan.enter);
    section(&mut out, Stage::Become, &plan.become_);
    section(&mut out, Stage::Start, &plan.start);
    let _ = writeln!(out, "{}:\n  {}", Stage::Exec.name(), plan.exec);
    let _ = plan.restore.iter().try_for_each(|restore| writeln!(out, "  {restore}"));
    out
}

/// What runs where, for the headings.
fn side(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare | Stage::Adopt | Stage::Hooks => "host",
        _ => "init",
    }
}

fn section<Op: Display>(out: &mut String, stage: Stage, steps: &[Step<Op>]) {
    if steps.is_empty() {
        return;
    }
    let _ = writeln!(out, "{} ({}):", stage.name(), side(stage));
    for step in steps {
        let tolerated: Vec<String> = step.tolerate.iter().map(|e| format!("{e:?}")).collect();
        let or = if tolerated.is_empty() { String::new() } else { format!(", or go on after {}", tolerated.join(" ")) };
        let _ = match &step.origin {
            Origin::Config(pointer) => writeln!(out, "  {}{or}    <- {pointer}", step.op),
            Origin::Default(why) => writeln!(out, "  {}{or}    <- {why}", step.op),
        };
    }
}

/// For programs: the same steps, typed, with the words beside them.
pub fn json(plan: &Plan) -> serde_json::Value {
    let mut value = json!(plan);
    let words = |steps: &mut serde_json::Value, lines: Vec<String>| {
        for (step, line) in steps.as_array_mut().into_iter().flatten().zip(lines) {
            step["text"] = line.into();
        }
    };
    fn lines<Op: Display>(steps: &[Step<Op>]) -> Vec<String> {
        steps.iter().map(|s| s.op.to_string()).collect()
    }
    for (key, lines) in [
        ("prepare", lines(&plan.prepare)),
        ("adopt", lines(&plan.adopt)),
        ("build", lines(&plan.build)),
        ("hooks", lines(&plan.hooks)),
        ("enter", lines(&plan.enter)),
        ("become", lines(&plan.become_)),
        ("start", lines(&plan.start)),
    ] {
        words(&mut value[key], lines);
    }
    value
}
