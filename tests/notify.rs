//! NOTIFY_SOCKET: what a workload says of itself reaches whoever started it, and nobody stays behind for that.

mod common;

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use common::{Bundle, Runtime, json, patience, texts};

/// The service manager's end.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    /// Listens in the bundle's directory.
    fn new(bundle: &Bundle) -> Self {
        let path = bundle.path("manager.sock");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_read_timeout(Some(patience())).expect("a time-out");
        Self { path, socket }
    }

    /// Makes it the one that `runtime` reports to.
    fn of(&self, runtime: Runtime) -> Runtime {
        runtime.env("NOTIFY_SOCKET", self.path.to_str().expect("text"))
    }

    /// The next message. Descriptors that come with it are dropped, which is what answers a barrier.
    fn hears(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("nothing was said");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    fn heard_nothing(&self) {
        self.socket.set_nonblocking(true).expect("fcntl");
        assert!(self.socket.recv(&mut [0; 4096]).is_err(), "something was said");
        self.socket.set_nonblocking(false).expect("fcntl");
    }
}

const SPEAKS: &str = "/probe notify STATUS=soon; /probe notify MAINPID=1 READY=1 STATUS=at-work; exec /probe sleep";

fn end(bundle: &Bundle) {
    bundle.kill("KILL").ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn start_comes_back_when_the_workload_is_ready_and_tells_who_it_is() {
    let mut bundle = Bundle::new("notify");
    bundle.args(["/bin/sh", "-c", SPEAKS]);
    let manager = Manager::new(&bundle);
    // As podman and conmon do it, both have the variable.
    manager.of(bundle.create_command()).run().ok();
    manager.heard_nothing();
    let starting = manager.of(bundle.rt(&["start", &bundle.id])).spawn();
    assert_eq!(manager.hears(), "STATUS=soon");
    assert_eq!(manager.hears(), format!("READY=1\nSTATUS=at-work\nMAINPID={}", bundle.pid()));
    assert_eq!(manager.hears(), "BARRIER=1");
    starting.wait().ok();
    // Nobody stays behind; the container's lock is free, and what was made for it goes with it.
    assert_eq!(common::machine::processes(&bundle.id), [bundle.pid() as i32]);
    end(&bundle);
    bundle.nothing_left();
}

#[test]
fn a_detached_run_does_the_same_for_any_user_in_any_namespace() {
    for mapped in [false, true] {
        let mut bundle = Bundle::new("notify-run");
        bundle.args(["/bin/sh", "-c", SPEAKS]).set("/process/user", json!({"uid": 1000, "gid": 1000}));
        bundle.set("/process/env/-", json!("NOTIFY_SOCKET=/somewhere/else"));
        if mapped {
            bundle.set("/linux/namespaces/-", json!({"type": "user"}));
            for map in ["/linux/uidMappings", "/linux/gidMappings"] {
                bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
            }
        }
        // Of an image that is mapped like the container, its root could make the directory.
        bundle.directory("rootfs/run/notify");
        bundle.save();
        let manager = Manager::new(&bundle);
        let running = manager.of(bundle.rt(&["run", "-d", "--bundle", &bundle.text(""), &bundle.id])).spawn();
        assert_eq!(manager.hears(), "STATUS=soon");
        assert_eq!(manager.hears(), format!("READY=1\nSTATUS=at-work\nMAINPID={}", bundle.pid()));
        assert_eq!(manager.hears(), "BARRIER=1");
        running.wait().ok();
        end(&bundle);
    }
}

#[test]
fn in_the_foreground_everything_is_passed_on_and_we_stay_the_main_process() {
    let mut bundle = Bundle::new("notify-foreground");
    bundle.args(["/bin/sh", "-c", "/probe notify READY=1 MAINPID=1; /probe notify STOPPING=1; exit 5"]);
    let manager = Manager::new(&bundle);
    manager.of(bundle.run_command()).run().exits(5);
    assert_eq!(manager.hears(), "READY=1");
    assert_eq!(manager.hears(), "STOPPING=1");
    manager.heard_nothing();
}

#[test]
fn a_workload_that_ends_without_a_word_holds_nobody_up() {
    let mut bundle = Bundle::new("notify-silent");
    bundle.args(["/bin/true"]);
    let manager = Manager::new(&bundle);
    manager.of(bundle.create_command()).run().ok();
    manager.of(bundle.rt(&["start", &bundle.id])).run().ok();
    manager.heard_nothing();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn while_start_waits_others_get_at_the_container() {
    let mut bundle = Bundle::new("notify-wait");
    bundle.args(["/probe", "sleep"]);
    let manager = Manager::new(&bundle);
    manager.of(bundle.create_command()).run().ok();
    let starting = manager.of(bundle.rt(&["start", &bundle.id])).spawn();
    bundle.wait_status("running");
    bundle.kill("KILL").ok();
    starting.wait().ok();
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn who_reports_to_nobody_finds_no_socket() {
    let mut bundle = Bundle::new("notify-none");
    let seen = bundle.fingerprint(&[]);
    assert!(!texts(&seen["env"]).iter().any(|line| line.starts_with("NOTIFY_SOCKET")), "{}", seen["env"]);
    bundle.args(["/bin/test", "-e", "/run/notify"]);
    bundle.run().exits(1);
}

#[test]
fn a_manager_that_is_not_there_is_an_error_that_leaves_nothing() {
    let mut bundle = Bundle::new("notify-gone");
    bundle.args(["/bin/true"]);
    let nowhere = bundle.text("nowhere.sock");
    bundle.run_command().env("NOTIFY_SOCKET", &nowhere).run().fails(&["NOTIFY_SOCKET", "nowhere.sock"]);
    bundle.nothing_left();
}
