//! A record that was damaged from outside: whatever it says, no verb hangs, panics, or signals somebody who is not the
//! container's, and `delete --force` cleans up or says why not.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use common::{Bundle, children, machine};

/// A container that runs, with its record as it is.
fn running(name: &str) -> (Bundle, PathBuf, Vec<u8>) {
    let mut bundle = Bundle::new(name);
    bundle.args(["/probe", "sleep"]);
    bundle.create().ok();
    bundle.start().ok();
    let file = bundle.state_root().join(&bundle.id).join("record");
    let record = fs::read(&file).expect("the record");
    (bundle, file, record)
}

/// Looks, lists and deletes with this record; then puts the right one back, and a new container where that one was deleted.
fn try_with(bundle: &Bundle, file: &PathBuf, right: &mut Vec<u8>, wrong: &[u8]) {
    fs::write(file, wrong).expect("the record");
    let id = bundle.id.clone();
    let all =
        [vec!["state", &id], vec!["list"], vec!["kill", &id, "0"], vec!["ps", &id], vec!["delete", "--force", &id]];
    for words in all {
        let output = bundle.rt(&words).run();
        assert!(!output.stderr.contains("panicked"), "{words:?}: {}", output.stderr);
        assert!(output.code().is_some(), "{words:?} died by a signal");
        assert!(output.success() || !output.stderr.trim().is_empty(), "{words:?} refuses without a word");
    }
    if machine::processes(&id).is_empty() {
        // It was deleted by its record; what is left of that is not.
        let _ = fs::remove_dir_all(file.parent().expect("its directory"));
        bundle.create().ok();
        bundle.start().ok();
        *right = fs::read(file).expect("the record");
    } else {
        fs::create_dir_all(file.parent().expect("its directory")).expect("its directory");
        fs::write(file, &*right).expect("the record");
    }
}

#[test]
fn no_flipped_byte_and_no_cut_hurts_anybody() {
    let (bundle, file, mut right) = running("corrupt");
    let digits = right.windows(5).rposition(|w| w == b"\"pid\"").expect("a pid in the record");
    let mut places: Vec<usize> = (0..right.len()).step_by(right.len() / 12).collect();
    places.extend(digits..digits + 12);
    for place in places {
        let mut wrong = right.clone();
        let at = place.min(wrong.len() - 1);
        wrong[at] ^= if place % 2 == 0 { 0x01 } else { 0x20 };
        try_with(&bundle, &file, &mut right, &wrong);
    }
    for part in [0, 1, 3, 5, 7] {
        let cut = right[..right.len() * part / 8].to_vec();
        try_with(&bundle, &file, &mut right, &cut);
    }
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

fn bystander() -> Child {
    let mut command = Command::new("/bin/sleep");
    children::spawn(command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null())).expect("a process")
}

#[test]
fn a_record_that_names_somebody_else_gets_nobody_killed() {
    let (bundle, file, mut right) = running("corrupt-pid");
    let mut stranger = bystander();
    let text = String::from_utf8(right.clone()).expect("text");
    let own = bundle.pid().to_string();
    let me = std::process::id().to_string();
    for pid in [stranger.id().to_string().as_str(), me.as_str(), "1", "0", "-1", "2147483647", "4294967296"] {
        let wrong = text.replace(&format!("\"pid\":{own},"), &format!("\"pid\":{pid},"));
        assert_ne!(wrong, text);
        // Only the record is wrong: what is in its cgroup is the container's all the same, and may be ended.
        try_with(&bundle, &file, &mut right, wrong.as_bytes());
        assert!(stranger.try_wait().expect("our own child").is_none(), "pid {pid}: the stranger was ended");
    }
    stranger.kill().expect("our own child");
    stranger.wait().expect("our own child");
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

#[test]
fn things_that_are_no_record_are_no_danger() {
    let (bundle, file, right) = running("corrupt-kind");
    let elsewhere = bundle.write("elsewhere", "untouched\n");
    for kind in ["directory", "link", "fifo"] {
        fs::remove_file(&file).expect("the record");
        match kind {
            "directory" => fs::create_dir(&file).expect("a directory"),
            "link" => std::os::unix::fs::symlink(&elsewhere, &file).expect("a link"),
            _ => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a fifo"),
        }
        for words in [vec!["state", &bundle.id], vec!["list"], vec!["delete", "--force", &bundle.id]] {
            let output = bundle.rt(&words).run();
            assert!(output.code().is_some() && !output.stderr.contains("panicked"), "{kind}: {}", output.stderr);
        }
        assert_eq!(fs::read_to_string(&elsewhere).expect("the file"), "untouched\n");
        let _ = fs::remove_dir_all(file.parent().expect("its directory"));
        fs::create_dir_all(file.parent().expect("its directory")).expect("its directory");
        fs::write(&file, &right).expect("the record");
    }
    bundle.rt(&["delete", "--force", &bundle.id]).run().ok();
}

/// On a busy machine whoever makes a container may stand still between making its directory and writing its record.
#[test]
fn a_container_whose_maker_takes_its_time_is_not_damaged() {
    let (bundle, file, record) = running("slow-maker");
    let id = bundle.id.clone();
    fs::remove_file(&file).expect("the record");
    let asked = bundle.rt(&["state", &id]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(150));
    let draft = file.with_extension("draft");
    fs::write(&draft, &record).and_then(|()| fs::rename(&draft, &file)).expect("the record");
    assert_eq!(asked.wait().ok().json()["status"], "running");
    bundle.rt(&["delete", "--force", &id]).run().ok();
}
