//! What the doctor says: a line for each thing that was looked at. Nothing is looked at here.

use serde::Serialize;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is there.
    Ok,
    /// It is not, and `rt` does without, or only some containers need it.
    Note,
    /// It is not, and it is needed.
    Fail,
}

impl Verdict {
    /// The word.
    pub fn name(self) -> &'static str {
        ["ok", "note", "fail"][self as usize]
    }
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What it is about; the file of this folder that wrote it.
    pub subject: &'static str,
    /// The thing, or the config's field that needs it.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// Where, or how, it was looked for.
    pub probed: String,
    /// What was there.
    pub found: String,
    /// What to do about it; nothing where nothing has to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// A line that waits for its verdict.
pub struct Look {
    subject: &'static str,
    name: String,
    probed: String,
}

/// Says what is looked at.
pub fn look(subject: &'static str, name: impl Into<String>, probed: impl Into<String>) -> Look {
    Look { subject, name: name.into(), probed: probed.into() }
}

impl Look {
    /// It is as it should be.
    pub fn ok(self, found: impl Into<String>) -> Line {
        self.line(Verdict::Ok, found, "")
    }

    /// It could be better.
    pub fn note(self, found: impl Into<String>, remedy: impl Into<String>) -> Line {
        self.line(Verdict::Note, found, remedy)
    }

    /// It can't stay so.
    pub fn fail(self, found: impl Into<String>, remedy: impl Into<String>) -> Line {
        self.line(Verdict::Fail, found, remedy)
    }

    /// One of the two, for what some hosts and some containers can do without.
    pub fn lacks(self, needed: bool, found: impl Into<String>, remedy: impl Into<String>) -> Line {
        self.line(if needed { Verdict::Fail } else { Verdict::Note }, found, remedy)
    }

    fn line(self, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Line {
        let Self { subject, name, probed } = self;
        Line { subject, name, verdict, probed, found: found.into(), remedy: remedy.into() }
    }
}

/// The lines for people: below their subjects, the remedy on a line of its own.
pub fn text(lines: &[Line]) -> String {
    let mut text = String::new();
    let mut subject = "";
    for line in lines {
        if line.subject != subject {
            subject = line.subject;
            text.push_str(&format!("{}{subject}\n", if text.is_empty() { "" } else { "\n" }));
        }
        let Line { name, verdict, probed, found, remedy, .. } = line;
        text.push_str(&format!("  {:<4}  {name}: {found} [{probed}]\n", verdict.name()));
        for line in remedy.lines() {
            text.push_str(&format!("        -> {line}\n"));
        }
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let (ok, note, fail) = (count(Verdict::Ok), count(Verdict::Note), count(Verdict::Fail));
    text + &format!("\n{ok} ok, {note} to note, {fail} missing\n")
}
