//! Other schemata for a container that runs: in its own group, or in one that is made for it now. All lines, or none.

use super::apply::{assign, write_schemata};
use super::{Rdt, schemata};
use crate::sys::{self, Call, Errno, Error, Result};

/// What an update has done, to be taken back if something else of the update is refused.
#[derive(Debug)]
pub struct Changed {
    dir: String,
    /// What the group had, in the lines that were written; `None`: the group was made.
    before: Option<Vec<String>>,
}

impl Rdt {
    /// Sets `lines` in the container's group. `dir` is where that is, or would be: the group of its config, else one of its name.
    /// `configured`: its config has asked for a group, so one that we have not made is another's. `threads` tells who has to be
    /// in a new group. `note` writes down what is going to be made.
    pub fn update(
        &mut self,
        dir: &str,
        configured: bool,
        lines: &[String],
        threads: &dyn Fn() -> Result<Vec<i32>>,
        note: &mut dyn FnMut(&Rdt) -> Result<()>,
    ) -> Result<Changed> {
        let new = self.make_own(dir, configured, note)?;
        self.set(dir, new, lines, threads, note)
    }

    /// Sees to it that there is a group of the container's own. Whether it is new.
    fn make_own(&mut self, dir: &str, configured: bool, note: &mut dyn FnMut(&Rdt) -> Result<()>) -> Result<bool> {
        let own = |rdt: &Rdt| rdt.made.iter().any(|made| made == dir);
        let others = |why: &str| Error::new(Call::Write, Errno::EPERM).about(format!("{dir} {why}"));
        if own(self) {
            return Ok(false);
        }
        if configured {
            return Err(others("was there before the container: it is joined, not changed"));
        }
        self.find_or_make(dir, true, note)?;
        if own(self) { Ok(true) } else { Err(others("is not the container's")) }
    }

    fn set(
        &mut self,
        dir: &str,
        new: bool,
        lines: &[String],
        threads: &dyn Fn() -> Result<Vec<i32>>,
        note: &mut dyn FnMut(&Rdt) -> Result<()>,
    ) -> Result<Changed> {
        if !new {
            return change(dir, lines);
        }
        let changed = Changed { dir: dir.to_owned(), before: None };
        match write_schemata(dir, lines).and_then(|()| move_in(dir, threads)) {
            Ok(()) => Ok(changed),
            Err(error) => {
                // The error that brought us here is the one that counts.
                let _ = self.take_back(changed, note);
                Err(error)
            }
        }
    }

    /// Undoes an update. Whoever was moved into a new group goes back to the root group with its end.
    pub fn take_back(&mut self, changed: Changed, note: &mut dyn FnMut(&Rdt) -> Result<()>) -> Result<()> {
        match changed.before {
            Some(lines) => write_schemata(&changed.dir, &lines),
            None => {
                Rdt { made: vec![changed.dir.clone()] }.remove()?;
                self.made.retain(|made| *made != changed.dir);
                note(self)
            }
        }
    }
}

/// Writes into a group that is there; what is refused half-way is taken back.
fn change(dir: &str, lines: &[String]) -> Result<Changed> {
    let has = sys::fs::read_host(&format!("{}/schemata", dir.trim_end_matches('/')))?;
    let before = schemata::same_resources(lines, &has);
    write_schemata(dir, lines).inspect_err(|_| {
        // As it was is what the kernel had accepted before.
        let _ = write_schemata(dir, &before);
    })?;
    Ok(Changed { dir: dir.to_owned(), before: Some(before) })
}

/// Moves all threads: resctrl counts threads, not processes. Those that come to be meanwhile may come from one that is
/// not in there yet, so it is looked again until there is nobody new.
fn move_in(dir: &str, threads: &dyn Fn() -> Result<Vec<i32>>) -> Result<()> {
    let mut moved = std::collections::BTreeSet::new();
    loop {
        let new: Vec<i32> = threads()?.into_iter().filter(|thread| !moved.contains(thread)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for thread in new {
            match assign(dir, thread) {
                // It has ended.
                Err(e) if e.errno != Errno::ESRCH => return Err(e),
                _ => moved.insert(thread),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    const NOBODY: &dyn Fn() -> Result<Vec<i32>> = &|| Ok(Vec::new());

    fn lines(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn the_container_s_own_group_is_changed_and_can_be_taken_back() {
        let fake = Fake::new();
        fake.fill("box");
        let dir = fake.dir("box");
        let mut rdt = Rdt { made: vec![fake.dir("box/mon_groups/box"), dir.clone()] };
        let asked = lines(&["MB:0=20"]);
        let changed = rdt.update(&dir, true, &asked, NOBODY, &mut |_| panic!("nothing is made")).unwrap();
        assert!(fake.read("box/schemata").starts_with("MB:0=20\n"), "{}", fake.read("box/schemata"));
        rdt.take_back(changed, &mut |_| panic!("nothing goes")).unwrap();
        // Only the lines that were touched are written again.
        assert!(fake.read("box/schemata").starts_with("MB:0=100;1=100\n"), "{}", fake.read("box/schemata"));
        assert_eq!(rdt.made.len(), 2);
    }

    #[test]
    fn a_group_of_others_stays_as_it_is() {
        let fake = Fake::new();
        fake.fill("gold");
        let before = fake.read("gold/schemata");
        let refused = Rdt::default().update(&fake.dir("gold"), true, &lines(&["L3:0=f"]), NOBODY, &mut |_| Ok(()));
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("gold was there before the container: it is joined, not changed"), "{words}");
        // Nor is one taken that happens to have the container's name.
        let refused = Rdt::default().update(&fake.dir("gold"), false, &lines(&["L3:0=f"]), NOBODY, &mut |_| Ok(()));
        assert!(refused.unwrap_err().to_string().contains("gold is not the container's"));
        assert_eq!(fake.read("gold/schemata"), before);
    }

    #[test]
    fn a_container_without_a_group_gets_one_with_all_its_threads() {
        let fake = Fake::new();
        let dir = fake.dir("box");
        let mut rdt = Rdt::default();
        let mut noted = Vec::new();
        let mut note = |rdt: &Rdt| {
            noted.push(rdt.made.clone());
            Ok(())
        };
        assert!(rdt.make_own(&dir, false, &mut note).unwrap());
        fake.fill("box");
        let rounds = std::cell::Cell::new(0);
        // Somebody is born while the others are moved, and somebody is there no more.
        let threads = || {
            rounds.set(rounds.get() + 1);
            Ok(if rounds.get() == 1 { vec![4242] } else { vec![4242, 4243] })
        };
        rdt.set(&dir, true, &lines(&["L3:0=f"]), &threads, &mut note).unwrap();
        assert_eq!((rounds.get(), &rdt.made), (3, &vec![dir.clone()]));
        assert_eq!(fake.read("box/tasks"), "4243", "the last one that was moved");
        assert!(fake.read("box/schemata").starts_with("L3:0=f\n"));
        assert_eq!(noted, [vec![dir]], "written down before it was made");
    }

    #[test]
    fn a_refused_line_takes_the_new_group_away_again() {
        let fake = Fake::new();
        fake.refuse("mask f0f has non-consecutive 1-bits");
        let mut rdt = Rdt::default();
        let mut noted = Vec::new();
        // The directory stays empty, so nothing can be written.
        let mut note = |rdt: &Rdt| {
            noted.push(rdt.made.len());
            Ok(())
        };
        let refused = rdt.update(&fake.dir("box"), false, &lines(&["L3:0=f0f"]), NOBODY, &mut note);
        let words = refused.unwrap_err().to_string();
        assert!(words.contains("schemata = L3:0=f0f (mask f0f has non-consecutive 1-bits)"), "{words}");
        assert!(!fake.has("box") && rdt.made.is_empty());
        assert_eq!(noted, [1, 0]);
    }
}
