//! `pages DIRECTORY`: writes the manual pages and the shell completions of `rt`, from the same definitions that read its
//! command line. A program of its own, so that `rt` carries nothing of it: `make install` and `make deb` run it.
//!
//! What clap can't know (what a verb promises, exit codes, files) stands in `words.rs`. Nothing that is written here is committed.

mod manual;
mod words;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::{Shell, generate_to};

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: pages DIRECTORY");
        return ExitCode::FAILURE;
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pages: {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}

/// `man8/` has the pages; each shell's file lies in a directory named after the shell, under the name that the shell wants.
fn write(directory: &Path) -> std::io::Result<()> {
    let pages = directory.join("man8");
    fs::create_dir_all(&pages)?;
    for (name, text) in manual::pages(rt::cli::whole()) {
        fs::write(pages.join(name), text)?;
    }
    for (shell, name) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let place = directory.join(name);
        fs::create_dir_all(&place)?;
        generate_to(shell, &mut rt::cli::whole(), "rt", place)?;
    }
    Ok(())
}
