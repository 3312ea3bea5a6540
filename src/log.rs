//! Log lines, in the two forms that callers read. A value that travels, not a global; never used in the child.
//!
//! Who reads what: podman parses the whole file as *one* JSON object, so that a failing command must write exactly one
//! line; containerd decodes line after line, takes the last of level `error`, and chokes on a time that isn't RFC 3339.
//! Both want the keys `level`, `msg`, `time`; more keys are allowed, and ours carry what a program would have to guess
//! from the text. People read stderr: there the line is `rt: …`, with a hint below it where there is one.

use std::fmt::{Display, Write as _};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::sys::{self, Call, During};

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What failed.
    Error,
    /// What was not done as asked, though the command goes on.
    Warning,
    /// What was done.
    Info,
    /// How it was done.
    Debug,
}

impl Level {
    /// The word in the line.
    pub fn name(self) -> &'static str {
        ["error", "warning", "info", "debug"][self as usize]
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=error msg="…"`
    Text,
    /// `{"level":"error","msg":"…","time":"…"}`
    Json,
}

/// Something to say, with the parts that a program wants apart: step, pointer, call, errno, errname, hint, id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The whole of it in one line.
    pub msg: String,
    /// The parts, in the order in which they should be read. `level`, `msg` and `time` are taken.
    pub fields: Vec<(&'static str, String)>,
}

impl Report {
    /// A report without parts.
    pub fn new(msg: impl Into<String>) -> Self {
        Self { msg: msg.into(), fields: Vec::new() }
    }

    /// The same report with one part more.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((key, value.into()));
        self
    }

    fn hint(&self) -> Option<&str> {
        self.fields.iter().find(|(key, _)| *key == "hint").map(|(_, hint)| hint.as_str())
    }
}

/// Where lines go.
#[derive(Debug)]
enum Sink {
    Stderr,
    File(File),
}

/// Writes lines of a level or above to stderr or to a file.
#[derive(Debug)]
pub struct Log {
    sink: Sink,
    format: Format,
    level: Level,
}

impl Log {
    /// Lines on stderr.
    pub fn stderr(format: Format, level: Level) -> Self {
        Self { sink: Sink::Stderr, format, level }
    }

    /// Lines at the end of the file `path`, which is made when it isn't there. The descriptor is close-on-exec.
    pub fn file(path: &Path, format: Format, level: Level) -> sys::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o644)
            // A terminal as a log must not become our controlling one.
            .custom_flags(libc::O_NOCTTY)
            .open(path)
            .during(Call::Openat)
            .map_err(|e| e.about(path.display().to_string()))?;
        Ok(Self { sink: Sink::File(file), format, level })
    }

    /// Says what failed but doesn't end the command.
    pub fn error(&self, msg: impl Display) {
        self.say(Level::Error, msg);
    }

    /// Says what was not done as asked.
    pub fn warn(&self, msg: impl Display) {
        self.say(Level::Warning, msg);
    }

    /// Says what was done.
    pub fn info(&self, msg: impl Display) {
        self.say(Level::Info, msg);
    }

    /// Says how it was done.
    pub fn debug(&self, msg: impl Display) {
        self.say(Level::Debug, msg);
    }

    /// Writes a line with its parts.
    pub fn report(&self, level: Level, report: &Report) {
        if level <= self.level {
            self.write(level, report);
        }
    }

    /// Says why the command failed: once in the log, and once on stderr for who reads that.
    pub fn failure(&self, report: &Report) {
        self.write(Level::Error, report);
        if let Sink::File(_) = self.sink {
            put(&mut io::stderr(), &for_people(Level::Error, report));
        }
    }

    fn say(&self, level: Level, msg: impl Display) {
        if level <= self.level {
            self.write(level, &Report::new(msg.to_string()));
        }
    }

    fn write(&self, level: Level, report: &Report) {
        let line = match (&self.sink, self.format) {
            (_, Format::Json) => json(level, report, SystemTime::now()),
            (Sink::File(_), Format::Text) => text(level, report, SystemTime::now()),
            (Sink::Stderr, Format::Text) => for_people(level, report),
        };
        match &self.sink {
            Sink::Stderr => put(&mut io::stderr(), &line),
            Sink::File(file) => put(&mut &*file, &line),
        }
    }
}

/// Writes a whole line at once, so that lines of several processes don't mix. A container must not fail because its log
/// can't be written: the disk may be full, the reader gone.
fn put(to: &mut impl io::Write, line: &str) {
    let _ = to.write_all(line.as_bytes());
}

fn for_people(level: Level, report: &Report) -> String {
    let word = match level {
        Level::Error => "",
        Level::Warning => "warning: ",
        Level::Info | Level::Debug => "note: ",
    };
    let hint = report.hint().map(|hint| format!("  hint: {hint}\n")).unwrap_or_default();
    format!("rt: {word}{}\n{hint}", report.msg)
}

fn text(level: Level, report: &Report, now: SystemTime) -> String {
    let mut line = format!("time=\"{}\" level={} msg={:?}", rfc3339(now), level.name(), report.msg);
    for (key, value) in &report.fields {
        // Writing to a String can't fail.
        let _ = write!(line, " {key}={value:?}");
    }
    line + "\n"
}

fn json(level: Level, report: &Report, now: SystemTime) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let mut line =
        format!("{{\"level\":\"{}\",\"msg\":{},\"time\":\"{}\"", level.name(), quoted(&report.msg), rfc3339(now));
    for (key, value) in &report.fields {
        // Writing to a String can't fail.
        let _ = write!(line, ",\"{key}\":{}", quoted(value));
    }
    line + "}\n"
}

/// A time in UTC as RFC 3339 wants it, with nanoseconds: `2026-11-21T23:07:59.000000001Z`.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// Year, month and day that lie so many days after 1970-01-01. Years begin in March here, so that the leap day is the
/// last day of a year and months have the lengths 31 30 31 30 31, twice, and the rest.
fn date(days: u64) -> (u64, u64, u64) {
    const CYCLE: u64 = 146_097; // days in 400 years
    let days = days + 719_468; // since 0000-03-01
    let (cycle, in_cycle) = (days / CYCLE, days % CYCLE);
    let year_of_cycle = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (400 * cycle + year_of_cycle + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn times_as_date_prints_them() {
        // Each from `date -u -d @SECONDS --rfc-3339=seconds`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (1_795_302_479, "2026-11-21T23:07:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
        ] {
            assert_eq!(rfc3339(at(seconds, 7)), format!("{text}.000000007Z"));
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..100_000 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (year, month, day) = match (month, day == length) {
                (_, false) => (year, month, day + 1),
                (12, true) => (year + 1, 1, 1),
                (_, true) => (year, month + 1, 1),
            };
        }
    }

    #[test]
    fn lines_of_both_forms() {
        let report = Report::new("exec: \"x\\y\": \u{1}\nnot found").with("call", "execve").with("errno", "2");
        assert_eq!(
            json(Level::Error, &report, at(0, 0)),
            "{\"level\":\"error\",\"msg\":\"exec: \\\"x\\\\y\\\": \\u0001\\nnot found\",\
             \"time\":\"1970-01-01T00:00:00.000000000Z\",\"call\":\"execve\",\"errno\":\"2\"}\n"
        );
        assert_eq!(
            text(Level::Warning, &report, at(0, 0)),
            "time=\"1970-01-01T00:00:00.000000000Z\" level=warning msg=\"exec: \\\"x\\\\y\\\": \\u{1}\\nnot found\" \
             call=\"execve\" errno=\"2\"\n"
        );
        let report = Report::new("no").with("hint", "say yes");
        assert_eq!(for_people(Level::Error, &report), "rt: no\n  hint: say yes\n");
        assert_eq!(for_people(Level::Warning, &report), "rt: warning: no\n  hint: say yes\n");
    }

    #[test]
    fn a_failing_command_writes_one_object_and_appends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.json");
        let log = Log::file(&path, Format::Json, Level::Error).unwrap();
        log.warn("not this");
        log.info("nor this");
        log.failure(&Report::new("first"));
        let whole: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((&whole["level"], &whole["msg"]), (&"error".into(), &"first".into()));
        assert!(whole["time"].as_str().unwrap().ends_with('Z'));
        Log::file(&path, Format::Json, Level::Warning).unwrap().warn("second");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line["msg"].as_str().unwrap()).collect::<Vec<_>>(), ["first", "second"]);
    }

    #[test]
    fn the_file_is_readable_and_closed_at_exec() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log::file(&path, Format::Text, Level::Error).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        // What our umask leaves of 0644.
        assert_eq!(mode & 0o7133, 0, "{mode:o}");
        let Sink::File(file) = &log.sink else { panic!() };
        let flags = nix::fcntl::fcntl(file.as_fd(), nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert!(nix::fcntl::FdFlag::from_bits_retain(flags).contains(nix::fcntl::FdFlag::FD_CLOEXEC));
        let missing = Log::file(&dir.path().join("no/log"), Format::Text, Level::Error).unwrap_err();
        assert!(missing.to_string().ends_with("no/log: no such file or directory"), "{missing}");
    }
}
