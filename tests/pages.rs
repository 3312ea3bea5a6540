//! Manual pages and completions, as they are generated: held against the help texts of the real program, read by a real
//! mandoc, and tried in real shells. Needs no root.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_rt")).parent().unwrap().join(name)
}

/// What the generator writes.
fn generated() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let generator = beside("examples/pages");
    assert!(fs::metadata(&generator).is_ok(), "{} is missing: cargo build --examples", generator.display());
    let done = Command::new(generator).arg(dir.path()).env("SOURCE_DATE_EPOCH", "86400").output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    dir
}

fn help(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_rt")).args(words).arg("--help").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The verbs as the program itself lists them.
fn verbs() -> Vec<String> {
    let text = help(&[]);
    let list = text.split("Commands:\n").nth(1).expect("a list of commands");
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// The flags and the names of values in a help text.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let words = lines.flat_map(|line| line.split("  ").next().unwrap().split([' ', ',', '=', '[', ']']));
    words.filter(|word| word.starts_with('-') || word.starts_with('<')).map(str::to_owned).collect()
}

/// Runs a program that scripts/test installs.
fn tool(name: &str, args: &[&str]) -> Output {
    // Shells leave files in a home.
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(name);
    let output = command.args(args).env("TERM", "dumb").env("HOME", home.path()).output();
    output.unwrap_or_else(|e| panic!("{name}: {e}: apt-get install mandoc zsh fish"))
}

fn printed(page: &Path) -> String {
    let output = tool("mandoc", &["-T", "ascii", page.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    // Bold and underlined letters are overstruck; lines are filled.
    let mut plain = String::new();
    for letter in text.chars() {
        if letter == '\u{8}' { _ = plain.pop() } else { plain.push(letter) }
    }
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_verb_has_a_page_with_each_of_its_flags() {
    let dir = generated();
    let pages = dir.path().join("man8");
    let verbs = verbs();
    assert!(verbs.len() > 15, "{verbs:?}");
    let mut seen = 0;
    for verb in std::iter::once("").chain(verbs.iter().map(String::as_str)) {
        let name = if verb.is_empty() { "rt".to_owned() } else { format!("rt-{verb}") };
        let help = if verb.is_empty() { help(&[]) } else { help(&[verb]) };
        let text = printed(&pages.join(format!("{name}.8")));
        for section in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"] {
            assert!(text.contains(section), "{name}: no {section}");
        }
        let flags = flags(&help);
        assert!(flags.contains("--help"), "{name}: {flags:?}");
        for flag in &flags {
            assert!(text.contains(flag.as_str()), "{name}(8) does not mention {flag}");
        }
        seen += flags.len();
    }
    assert!(seen > 100, "{seen}");
    // Nor is there a page of a verb that is not there.
    assert_eq!(fs::read_dir(&pages).unwrap().count(), verbs.len() + 1);
}

#[test]
fn the_page_of_the_program_lists_verbs_and_exit_codes() {
    let dir = generated();
    let text = printed(&dir.path().join("man8/rt.8"));
    for verb in verbs() {
        assert!(text.contains(&format!("rt-{verb}(8)")), "{verb}");
    }
    for section in ["ENVIRONMENT", "FILES", "LOG"] {
        assert!(text.contains(section), "{section}");
    }
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let table = readme.split("## Exit codes").nth(1).unwrap().split("## ").next().unwrap();
    let codes: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()).skip(1).collect();
    let codes: Vec<&str> = codes.into_iter().filter(|code| !code.starts_with('-')).collect();
    assert!(codes.len() > 4, "{codes:?}");
    let statuses = text.split("EXIT STATUS").nth(1).unwrap().split("ENVIRONMENT").next().unwrap();
    for code in codes {
        assert!(statuses.contains(&format!(" {code} ")), "{code} is not in {statuses}");
    }
}

#[test]
fn mandoc_has_nothing_to_complain_about() {
    let dir = generated();
    for page in fs::read_dir(dir.path().join("man8")).unwrap() {
        let page = page.unwrap().path();
        let output = tool("mandoc", &["-T", "lint", "-W", "warning", page.to_str().unwrap()]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{}", page.display());
        assert!(output.status.success());
        let text = fs::read_to_string(&page).unwrap();
        assert!(text.contains("1970-01-02"), "{}: the date is not the one that was given", page.display());
    }
}

#[test]
fn bash_completes_a_verb_and_a_flag() {
    let dir = generated();
    let file = dir.path().join("bash/rt.bash");
    let complete = |words: &str| {
        // What readline does: the function that was registered, with the words of the line.
        let script = format!(
            "source {} && COMP_WORDS=({words}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && COMP_LINE='{words}' && \
             COMP_POINT=${{#COMP_LINE}} && function=$(complete -p rt | sed 's/.*-F \\([^ ]*\\).*/\\1/') && \
             $function rt \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\" && printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let output = tool("bash", &["--norc", "-c", &script]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("rt creat"), ["create"]);
    assert_eq!(complete("rt sta"), ["start", "state"]);
    assert_eq!(complete("rt create --console-s"), ["--console-socket"]);
    assert_eq!(complete("rt list --format js"), ["json"]);
}

#[test]
fn fish_completes_a_verb_and_a_flag() {
    let dir = generated();
    let file = dir.path().join("fish/rt.fish");
    let complete = |line: &str| {
        let script = format!("source {}; complete -C '{line}'", file.display());
        let output = tool("fish", &["--no-config", "-c", &script]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("rt creat"), ["create"]);
    assert_eq!(complete("rt create --console-s"), ["--console-socket"]);
    assert_eq!(complete("rt list --format js"), ["json"]);
}

/// zsh completes nowhere but in a terminal: one shell gives another a terminal, types, and has the line written down.
const ZSH: &str = r#"
zmodload zsh/zpty
dir=$1 line=$2
print -r -- "
fpath=($dir/zsh \$fpath)
autoload -Uz compinit && compinit -u -D
written() { print -r -- \"\$BUFFER\" > $dir/line.new && mv $dir/line.new $dir/line }
zle -N written && bindkey '^X' written
unsetopt beep && : > $dir/ready
" > $dir/setup
zpty typist zsh -f -i
zpty -w typist "source $dir/setup"
waits() {
    for i in {1..600}; do
        [[ -e $1 ]] && return 0
        zpty -r -t typist heard && output+=$heard || sleep 0.05
    done
    print -r -- "no $1; the shell said: $output" >&2
    return 1
}
waits $dir/ready && zpty -w -n typist $line$'\t\x18' && waits $dir/line && print -r -- "$(<$dir/line)"
zpty -d typist
"#;

#[test]
fn zsh_completes_a_verb_and_a_flag() {
    let dir = generated();
    let complete = |line: &str| {
        for file in ["ready", "line"] {
            let _ = fs::remove_file(dir.path().join(file));
        }
        let output = tool("zsh", &["-f", "-c", ZSH, "zsh", dir.path().to_str().unwrap(), line]);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    };
    assert_eq!(complete("rt creat"), "rt create");
    assert_eq!(complete("rt create --console-s"), "rt create --console-socket=");
    assert_eq!(complete("rt list --format js"), "rt list --format json");
}
