//! The command line as data: runc's verbs, flags and spellings, and the few of our own. Never any work: what a verb does
//! is in `commands`, and nothing here opens, prints or exits.
//!
//! Reading it takes three small passes. [`flags`] turns Go's spellings into the one that clap reads; clap fills the
//! structs of [`global`] and [`verbs`]; [`usage`] puts what went wrong into the words that callers look for. Only the verb
//! that was asked for is built: a container start shouldn't pay for the help text of the others.
//!
//! A new verb is a struct in [`verbs`] and a line in its table.

mod duration;
mod flags;
mod global;
mod id;
mod size;
mod usage;
mod user;
mod verbs;

use std::ffi::OsString;

use clap::{Arg, ArgAction, Args, Command, FromArgMatches};

pub use global::{CgroupManager, Global, Rootless};
pub use id::{ContainerId, InvalidId};
pub use usage::Usage;
pub use user::User;
pub use verbs::{
    Check, Checkpoint, Create, CreateFlags, CriuFlags, Delete, Doctor, Events, Exec, Explain, Features, Kill, List,
    ListFormat, ManageCgroups, Pause, PlanFlags, Ps, Restore, Resume, Run, Server, Spec, Start, State, Timings, Update,
    Verb, Wait, Workload,
};

/// What the command line asks for.
#[allow(clippy::large_enum_variant)] // there is one of it, for a moment
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Do this.
    Act(Box<Global>, Verb),
    /// Print this text on stdout; nothing else is wanted.
    Help(String),
    /// Print the version.
    Version,
}

/// Reads a command line, program name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Box<Usage>> {
    let args: Vec<OsString> = args.into_iter().skip(1).collect();
    let rt = Global::augment_args(settings(Command::new("rt")));
    let head =
        flags::canonical(&rt, &args, flags::Until::FirstPositional).map_err(|e| Usage::of_flag(None, &rt, &e))?;
    if head.help {
        return Ok(Request::Help(help(&[])));
    }
    let global = read::<Global>(None, rt, head.tokens)?;
    if global.version {
        return Ok(Request::Version);
    }
    let Some((verb, rest)) = head.rest.split_first() else {
        return Ok(Request::Help(help(&[])));
    };
    if verb == "help" {
        return Ok(Request::Help(help(rest)));
    }
    let Some(row) = verbs::find(verb) else {
        return Err(Usage::unknown_verb(global, verb));
    };
    let command = row.command();
    let until = flags::Until::of(&command);
    let tail =
        flags::canonical(&command, rest, until).map_err(|e| Usage::of_flag(Some(global.clone()), &command, &e))?;
    if tail.help {
        return Ok(Request::Help(help(std::slice::from_ref(verb))));
    }
    let verb = row.read(&global, command, tail.all())?;
    Ok(Request::Act(Box::new(global), verb))
}

/// The whole tree of commands: for the help text, manual pages and completions, and for clap's own self-check.
pub fn whole() -> Command {
    let rt = Global::augment_args(settings(Command::new("rt")))
        .about("Runs containers as the Open Container Initiative describes them")
        .arg_required_else_help(true)
        .subcommand_help_heading("Commands")
        .subcommand_value_name("COMMAND")
        .after_help("`rt COMMAND --help` says more about a command. Flags may be spelt --flag or -flag, --flag=value or --flag value.");
    rt.subcommands(verbs::ROWS.iter().map(verbs::Row::command))
}

/// The help text of `rt` or of the verb named first in `words`.
fn help(words: &[OsString]) -> String {
    let mut whole = whole();
    whole.build();
    let verb = words.first().and_then(|word| word.to_str()).and_then(|word| whole.find_subcommand_mut(word));
    match verb {
        Some(verb) => verb.render_help().to_string(),
        None => whole.render_help().to_string(),
    }
}

/// What holds for `rt` and for every verb.
fn settings(command: Command) -> Command {
    // Help is found by the pre-pass; the flag is here to be shown.
    let help = Arg::new("help").short('h').long("help").action(ArgAction::HelpShort).help("Print this text");
    // Callers repeat flags (podman gives --leave-running twice): the last one counts, as in Go.
    command
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .disable_help_flag(true)
        .arg(help.display_order(usize::MAX))
        .args_override_self(true)
}

/// Lets clap fill `T` from canonical tokens.
fn read<T: FromArgMatches>(global: Option<&Global>, command: Command, tokens: Vec<OsString>) -> Result<T, Box<Usage>> {
    let mut command = command.no_binary_name(true);
    let matches =
        command.try_get_matches_from_mut(tokens).map_err(|e| Usage::of_clap(global.cloned(), &command, &e))?;
    T::from_arg_matches(&matches).map_err(|e| Usage::of_clap(global.cloned(), &command, &e))
}

#[cfg(test)]
mod tests;
