//! From the flag spellings of Go to the one spelling that clap is given. Knows nothing of particular flags: which exist,
//! and which take a value, is asked of the clap command, so that there is one table only.
//!
//! The callers were written against Go's `flag` package: `-flag` and `--flag` are one thing (containerd really sends
//! `-no-subreaper`), a value follows after `=` or as the next word whatever that word begins with, and a switch can be
//! turned off again with `--flag=false`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

/// How far flags are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Up to the first word that is no flag: `rt --root DIR create …`, `rt exec ID ls -l`.
    FirstPositional,
    /// Anywhere before `--`: `rt kill ID --all KILL`.
    DoubleDash,
}

impl Until {
    /// A verb that ends in a command of the user's (`exec ID ls -l`) must not read that command's flags.
    pub(super) fn of(command: &Command) -> Self {
        match command.get_positionals().any(Arg::is_trailing_var_arg_set) {
            true => Until::FirstPositional,
            false => Until::DoubleDash,
        }
    }
}

/// A command line in clap's spelling.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Canonical {
    /// Flags as `--name` and `--name=value`, and positionals among them.
    pub(super) tokens: Vec<OsString>,
    /// What follows the point where flags end; no flag is looked for in it.
    pub(super) rest: Vec<OsString>,
    /// Help was asked for: nothing after that was read.
    pub(super) help: bool,
}

impl Canonical {
    /// Everything as one command line.
    pub(super) fn all(mut self) -> Vec<OsString> {
        if !self.rest.is_empty() {
            self.tokens.push("--".into());
            self.tokens.append(&mut self.rest);
        }
        self.tokens
    }
}

/// What is wrong with a flag. Prints in the words of Go's `flag` package, which podman looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadFlag {
    Unknown(String),
    NeedsValue(String),
    NotABool { name: String, value: String },
    Syntax(String),
}

impl std::fmt::Display for BadFlag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadFlag::Unknown(name) => write!(f, "flag provided but not defined: {name}"),
            BadFlag::NeedsValue(name) => write!(f, "flag needs an argument: {name}"),
            BadFlag::NotABool { name, value } => write!(f, "invalid boolean value \"{value}\" for flag {name}"),
            BadFlag::Syntax(word) => write!(f, "bad flag syntax: {word}"),
        }
    }
}

/// How one flag of the command behaves.
enum Kind {
    Switch,
    Value,
    /// `--timings` or `--timings=json`: a value only after `=`.
    MaybeValue,
}

/// Rewrites `args` against the flags of `command`.
pub(super) fn canonical(command: &Command, args: &[OsString], until: Until) -> Result<Canonical, BadFlag> {
    let mut out = Canonical::default();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        if word == "--" {
            out.rest = words.cloned().collect();
            break;
        }
        let Some((name, value)) = split(word)? else {
            if until == Until::FirstPositional {
                out.rest = std::iter::once(word).chain(words).cloned().collect();
                break;
            }
            out.tokens.push(word.clone());
            continue;
        };
        if name == b"h" || name == b"help" {
            out.help = true;
            break;
        }
        let (long, kind) = find(command, name).ok_or_else(|| BadFlag::Unknown(show(word)))?;
        flag(&mut out.tokens, long, &kind, value, &mut words)?;
    }
    Ok(out)
}

/// Writes one flag in clap's spelling.
fn flag<'a>(
    tokens: &mut Vec<OsString>,
    long: &str,
    kind: &Kind,
    value: Option<&[u8]>,
    words: &mut impl Iterator<Item = &'a OsString>,
) -> Result<(), BadFlag> {
    let name = format!("--{long}");
    match (kind, value) {
        (Kind::Switch, None) | (Kind::MaybeValue, None) => tokens.push(name.into()),
        (Kind::Switch, Some(value)) => {
            tokens.retain(|token| *token != *name);
            if boolean(value).ok_or_else(|| BadFlag::NotABool { name: name.clone(), value: lossy(value) })? {
                tokens.push(name.into());
            }
        }
        (Kind::Value | Kind::MaybeValue, Some(value)) => set(tokens, &name, value),
        (Kind::Value, None) => {
            let value = words.next().ok_or_else(|| BadFlag::NeedsValue(name.clone()))?;
            set(tokens, &name, value.as_bytes());
        }
    }
    Ok(())
}

/// Writes `--name=value`. To Go an empty value is none: it takes back what stood before.
fn set(tokens: &mut Vec<OsString>, name: &str, value: &[u8]) {
    let start = [name.as_bytes(), b"="].concat();
    if value.is_empty() {
        tokens.retain(|token| !token.as_bytes().starts_with(&start));
    } else {
        tokens.push(OsString::from_vec([&start, value].concat()));
    }
}

/// A flag's name, and what stands after `=`.
type NameAndValue<'a> = (&'a [u8], Option<&'a [u8]>);

/// `-name`, `--name` and either with `=value`; none if the word is no flag (`-` alone is none).
fn split(word: &OsStr) -> Result<Option<NameAndValue<'_>>, BadFlag> {
    let bytes = word.as_bytes();
    let Some(rest) = bytes.strip_prefix(b"-").filter(|rest| !rest.is_empty()) else {
        return Ok(None);
    };
    let rest = rest.strip_prefix(b"-").unwrap_or(rest);
    if rest.is_empty() || rest[0] == b'-' || rest[0] == b'=' {
        return Err(BadFlag::Syntax(show(word)));
    }
    Ok(Some(match rest.iter().position(|&b| b == b'=') {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    }))
}

/// The flag called `name`, by its long name or its letter.
fn find<'c>(command: &'c Command, name: &[u8]) -> Option<(&'c str, Kind)> {
    let arg = command.get_arguments().filter(|arg| !arg.is_positional()).find(|arg| {
        let short = arg.get_short().filter(char::is_ascii).map(|c| c as u8);
        arg.get_long().is_some_and(|long| long.as_bytes() == name) || (name.len() == 1 && short == Some(name[0]))
    })?;
    let kind = match arg.get_action() {
        ArgAction::Set | ArgAction::Append if arg.is_require_equals_set() => Kind::MaybeValue,
        ArgAction::Set | ArgAction::Append => Kind::Value,
        _ => Kind::Switch,
    };
    // Every flag has a long name; a test holds us to it.
    arg.get_long().map(|long| (long, kind))
}

/// The words that Go takes for a boolean.
pub(super) fn boolean(value: &[u8]) -> Option<bool> {
    match value {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    text.split('=').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A verb like `exec`: flags, an id, and a command that may look like flags.
    fn exec() -> Command {
        Command::new("exec")
            .no_binary_name(true)
            .arg(Arg::new("env").short('e').long("env").action(ArgAction::Append))
            .arg(Arg::new("tty").short('t').long("tty").action(ArgAction::SetTrue))
            .arg(Arg::new("id").required(true))
            .arg(Arg::new("command").num_args(0..).trailing_var_arg(true).allow_hyphen_values(true))
    }

    fn read(line: &str) -> Result<String, BadFlag> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let command = exec();
        let tokens = canonical(&command, &words, Until::of(&command))?.all();
        Ok(tokens.iter().map(|token| token.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn flags_end_where_the_command_begins() {
        assert_eq!(read("-t -e A=1 --env=B=2 ID ls -t --env").unwrap(), "--tty --env=A=1 --env=B=2 -- ID ls -t --env");
        assert_eq!(read("-e -t ID -- -x").unwrap(), "--env=-t -- ID -- -x");
        assert_eq!(read("-t -- ID -t").unwrap(), "--tty -- ID -t");
        assert_eq!(read("- x").unwrap(), "-- - x");
        assert_eq!(read("-et ID"), Err(BadFlag::Unknown("-et".into())));
        assert_eq!(read("-tty=x ID"), Err(BadFlag::NotABool { name: "--tty".into(), value: "x".into() }));
    }

    #[test]
    fn clap_takes_what_comes_out() {
        let words: Vec<OsString> = ["-e", "A=1", "-e=B=2", "ID", "ls", "-t", "--", "-x"].map(OsString::from).to_vec();
        let command = exec();
        let tokens = canonical(&command, &words, Until::of(&command)).unwrap().all();
        let matches = command.args_override_self(true).try_get_matches_from(tokens).unwrap();
        let many = |name: &str| matches.get_many::<String>(name).unwrap().cloned().collect::<Vec<_>>();
        assert_eq!(many("env"), ["A=1", "B=2"]);
        assert_eq!(matches.get_one::<String>("id").unwrap(), "ID");
        assert_eq!(many("command"), ["ls", "-t", "--", "-x"]);
        assert!(!matches.get_flag("tty"));
    }
}
