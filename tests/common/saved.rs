//! A container that can be seen to go on after it was saved, and the CRIU that saves it.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::{Bundle, Output, Runtime, patience, wait_until};

/// Where CRIU is; without one that works here there is nothing to be tested.
pub fn criu() -> Option<String> {
    let new_enough = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let major = text.lines().find_map(|l| l.strip_prefix("Version: ")?.split('.').next()?.parse::<u32>().ok())?;
        (major >= 4).then(|| program.to_owned())
    };
    let asked = std::env::var("RT_CRIU").ok();
    let places = ["/usr/sbin/criu", "/usr/local/sbin/criu", "/var/tmp/rt-criu/criu"];
    asked.iter().map(String::as_str).chain(places).find_map(new_enough)
}

/// Ends a test where CRIU is not or cannot work.
#[macro_export]
macro_rules! need_criu {
    () => {
        if $crate::common::kernel::user_mode_linux() {
            $crate::skip!("CRIU saves nothing under user-mode Linux");
        }
        if $crate::common::saved::criu().is_none() {
            $crate::skip!("no CRIU of version 4 or newer: conformance/criu/fetch");
        }
    };
}

/// A bundle whose process counts, with what it takes along.
pub fn counting(name: &str, how: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(name);
    let words: Vec<&str> = ["/probe", "count", "/tmp"].iter().chain(how).copied().collect();
    bundle.set("/process/args", json!(words));
    // The default config's stdio is files of the host.
    bundle
}

/// What is done with such a container.
pub trait Saved {
    /// Where the images are put.
    fn images(&self) -> String;
    /// An invocation that knows where CRIU is.
    fn verb(&self, words: &[&str]) -> Runtime;
    /// `checkpoint`, to the end.
    fn checkpoint(&self, flags: &[&str]) -> Output;
    /// `restore`, ready to be changed and started.
    fn restore_command(&self, flags: &[&str]) -> Runtime;
    /// `restore`, to the end.
    fn restore(&self, flags: &[&str]) -> Output;
    /// Creates, starts, and waits until it has counted a while.
    fn begin(&self);
    /// How far it has counted.
    fn counted(&self) -> u64;
    /// Waits until it has counted further than that.
    fn counts_past(&self, number: u64) -> u64;
    /// How often it has begun.
    fn begun(&self) -> usize;
    /// Lets it exit with this code.
    fn stop(&self, code: i32);
}

impl Saved for Bundle {
    fn images(&self) -> String {
        self.text("images")
    }

    fn verb(&self, words: &[&str]) -> Runtime {
        self.rt(words).env("RT_CRIU", &criu().expect("looked for before"))
    }

    fn checkpoint(&self, flags: &[&str]) -> Output {
        let images = self.images();
        self.verb(&[&["checkpoint", "--image-path", &images], flags, &[self.id.as_str()]].concat()).run()
    }

    fn restore_command(&self, flags: &[&str]) -> Runtime {
        self.save();
        let (base, images) = (self.text(""), self.images());
        let words = ["restore", "--bundle", &base, "--image-path", &images];
        self.verb(&[&words, flags, &[self.id.as_str()]].concat())
    }

    fn restore(&self, flags: &[&str]) -> Output {
        self.restore_command(flags).run()
    }

    fn begin(&self) {
        self.create().ok();
        self.start().ok();
        self.counts_past(10);
    }

    fn counted(&self) -> u64 {
        let places = ["rootfs/tmp/count", "elsewhere/count"].map(|place| fs::read_to_string(self.path(place)));
        let text = places.into_iter().flatten().next().unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    fn counts_past(&self, number: u64) -> u64 {
        let found = wait_until(patience(), || Some(self.counted()).filter(|now| *now > number));
        found.unwrap_or_else(|| panic!("{} counts no further than {}", self.id, self.counted()))
    }

    fn begun(&self) -> usize {
        fs::read_to_string(self.path("rootfs/tmp/begun")).unwrap_or_default().lines().count()
    }

    fn stop(&self, code: i32) {
        // All of it at once: it is looked for all the time.
        let draft = self.path("rootfs/tmp/stop.draft");
        fs::write(&draft, code.to_string()).expect("a file");
        fs::rename(draft, self.path("rootfs/tmp/stop")).expect("its name");
    }
}

/// Saves it, brings it back, and sees that it goes on and is the same.
pub fn round_trip(bundle: &Bundle, saving: &[&str], bringing: &[&str]) {
    bundle.begin();
    bundle.checkpoint(saving).ok();
    assert_eq!(bundle.status(), "gone");
    bundle.nothing_left();
    let before = bundle.counted();
    bundle.restore(&[&["--detach"], bringing].concat()).ok();
    assert_eq!(bundle.status(), "running");
    bundle.counts_past(before);
    assert_eq!(bundle.begun(), 1, "it went on, it did not begin again");
}

/// Ends it.
pub fn finish(bundle: &Bundle) {
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
    bundle.nothing_left();
}
