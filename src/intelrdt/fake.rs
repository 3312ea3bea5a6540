//! A directory that looks like resctrl, for tests.

use std::fs;
use std::path::Path;

/// A directory that looks like resctrl. The kernel fills a new group by itself; here a test does.
pub(super) struct Fake(tempfile::TempDir);

/// What a new group has.
pub(super) const FULL: &str = "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n";

impl Fake {
    pub(super) fn new() -> Self {
        let fake = Fake(tempfile::tempdir().unwrap());
        fs::create_dir_all(fake.0.path().join("info/MB")).unwrap();
        fs::write(fake.0.path().join("info/MB/bandwidth_gran"), "10\n").unwrap();
        fs::write(fake.0.path().join("info/last_cmd_status"), "ok\n").unwrap();
        fs::create_dir(fake.0.path().join("mon_groups")).unwrap();
        fake.fill("");
        fake
    }

    pub(super) fn dir(&self, group: &str) -> String {
        self.0.path().join(group).to_str().unwrap().trim_end_matches('/').to_owned()
    }

    pub(super) fn fill(&self, group: &str) {
        let dir = self.0.path().join(group);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("tasks"), "").unwrap();
        fs::write(dir.join("schemata"), FULL).unwrap();
    }

    pub(super) fn empty(&self, group: &str) {
        for name in ["tasks", "schemata"] {
            fs::remove_file(self.0.path().join(group).join(name)).unwrap();
        }
    }

    pub(super) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path().join(file)).unwrap()
    }

    pub(super) fn has(&self, group: &str) -> bool {
        Path::new(&self.dir(group)).try_exists().unwrap()
    }

    /// What the kernel says of the last command.
    pub(super) fn refuse(&self, words: &str) {
        fs::write(self.0.path().join("info/last_cmd_status"), format!("{words}\n")).unwrap();
    }
}
