//! Runs the ops below the resctrl mount. What we make is known before it exists, so that it can be removed whatever happens.

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::{Op, schemata};
use crate::sys::{self, Call, Errno, Error, Result};

/// The groups that a container's creation made, deepest first: what goes with the container. Kept in its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rdt {
    /// Absolute directories.
    pub made: Vec<String>,
}

impl Rdt {
    /// Runs one op; `pid` is init's, once it is born. `note` writes down what is going to be made.
    pub fn apply(&mut self, op: &Op, pid: i32, note: &mut dyn FnMut(&Rdt) -> Result<()>) -> Result<()> {
        match op {
            Op::Group { dir, must_exist } => match (self.find_or_make(dir, !must_exist, note), must_exist) {
                (Err(e), true) if e.errno == Errno::ENOENT => {
                    Err(e.about(format!("{dir} (there is no such group, and no schemata to make one with)")))
                }
                (done, _) => done,
            },
            Op::Monitor { dir } => self.find_or_make(dir, true, note),
            Op::Schemata { dir, lines } if self.made.contains(dir) => write_schemata(dir, lines),
            Op::Schemata { dir, lines } => compare_schemata(dir, lines),
            Op::Assign { dirs } => dirs.iter().try_for_each(|dir| assign(dir, pid)),
        }
    }

    pub(super) fn find_or_make(
        &mut self,
        dir: &str,
        make: bool,
        note: &mut dyn FnMut(&Rdt) -> Result<()>,
    ) -> Result<()> {
        match sys::fs::open_host(dir, OFlag::O_PATH | OFlag::O_DIRECTORY) {
            Err(e) if e.errno == Errno::ENOENT && make => {}
            other => return other.map(drop),
        }
        self.made.insert(0, dir.to_owned());
        note(self)?;
        let made = sys::fs::mkdir(sys::fs::cwd(), dir, 0o755);
        if made.is_ok() {
            return Ok(());
        }
        self.made.remove(0);
        note(self)?;
        match made {
            // Somebody was faster: it is theirs.
            Err(e) if e.errno == Errno::EEXIST => Ok(()),
            Err(e) if e.errno == Errno::ENOSPC => Err(e.about(format!("{dir} (the CPU has no more groups)"))),
            other => other.map_err(|e| hinted(e, dir)),
        }
    }

    /// Removes what was made; what is gone already is no error. The kernel moves processes that are left to the root group.
    pub fn remove(&self) -> Result<()> {
        self.made.iter().try_for_each(|dir| match sys::fs::unlink(sys::fs::cwd(), dir, true) {
            Err(e) if e.errno != Errno::ENOENT => Err(e),
            _ => Ok(()),
        })
    }
}

/// Puts a process into a group.
pub(super) fn assign(dir: &str, pid: i32) -> Result<()> {
    let file = format!("{}/tasks", dir.trim_end_matches('/'));
    sys::fs::write(sys::fs::cwd(), &file, &pid.to_string()).map_err(|e| hinted(e, dir))
}

pub(super) fn write_schemata(dir: &str, lines: &[String]) -> Result<()> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = format!("{}/schemata", dir.trim_end_matches('/'));
    sys::fs::write(sys::fs::cwd(), &file, &text)
        .map_err(|e| hinted(e.about(format!("{file} = {}", lines.join(" "))), dir))
}

/// A group that was there has users of its own: it must fit, it is not made to fit.
fn compare_schemata(dir: &str, lines: &[String]) -> Result<()> {
    let dir = dir.trim_end_matches('/');
    let has = sys::fs::read_host(&format!("{dir}/schemata"))?;
    let step = info(dir, "MB/bandwidth_gran").and_then(|text| text.trim().parse().ok()).unwrap_or(1);
    for line in lines {
        schemata::agrees(line, &has, step).map_err(|why| {
            Error::new(Call::Write, Errno::EEXIST).about(format!("{dir} is there already and {why}, not {line}"))
        })?;
    }
    Ok(())
}

/// The kernel's own words for what it has just refused.
fn hinted(error: Error, dir: &str) -> Error {
    match info(dir, "last_cmd_status").map(|text| text.trim().to_owned()) {
        Some(words) if !words.is_empty() && words != "ok" => {
            let about = error.note.clone();
            error.about(format!("{about} ({words})"))
        }
        _ => error,
    }
}

/// A file of the `info` directory, which is in the root group only: the group's directory, or one above it.
fn info(dir: &str, name: &str) -> Option<String> {
    let above = |dir: &str| dir.rsplit_once('/').map(|(parent, _)| parent.to_owned());
    let levels = std::iter::successors(Some(dir.to_owned()), |dir| above(dir));
    levels.take(4).find_map(|level| sys::fs::read_host(&format!("{level}/info/{name}")).ok())
}

/// Where resctrl is mounted. A kernel without it does not have the usual place either, and needs no further look.
pub fn probe() -> Result<Option<String>> {
    match sys::fs::open_host("/sys/fs/resctrl", OFlag::O_PATH) {
        Err(e) if e.errno == Errno::ENOENT => Ok(None),
        Err(e) => Err(e),
        Ok(_) => Ok(find(&sys::fs::read_host("/proc/self/mountinfo")?)),
    }
}

/// The first resctrl mount of a mountinfo that shows its root.
fn find(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, mountpoint) = (left.next()?, left.next()?);
        (right.split(' ').next() == Some("resctrl") && root == "/").then(|| mountpoint.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FULL, Fake};
    use super::*;
    use std::fs;

    /// Runs ops; gives what was noted, and the first failure.
    fn run(rdt: &mut Rdt, ops: &[Op]) -> (Vec<Vec<String>>, Result<()>) {
        let mut noted = Vec::new();
        let done = ops.iter().try_for_each(|op| {
            rdt.apply(op, 4242, &mut |rdt| {
                noted.push(rdt.made.clone());
                Ok(())
            })
        });
        (noted, done)
    }

    fn schemata(dir: &str, lines: &[&str]) -> Op {
        Op::Schemata { dir: dir.into(), lines: lines.iter().map(|l| (*l).to_owned()).collect() }
    }

    #[test]
    fn a_group_that_we_made_is_written_joined_and_removed() {
        let fake = Fake::new();
        let (dir, monitor) = (fake.dir("box"), fake.dir("box/mon_groups/box"));
        let mut rdt = Rdt::default();
        let (noted, done) = run(&mut rdt, &[Op::Group { dir: dir.clone(), must_exist: false }]);
        assert_eq!((noted, done), (vec![vec![dir.clone()]], Ok(())));
        fake.fill("box");
        fs::create_dir(fake.dir("box/mon_groups")).unwrap();
        let ops = [schemata(&dir, &["L3:0=f", "MB:0=20"]), Op::Monitor { dir: monitor.clone() }];
        let (noted, done) = run(&mut rdt, &ops);
        assert_eq!((noted, done), (vec![vec![monitor.clone(), dir.clone()]], Ok(())));
        assert!(fake.read("box/schemata").starts_with("L3:0=f\nMB:0=20\n"));
        fake.fill("box/mon_groups/box");
        run(&mut rdt, &[Op::Assign { dirs: vec![dir, monitor] }]).1.unwrap();
        assert_eq!([fake.read("box/tasks"), fake.read("box/mon_groups/box/tasks")], ["4242", "4242"]);
        // As the record has it.
        let rdt: Rdt = serde_json::from_value(serde_json::to_value(&rdt).unwrap()).unwrap();
        fake.empty("box/mon_groups/box");
        fs::remove_file(fake.dir("box/tasks")).unwrap();
        assert!(rdt.remove().is_err(), "the fake's files are in the way");
        fs::remove_file(fake.dir("box/schemata")).unwrap();
        fs::remove_dir(fake.dir("box/mon_groups")).unwrap();
        rdt.remove().unwrap();
        assert!(!fake.has("box") && fake.has(""));
        rdt.remove().unwrap();
    }

    #[test]
    fn a_group_that_was_there_is_compared_and_stays() {
        let fake = Fake::new();
        fake.fill("gold");
        let dir = fake.dir("gold");
        for (lines, words) in [
            (&["L3:0=fffff"][..], None),
            (&["L3:0=FFFFF;1=fffff", "MB:1=95"], None),
            (&["L3:0=f"], Some("is there already and has L3:0=fffff;1=fffff, not L3:0=f")),
            (&["L2:0=f"], Some("is there already and has no L2, not L2:0=f")),
            (&["MB:0=90"], Some("has MB:0=100;1=100, not MB:0=90")),
        ] {
            let mut rdt = Rdt::default();
            let ops = [Op::Group { dir: dir.clone(), must_exist: false }, schemata(&dir, lines)];
            let (noted, done) = run(&mut rdt, &ops);
            assert_eq!((noted.len(), &rdt.made), (0, &vec![]), "not ours");
            match words {
                None => assert_eq!(done, Ok(()), "{lines:?}"),
                Some(words) => assert!(done.unwrap_err().to_string().contains(words), "{lines:?}"),
            }
            rdt.remove().unwrap();
            assert_eq!(fake.read("gold/schemata"), FULL);
        }
    }

    #[test]
    fn the_root_group_is_joined_and_never_made_or_changed() {
        let fake = Fake::new();
        let dir = fake.dir("");
        let mut rdt = Rdt::default();
        let ops = [Op::Group { dir: dir.clone(), must_exist: true }, Op::Assign { dirs: vec![dir] }];
        assert_eq!(run(&mut rdt, &ops), (vec![], Ok(())));
        assert_eq!(fake.read("tasks"), "4242");
    }

    #[test]
    fn a_group_that_must_be_there_is_named() {
        let fake = Fake::new();
        let (noted, done) = run(&mut Rdt::default(), &[Op::Group { dir: fake.dir("gold"), must_exist: true }]);
        let words = done.unwrap_err().to_string();
        assert!(noted.is_empty() && words.contains("gold (there is no such group, and no schemata"), "{words}");
    }

    #[test]
    fn the_kernel_s_own_words_are_told() {
        let fake = Fake::new();
        fake.refuse("mask f0f has non-consecutive 1-bits");
        let dir = fake.dir("box");
        let mut rdt = Rdt { made: vec![dir.clone()] };
        let words = run(&mut rdt, &[schemata(&dir, &["L3:0=f0f"])]).1.unwrap_err().to_string();
        assert!(words.contains("schemata = L3:0=f0f (mask f0f has non-consecutive 1-bits)"), "{words}");
    }

    #[test]
    fn the_mount_is_found() {
        let line = |root: &str, place: &str, kind: &str| format!("9 1 0:9 {root} {place} rw - {kind} {kind} rw\n");
        let table =
            line("/", "/sys", "sysfs") + &line("/gold", "/mnt", "resctrl") + &line("/", "/sys/fs/resctrl", "resctrl");
        assert_eq!(find(&table).as_deref(), Some("/sys/fs/resctrl"));
        assert_eq!(find(&line("/", "/sys", "sysfs")), None);
    }
}
