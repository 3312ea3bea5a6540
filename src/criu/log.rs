//! CRIU's log, read for the lines that say why.

/// How many lines an error shows.
const LINES: usize = 6;

/// The lines that say what went wrong; the last ones, where none says so.
pub(super) fn reasons(log: &str) -> Vec<String> {
    let mut found: Vec<String> = log.lines().filter(|l| is_error(l)).map(without_time).collect();
    if found.is_empty() {
        let last: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
        found = last.iter().rev().take(2).rev().map(|l| without_time(l)).collect();
    }
    found.dedup();
    // The first is the cause, what follows is mostly its consequences.
    found.truncate(LINES);
    found
}

/// Errors that CRIU logs and goes on after: they are never the reason.
const HARMLESS: [&str; 1] = ["rlimit: Can't setup RLIMIT_NOFILE for self"];

/// Whether a line says what went wrong.
pub(super) fn is_error(line: &str) -> bool {
    without_time(line).starts_with("Error (") && !HARMLESS.iter().any(|harmless| line.contains(harmless))
}

/// `(00.012345)` and a pid before the words mean nothing to who reads an error.
fn without_time(line: &str) -> String {
    let text = line.strip_prefix('(').and_then(|l| l.split_once(") ")).map_or(line, |(_, text)| text).trim();
    match text.split_once(": Error (") {
        Some((pid, rest)) if pid.trim().bytes().all(|b| b.is_ascii_digit()) => format!("Error ({rest}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errors_are_found() {
        let log = "(00.000000) Version: 4.1.1\n(00.002) Warn  (a.c:1): hm\n(00.003) Error (criu/tty.c:9): tty: no\n\
                   (00.004)      1: Error (criu/x.c:2): worse\n(00.005) Error (criu/cr-dump.c:1): Dumping FAILED.\n";
        assert_eq!(
            reasons(log),
            ["Error (criu/tty.c:9): tty: no", "Error (criu/x.c:2): worse", "Error (criu/cr-dump.c:1): Dumping FAILED."]
        );
    }

    #[test]
    fn without_errors_the_end_is_shown() {
        assert_eq!(reasons("(00.1) one\n(00.2) two\n(00.3) three\n\n"), ["two", "three"]);
        assert!(reasons("").is_empty());
    }
}
