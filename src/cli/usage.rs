//! A command line that can't be obeyed, in the words that callers look for. Never prints.

use std::error::Error;
use std::ffi::OsStr;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::Global;
use super::flags::BadFlag;

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The global flags, as soon as they were understood: the error goes to the log that they name.
    pub global: Option<Box<Global>>,
    /// What is wrong, in one line.
    pub message: String,
    /// How it would be right: for people, on stderr only.
    pub hint: String,
    /// The exit code: runc's, which is 1, 255 for a value that `exec` can't use, and 3 for a verb that isn't there.
    pub code: u8,
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Usage {}

impl Usage {
    fn new(global: Option<Global>, command: &Command, message: String) -> Box<Self> {
        let name = command.get_bin_name().unwrap_or("rt");
        let usage = command.clone().no_binary_name(false).render_usage().to_string();
        let hint = format!("{}; see {name} --help", usage.replacen("Usage: ", "usage: ", 1).trim());
        Box::new(Self { global: global.map(Box::new), message, hint, code: 1 })
    }

    pub(super) fn of_flag(global: Option<Global>, command: &Command, bad: &BadFlag) -> Box<Self> {
        Self::new(global, command, bad.to_string())
    }

    pub(super) fn unknown_verb(global: Global, verb: &OsStr) -> Box<Self> {
        Box::new(Self {
            global: Some(Box::new(global)),
            message: format!("no such command: {:?}", verb.to_string_lossy()),
            hint: "rt --help lists the commands".to_owned(),
            code: 3,
        })
    }

    pub(super) fn of_clap(global: Option<Global>, command: &Command, error: &clap::Error) -> Box<Self> {
        let message = match error.kind() {
            ErrorKind::MissingRequiredArgument | ErrorKind::UnknownArgument | ErrorKind::TooManyValues => {
                arity(command, error.kind() == ErrorKind::MissingRequiredArgument)
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => bad_value(error),
            ErrorKind::InvalidUtf8 => "an argument is not UTF-8".to_owned(),
            ErrorKind::ArgumentConflict => conflict(error),
            _ => first_line(error),
        };
        let mut usage = Self::new(global, command, message);
        let misread = matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation);
        if misread && command.get_name() == "exec" {
            // To runc the value of a flag is part of what failed, not of the command line.
            usage.code = 255;
        }
        usage
    }
}

/// How many operands the verb takes, in runc's words.
fn arity(command: &Command, too_few: bool) -> String {
    // What follows `--` is counted by the verb itself.
    let operands = || command.get_positionals().filter(|arg| !arg.is_last_set());
    let least = operands().filter(|arg| arg.is_required_set()).count();
    let most = operands().count();
    let name = command.get_name();
    match (least == most, too_few) {
        (true, _) => format!("{name:?} requires exactly {least} argument(s)"),
        (false, true) => format!("{name:?} requires a minimum of {least} argument(s)"),
        (false, false) => format!("{name:?} requires a maximum of {most} argument(s)"),
    }
}

fn bad_value(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let (argument, value) = (context(ContextKind::InvalidArg), context(ContextKind::InvalidValue));
    let why = match error.source() {
        Some(source) => source.to_string(),
        None => format!("expected one of {}", context(ContextKind::ValidValue)),
    };
    match argument.split_whitespace().next().filter(|name| name.starts_with('-')) {
        Some(flag) => {
            let flag = flag.split('=').next().unwrap_or(flag);
            format!("invalid value {value:?} for flag {flag}: {why}")
        }
        // An operand: its own words say all (`invalid container ID format: …`).
        None => why,
    }
}

fn conflict(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    format!("{} cannot be used with {}", context(ContextKind::InvalidArg), context(ContextKind::PriorArg))
}

fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
