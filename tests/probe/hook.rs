//! `probe hook FILE [--name TEXT] [--exit N] [--sleep SECONDS] [--say TEXT]`: the probe as a hook. It appends one line
//! of JSON to FILE: the state it was given on stdin, and everything a hook must or must not inherit.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::{Outcome, fingerprint, kernel};

/// Writes down what this hook sees.
pub fn record(words: &[&str]) -> Outcome {
    let (file, options) = words.split_first().ok_or("which file?")?;
    let (mut name, mut code, mut seconds) = ("", 0, 0);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        let value = *options.next().ok_or(format!("{option} needs a value"))?;
        match *option {
            "--name" => name = value,
            "--exit" => code = value.parse().map_err(|_| "not an exit code")?,
            "--sleep" => seconds = value.parse().map_err(|_| "not a number of seconds")?,
            "--say" => eprintln!("{value}"),
            other => return Err(format!("no such option: {other}")),
        }
    }
    let fds = fingerprint::descriptors();
    let mut stdin = String::new();
    std::io::stdin().read_to_string(&mut stdin).map_err(|e| format!("read stdin: {e}"))?;
    let state: Value = serde_json::from_str(&stdin).unwrap_or(Value::String(stdin));
    let root = std::fs::metadata("/").map(|meta| [meta.dev(), meta.ino()]).ok();
    let argv: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let (hostname, _) = kernel::uts_names();
    let line = json!({
        "name": name, "argv": argv, "env": fingerprint::environment(), "cwd": kernel::getcwd().unwrap_or_default(),
        "fds": fds, "ns": fingerprint::namespaces(), "state": state, "root": root, "signals": fingerprint::signals(),
        "pid": std::process::id(), "hostname": hostname,
    });
    let mut log = OpenOptions::new().create(true).append(true).open(file).map_err(|e| format!("open {file}: {e}"))?;
    log.write_all(format!("{line}\n").as_bytes()).map_err(|e| format!("write {file}: {e}"))?;
    if seconds > 0 {
        std::thread::sleep(std::time::Duration::from_secs(seconds));
    }
    Ok(code)
}
