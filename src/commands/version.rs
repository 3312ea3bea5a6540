//! `rt --version`: the three lines that docker and containerd pick the version, the commit and the spec from.

/// The version of the specification that we read and of which we speak in `state` and `features`.
pub const SPEC: &str = "1.3.0";

/// Our own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that was built, where the builder said so: `RT_COMMIT` in the environment of the build.
pub const COMMIT: &str = match option_env!("RT_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// What `rt --version` prints.
pub fn text() -> String {
    format!("rt version {VERSION}\ncommit: {COMMIT}\nspec: {SPEC}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_and_containerd_find_their_lines() {
        let text = text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].split_once(" version "), Some(("rt", VERSION)));
        assert!(lines[1].strip_prefix("commit: ").is_some_and(|commit| !commit.is_empty()));
        assert_eq!(lines[2], "spec: 1.3.0");
        assert_eq!(lines.len(), 3);
    }
}
