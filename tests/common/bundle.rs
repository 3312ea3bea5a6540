//! A throw-away bundle: temporary directory, root file system with the probe and busybox, config, state root.
//!
//! Dropping it asserts that nothing is left of it on this machine; so every test has that oracle.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::machine::{Machine, Marks};
use super::runtime::{Output, Running, Runtime};
use super::{children, config, patience, wait_until};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One container to be: its files, its config, its unique id.
pub struct Bundle {
    /// The container's id; also `RT_TEST_ID` in the environment of all its processes, and part of its cgroup's name.
    pub id: String,
    /// The config, to be edited freely; written at each invocation.
    pub config: Value,
    base: TempDir,
    state: PathBuf,
    before: Machine,
    made: Cell<bool>,
}

impl Bundle {
    /// A bundle with the default config. `name` is for people.
    pub fn new(name: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "the root integration tests must be run as root");
        children::adopt();
        let id = format!("rtt-{name}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let base = tempfile::Builder::new().prefix(&format!("{id}.")).tempdir().expect("a temporary directory");
        // Mapped roots must be able to walk through.
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let (config, state) = (config::default(&id), base.path().join("state"));
        let bundle = Self { config, before: Machine::now(), id, base, state, made: Cell::new(false) };
        bundle.fill_rootfs();
        bundle
    }

    /// Another container that shares this one's state root: for joined namespaces.
    pub fn beside(&self, name: &str) -> Self {
        let mut other = Bundle::new(name);
        other.state = self.state_root();
        other.config["hostname"] = json!("rt-beside");
        other
    }

    fn fill_rootfs(&self) {
        for directory in ["bin", "etc", "dev", "proc", "sys", "tmp", "root", "home/app", "mnt", "etc/sub"] {
            fs::create_dir_all(self.rootfs().join(directory)).expect("a directory in the rootfs");
        }
        fs::create_dir_all(self.base.path().join("state")).expect("the state root");
        fs::set_permissions(self.path("rootfs/tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
        bring(&Runtime::probe(), &self.path("rootfs/probe"));
        bring(&busybox(), &self.path("rootfs/bin/busybox"));
        for applet in ["sh", "true", "false", "sleep", "cat", "ls", "echo", "test"] {
            symlink("busybox", self.rootfs().join("bin").join(applet)).expect("a link");
        }
        self.write("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n");
        self.write("rootfs/etc/group", "root:x:0:\napp:x:1000:\n");
    }

    /// The temporary directory that holds everything.
    pub fn base(&self) -> &Path {
        self.base.path()
    }

    /// A path below the temporary directory; `rootfs/…` is in the root file system.
    pub fn path(&self, below: &str) -> PathBuf {
        self.base.path().join(below)
    }

    /// The same as text, for a config.
    pub fn text(&self, below: &str) -> String {
        self.path(below).to_str().expect("a temporary path is text").to_owned()
    }

    /// The root file system.
    pub fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// What `--root` gets.
    pub fn state_root(&self) -> PathBuf {
        self.state.clone()
    }

    /// Writes a file below the temporary directory, with its parents; mode 0644.
    pub fn write(&self, below: &str, content: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("a parent")).expect("the parent directories");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        path
    }

    /// Writes an executable file.
    pub fn script(&self, below: &str, content: &str) -> PathBuf {
        let path = self.write(below, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        path
    }

    /// Makes a directory below the temporary directory.
    pub fn directory(&self, below: &str) -> PathBuf {
        fs::create_dir_all(self.path(below)).expect("a directory");
        self.path(below)
    }

    /// Sets the value at an RFC 6901 pointer, with the objects on the way; a last `-` appends to a list.
    pub fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        place(&mut self.config, pointer, value);
        self
    }

    /// Takes the value at a pointer away.
    pub fn remove(&mut self, pointer: &str) -> &mut Self {
        let (parent, last) = pointer.rsplit_once('/').expect("a pointer");
        match self.config.pointer_mut(parent).expect("the parent exists") {
            Value::Object(map) => _ = map.remove(last),
            Value::Array(list) => _ = list.remove(last.parse().expect("an index")),
            other => panic!("{other} has no members"),
        }
        self
    }

    /// Sets process.args.
    pub fn args<const N: usize>(&mut self, words: [&str; N]) -> &mut Self {
        self.config["process"]["args"] = words.iter().map(|word| json!(word)).collect();
        self
    }

    /// Appends a mount.
    pub fn mount(&mut self, destination: &str, kind: &str, source: &str, options: &[&str]) -> &mut Self {
        let mount = json!({"destination": destination, "type": kind, "source": source, "options": options});
        self.set("/mounts/-", mount)
    }

    /// Keeps only these namespaces, all of them new.
    pub fn namespaces(&mut self, kinds: &[&str]) -> &mut Self {
        let list: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
        self.set("/linux/namespaces", list.into())
    }

    /// Takes one namespace out of the list: it is inherited.
    pub fn without_namespace(&mut self, kind: &str) -> &mut Self {
        let list = self.config["linux"]["namespaces"].as_array_mut().expect("the list of namespaces");
        list.retain(|entry| entry["type"] != kind);
        self
    }

    /// Gives one namespace a path to join.
    pub fn join(&mut self, kind: &str, path: &str) -> &mut Self {
        self.without_namespace(kind);
        self.set("/linux/namespaces/-", json!({"type": kind, "path": path}))
    }

    /// Gives the process more capabilities (bounding, effective, permitted).
    pub fn grant(&mut self, names: &[&str]) -> &mut Self {
        for set in ["bounding", "effective", "permitted"] {
            for name in names {
                self.set(&format!("/process/capabilities/{set}/-"), json!(name));
            }
        }
        self
    }

    /// Writes config.json.
    pub fn save(&self) {
        self.write("config.json", &self.config.to_string());
    }

    /// A runtime invocation with this bundle's state root: `bundle.rt(&["state", &bundle.id])`.
    pub fn rt(&self, words: &[&str]) -> Runtime {
        Runtime::new(self, words)
    }

    /// `run` with this bundle, ready to be changed and started.
    pub fn run_command(&self) -> Runtime {
        self.save();
        self.rt(&["run", "--bundle", &self.text(""), &self.id])
    }

    /// `run` in the foreground, to the end.
    pub fn run(&self) -> Output {
        self.run_command().run()
    }

    /// `create` with this bundle, ready to be changed and started.
    pub fn create_command(&self) -> Runtime {
        self.save();
        self.made.set(true);
        self.rt(&["create", "--bundle", &self.text(""), "--pid-file", &self.text("pid"), &self.id])
    }

    /// `create`, to the end.
    pub fn create(&self) -> Output {
        self.create_command().run()
    }

    /// `start`.
    pub fn start(&self) -> Output {
        self.rt(&["start", &self.id]).run()
    }

    /// `delete`.
    pub fn delete(&self) -> Output {
        let output = self.rt(&["delete", &self.id]).run();
        if output.success() {
            self.made.set(false);
        }
        output
    }

    /// `kill ID SIGNAL`.
    pub fn kill(&self, signal: &str) -> Output {
        self.rt(&["kill", &self.id, signal]).run()
    }

    /// The state document.
    pub fn state(&self) -> Value {
        self.rt(&["state", &self.id]).run().ok().json()
    }

    /// The status, or `gone`.
    pub fn status(&self) -> String {
        let output = self.rt(&["state", &self.id]).run();
        if output.success() { output.json()["status"].as_str().expect("a status").to_owned() } else { "gone".into() }
    }

    /// Waits until the container has this status.
    pub fn wait_status(&self, wanted: &str) {
        let end = wait_until(patience(), || (self.status() == wanted).then_some(()));
        assert!(end.is_some(), "{} never became {wanted}, it is {}", self.id, self.status());
    }

    /// Init's pid, as seen from here.
    pub fn pid(&self) -> i64 {
        self.state()["pid"].as_i64().expect("a pid")
    }

    /// Runs the probe's fingerprint in the container and gives it back; it must succeed.
    pub fn fingerprint(&mut self, options: &[&str]) -> Value {
        let words = ["/probe", "fingerprint"].iter().chain(options);
        self.config["process"]["args"] = words.map(|word| json!(word)).collect();
        self.run().ok().json()
    }

    /// `run` of a command that says `ready`; comes back when it has said so.
    pub fn run_until_ready(&self) -> Running {
        let running = self.run_command().spawn();
        running.wait_for("ready");
        running
    }

    /// What identifies this bundle's traces on the machine.
    pub fn marks(&self) -> Marks {
        Marks { id: self.id.clone(), base: self.base.path().to_owned(), state: self.state_root() }
    }

    /// What is left of this bundle, one line each.
    pub fn leaks(&self) -> Vec<String> {
        self.before.leaks(&self.marks())
    }

    /// Asserts that nothing is left: no process, cgroup, mount, state, keyring, network device, temporary file.
    pub fn nothing_left(&self) {
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "{} left behind:\n  {}", self.id, leaks.join("\n  "));
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if self.made.get() {
            // A test that fails half-way leaves its container; `delete --force` is part of what the others assert.
            let _ = self.rt(&["delete", "--force", &self.id]).try_run();
        }
        let leaks = self.leaks();
        self.before.clean(&self.marks());
        if !leaks.is_empty() && !std::thread::panicking() {
            panic!("{} left behind:\n  {}", self.id, leaks.join("\n  "));
        }
    }
}

/// Puts a program into the rootfs: a hard link, or a copy where that cannot be.
fn bring(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap_or_else(|e| panic!("copy {}: {e}", from.display()));
    }
}

fn busybox() -> PathBuf {
    let places = ["/bin/busybox", "/usr/bin/busybox"];
    let found = places.iter().map(PathBuf::from).find(|path| fs::metadata(path).is_ok());
    found.expect("busybox is missing: apt-get install busybox-static")
}

/// Sets the value at `pointer`, making objects on the way.
fn place(root: &mut Value, pointer: &str, value: Value) {
    let mut here = root;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        if here.is_null() {
            *here = json!({});
        }
        assert!(here.is_object() || here.is_array(), "{pointer}: {here} has no members");
        if let Value::Array(list) = here {
            let index = if token == "-" { list.len() } else { token.parse().expect("an index") };
            if index == list.len() {
                list.push(Value::Null);
            }
            here = list.get_mut(index).expect("an entry of the list");
        } else {
            here = here.as_object_mut().expect("an object").entry(token).or_insert(Value::Null);
        }
    }
    *here = value;
}
