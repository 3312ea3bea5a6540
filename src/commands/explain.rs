//! `rt explain`: the plan that `create` would execute.

use std::io::Write;

use anyhow::Result;

use super::{bundle, say};
use crate::cli::{Explain, Global};
use crate::log::Log;
use crate::plan;

/// Prints the plan of a bundle.
pub fn explain(global: &Global, args: &Explain, log: &Log) -> Result<()> {
    let directory = bundle::absolute(&args.bundle)?;
    let raw = bundle::read(&directory, &args.plan)?;
    let options = bundle::options(global, &args.plan, "ID", &directory);
    let planned = bundle::plan(raw, &bundle::facts(global, args.facts.as_deref())?, &options, log)?;
    let text = if args.json { format!("{:#}\n", plan::json(&planned.plan)) } else { plan::text(&planned.plan) };
    Ok(say(&text)?)
}

/// For what is said beside the container's own output.
pub fn to_stderr(text: &str) {
    // Nobody reads it any more: nothing to be done about that.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
