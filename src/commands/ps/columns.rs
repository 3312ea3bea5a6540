//! Which columns `ps` arguments ask for, and what stands in them. Everything that selects processes (-e, -A, a, x) is
//! understood and means nothing here: the container selects.

use anyhow::{Result, bail};

use super::process::{Host, Process};

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// One column of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it shows, by the first of its names.
    pub name: &'static str,
    /// What stands above it.
    pub header: String,
    /// How it stands.
    pub form: Form,
}

/// Names (the first is the column's own), header, form: as in ps(1).
const COLUMNS: &[(&[&str], &str, Form)] = &[
    (&["pid", "tgid"], "PID", Form::Right),
    (&["ppid"], "PPID", Form::Right),
    (&["pgid", "pgrp"], "PGID", Form::Right),
    (&["sid", "sess", "session"], "SID", Form::Right),
    (&["user", "euser", "uname"], "USER", Form::Left),
    (&["uid", "euid"], "UID", Form::Right),
    (&["group", "egroup"], "GROUP", Form::Left),
    (&["gid", "egid"], "GID", Form::Right),
    (&["c"], "C", Form::Right),
    (&["pcpu", "%cpu"], "%CPU", Form::Right),
    (&["pmem", "%mem"], "%MEM", Form::Right),
    (&["vsz", "vsize"], "VSZ", Form::Right),
    (&["rss", "rssize", "rsz"], "RSS", Form::Right),
    (&["tty", "tt", "tname"], "TTY", Form::Left),
    (&["s", "state"], "S", Form::Left),
    (&["stat"], "STAT", Form::Left),
    (&["stime", "start", "start_time", "bsdstart"], "STIME", Form::Left),
    (&["etime"], "ELAPSED", Form::Right),
    (&["etimes"], "ELAPSED", Form::Right),
    (&["time", "cputime"], "TIME", Form::Right),
    (&["pri"], "PRI", Form::Right),
    (&["ni", "nice"], "NI", Form::Right),
    (&["nlwp", "thcount"], "NLWP", Form::Right),
    (&["psr"], "PSR", Form::Right),
    (&["cgroup"], "CGROUP", Form::Left),
    (&["comm", "ucmd", "ucomm"], "COMMAND", Form::Left),
    (&["args", "cmd", "command"], "COMMAND", Form::Left),
];

const FULL: &str = "user=UID,pid,ppid,c,stime,tty,time,args=CMD";
const PLAIN: &str = "pid,tty,time,comm=CMD";
const BSD: &str = "user,pid,pcpu,pmem,vsz,rss,tty=TTY,stat,start=START,time,args";

/// Reads what follows the id: options of ps(1). Nothing means `-ef`.
pub fn parse(words: &[&str]) -> Result<Vec<Column>> {
    if words.is_empty() {
        return list(FULL);
    }
    let mut shape = PLAIN;
    let mut own: Option<Vec<Column>> = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(long) = word.strip_prefix("--") {
            let value = match long.split_once('=') {
                Some(("format", value)) => value,
                _ if long == "format" => words.next().copied().unwrap_or_default(),
                _ => bail!("ps: {word} is not understood here; -f, u and -o COLUMN,… are"),
            };
            own.get_or_insert_default().extend(list(value)?);
            continue;
        }
        let letters = word.trim_start_matches('-');
        for (at, letter) in letters.char_indices() {
            match letter {
                'e' | 'A' | 'a' | 'x' | 'd' | 'w' => {}
                'f' => shape = FULL,
                'u' => shape = BSD,
                'o' => {
                    let rest = &letters[at + 1..];
                    let value = if rest.is_empty() { words.next().copied().unwrap_or_default() } else { rest };
                    own.get_or_insert_default().extend(list(value)?);
                    break;
                }
                _ => bail!("ps: -{letter} is not understood here; -f, u and -o COLUMN,… are"),
            }
        }
    }
    own.map_or_else(|| list(shape), Ok)
}

/// `pid,comm=NAME,args`. What follows `=` is all header, as POSIX has it, but for a list of our own.
fn list(text: &str) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for word in text.split([',', ' ']).filter(|w| !w.is_empty()) {
        let (name, header) = word.split_once('=').map_or((word, None), |(name, header)| (name, Some(header)));
        let lower = name.to_ascii_lowercase();
        let Some((names, usual, form)) = COLUMNS.iter().find(|(names, ..)| names.contains(&lower.as_str())) else {
            let all: Vec<&str> = COLUMNS.iter().map(|(names, ..)| names[0]).collect();
            bail!("ps: unknown column {name:?}; there are {}", all.join(" "));
        };
        columns.push(Column { name: names[0], header: header.unwrap_or(usual).to_owned(), form: *form });
    }
    if columns.is_empty() {
        bail!("ps: -o needs a list of columns: -o pid,args");
    }
    Ok(columns)
}

/// What stands in a column for a process.
pub fn cell(name: &str, p: &Process, host: &Host) -> String {
    let cpu_ticks = p.field(14) + p.field(15);
    let started = host.uptime - p.field(22) as f64 / host.ticks;
    let share = if started > 0.0 { 100.0 * cpu_ticks as f64 / host.ticks / started } else { 0.0 };
    let rss = p.status("VmRSS").split(' ').next().unwrap_or_default().parse::<f64>().unwrap_or(0.0);
    match name {
        "pid" => p.pid.to_string(),
        "ppid" => p.parent.to_string(),
        "pgid" => p.field(5).to_string(),
        "sid" => p.field(6).to_string(),
        "user" => host.user(p.id("Uid")),
        "uid" => p.id("Uid").to_string(),
        "group" => host.group(p.id("Gid")),
        "gid" => p.id("Gid").to_string(),
        "c" => (share.min(99.0) as u32).to_string(),
        "pcpu" => format!("{share:.1}"),
        "pmem" => format!("{:.1}", 100.0 * rss / host.memory),
        "vsz" => (p.field(23) / 1024).to_string(),
        "rss" => (rss as u64).to_string(),
        "tty" => tty(p.field(7)),
        "s" => p.state().to_owned(),
        "stat" => stat(p),
        "stime" => start(host.now - started, host.now),
        "etime" => elapsed(started.max(0.0) as u64),
        "etimes" => (started.max(0.0) as u64).to_string(),
        "time" => {
            let seconds = cpu_ticks / host.ticks as i64;
            format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
        }
        "pri" => (39 - p.field(18)).to_string(),
        "ni" => p.field(19).to_string(),
        "nlwp" => p.field(20).to_string(),
        "psr" => p.field(39).to_string(),
        "cgroup" => tame(&p.cgroup),
        "comm" => tame(&p.name),
        // What has no arguments, a zombie, is shown by its name in brackets.
        _ if p.arguments.is_empty() && p.state() == "Z" => format!("[{}] <defunct>", tame(&p.name)),
        _ if p.arguments.is_empty() => format!("[{}]", tame(&p.name)),
        _ => tame(&p.arguments),
    }
}

/// What the container chose itself must not reach the caller's terminal as a control sequence.
fn tame(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// The terminal of a device number, as the host would call it.
fn tty(number: i64) -> String {
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xfff00));
    match major {
        0 => "?".to_owned(),
        4 => format!("tty{minor}"),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

/// The state with the letters that ps(1) adds.
fn stat(p: &Process) -> String {
    let mut text = p.state().to_owned();
    if p.field(19) < 0 {
        text.push('<');
    } else if p.field(19) > 0 {
        text.push('N');
    }
    if p.field(6) == i64::from(p.pid) {
        text.push('s');
    }
    if p.field(20) > 1 {
        text.push('l');
    }
    if p.field(8) == p.field(5) && p.field(8) > 0 {
        text.push('+');
    }
    text
}

/// When it started: the time if that was within a day, else the date. In UTC, as all times that `rt` prints.
fn start(at: f64, now: f64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(at.max(0.0));
    let text = crate::log::rfc3339(time);
    let part = if now - at < 86_400.0 { text.get(11..16) } else { text.get(5..10) };
    part.unwrap_or_default().to_owned()
}

/// `[[DD-]HH:]MM:SS`
fn elapsed(seconds: u64) -> String {
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{seconds:02}"),
        (0, _) => format!("{hours:02}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}-{hours:02}:{minutes:02}:{seconds:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(words: &[&str]) -> String {
        parse(words)
            .map_or_else(|e| e.to_string(), |all| all.into_iter().map(|c| c.header).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn the_options_that_people_give_to_ps() {
        assert_eq!(headers(&[]), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(headers(&["-ef"]), headers(&[]));
        assert_eq!(headers(&["-e", "-f"]), headers(&[]));
        assert_eq!(headers(&["-A"]), "PID TTY TIME CMD");
        assert_eq!(headers(&["aux"]), "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND");
        assert_eq!(headers(&["-eo", "pid,comm"]), "PID COMMAND");
        assert_eq!(headers(&["-o", "pid=NUMBER,args", "-oppid"]), "NUMBER COMMAND PPID");
        assert_eq!(headers(&["--format=user,pid"]), "USER PID");
        assert_eq!(headers(&["-Z"]), "ps: -Z is not understood here; -f, u and -o COLUMN,… are");
        assert!(headers(&["-o", "nope"]).starts_with("ps: unknown column \"nope\"; there are pid ppid"));
        assert!(headers(&["-o"]).contains("needs a list"));
    }

    #[test]
    fn terminals_and_times_read_as_ps_prints_them() {
        assert_eq!([tty(0), tty(0x8800), tty(0x8903), tty(0x0401)], ["?", "pts/0", "pts/259", "tty1"]);
        assert_eq!([elapsed(59), elapsed(3600), elapsed(90_061)], ["00:59", "01:00:00", "1-01:01:01"]);
        assert_eq!(start(0.0, 10.0), "00:00");
        assert_eq!(start(0.0, 1e6), "01-01");
    }
}
