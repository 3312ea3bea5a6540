//! Terminals: the console socket, the foreground pty with its window, what must be refused.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::caller::owns_terminal;
use common::terminal::{ConsoleSocket, Terminal};
use common::{Bundle, Canary, Output, json};
use nix::sys::termios::LocalFlags;
use serde_json::Value;

fn with_terminal(name: &str, words: &[&str]) -> Bundle {
    let mut bundle = Bundle::new(name);
    bundle.set("/process/terminal", json!(true)).set("/process/args", json!(words));
    bundle
}

fn create(bundle: &Bundle, socket: &ConsoleSocket) -> Output {
    bundle.save();
    let words = ["create", "--bundle", &bundle.text(""), "--console-socket", &socket.path, &bundle.id];
    bundle.rt(&words).run()
}

/// Starts what was created with a fingerprint into /tmp/seen, and gives what it saw.
fn seen_by(bundle: &Bundle) -> Value {
    bundle.start().ok();
    bundle.wait_status("stopped");
    let bytes = fs::read(bundle.path("rootfs/tmp/seen")).expect("the fingerprint was written");
    bundle.delete().ok();
    serde_json::from_slice(&bytes).expect("JSON")
}

const FINGERPRINT: [&str; 6] = ["/probe", "fingerprint", "--out", "/tmp/seen", "--stat", "/dev/console"];

#[test]
fn the_master_comes_over_the_console_socket_and_the_slave_is_stdio() {
    let bundle = with_terminal("console", &FINGERPRINT);
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).ok();
    let (_master, name) = socket.receive();
    assert!(!name.is_empty(), "the message has a body");
    let seen = seen_by(&bundle);
    assert_eq!(seen["tty"]["isatty"], json!([true, true, true]));
    assert_eq!(seen["tty"]["controlling"], true);
    assert_ne!(seen["tty"]["tty_nr"], 0);
    assert_eq!(seen["tty"]["name"], "/dev/pts/0", "it is of the container's own devpts");
    assert_eq!(seen["stat"]["/dev/console"]["type"], "char");
    assert_eq!(seen["stat"]["/dev/console"]["rdev"], json!([136, 0]));
    let fds: Vec<&Value> = seen["fds"].as_array().expect("descriptors").iter().map(|fd| &fd["fd"]).collect();
    assert_eq!(fds, [0, 1, 2]);
}

#[test]
fn what_is_typed_arrives_and_what_is_printed_comes_back() {
    let bundle = with_terminal("echo", &["/probe", "tty-echo"]);
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).ok();
    let (mut master, _) = socket.receive();
    bundle.start().ok();
    master.wait_for("ready");
    master.type_line("hello there");
    master.wait_for("heard hello there");
    master.type_line("quit");
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn the_window_has_the_size_of_the_config() {
    let mut bundle = with_terminal("size", &FINGERPRINT);
    bundle.set("/process/consoleSize", json!({"height": 33, "width": 111}));
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).ok();
    let (_master, _) = socket.receive();
    assert_eq!(seen_by(&bundle)["tty"]["size"], json!([33, 111]));
}

#[test]
fn the_owner_of_the_master_can_resize_and_interrupt() {
    let bundle = with_terminal("resize", &["/probe", "tty-size"]);
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).ok();
    let (mut master, _) = socket.receive();
    bundle.start().ok();
    master.wait_for("size ");
    master.resize(44, 132);
    master.wait_for("size 44 132");
    master.type_line("quit");
    bundle.wait_status("stopped");
    bundle.delete().ok();
}

#[test]
fn the_terminal_belongs_to_the_user_of_the_container() {
    let mut bundle = with_terminal("owner", &["/probe", "fingerprint", "--out", "/tmp/seen", "--stat", "/dev/pts/0"]);
    bundle.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).ok();
    let (_master, _) = socket.receive();
    let seen = seen_by(&bundle);
    assert_eq!(seen["stat"]["/dev/pts/0"]["uid"], 1000);
    assert_eq!(seen["tty"]["controlling"], true);
}

#[test]
fn a_terminal_works_in_a_user_namespace() {
    let mut bundle = with_terminal("userns", &FINGERPRINT);
    bundle.set("/linux/namespaces/-", json!({"type": "user"}));
    for map in ["/linux/uidMappings", "/linux/gidMappings"] {
        bundle.set(map, json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]));
    }
    fs::set_permissions(bundle.path("rootfs/tmp"), std::os::unix::fs::PermissionsExt::from_mode(0o1777))
        .expect("chmod");
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).ok();
    let (_master, _) = socket.receive();
    let seen = seen_by(&bundle);
    assert_eq!(seen["tty"]["isatty"], json!([true, true, true]));
    assert_eq!(seen["tty"]["controlling"], true);
}

#[test]
fn a_terminal_and_no_console_socket_is_refused_at_create() {
    let bundle = with_terminal("nosocket", &["/bin/true"]);
    bundle.create().fails(&["console"]);
    bundle.nothing_left();
    bundle.save();
    bundle.rt(&["run", "--detach", "--bundle", &bundle.text(""), &bundle.id]).run().fails(&["console"]);
    bundle.nothing_left();
}

#[test]
fn a_console_socket_and_no_terminal_is_refused() {
    let mut bundle = Bundle::new("noterminal");
    bundle.args(["/bin/true"]);
    let socket = ConsoleSocket::new(&bundle);
    create(&bundle, &socket).fails(&["console"]);
    bundle.nothing_left();
}

#[test]
fn a_console_socket_that_is_not_there_is_an_error_that_names_it() {
    let bundle = with_terminal("lost", &["/bin/true"]);
    bundle.save();
    let path = bundle.text("no.sock");
    let words = ["create", "--bundle", &bundle.text(""), "--console-socket", &path, &bundle.id];
    bundle.rt(&words).run().fails(&["no.sock", "no such file or directory"]);
    bundle.nothing_left();
}

#[test]
fn links_in_the_image_s_dev_do_not_catch_the_console() {
    let mut bundle = with_terminal("hostile", &["/bin/true"]);
    let canary = Canary::plant(&bundle.path("canary"));
    for _ in 0..4 {
        bundle.remove("/mounts/1"); // /dev is the image's
    }
    for name in ["console", "ptmx", "pts"] {
        let target = if name == "pts" { canary.root().join("pts") } else { canary.root().join("secret") };
        symlink(target, bundle.rootfs().join("dev").join(name)).expect("a link");
    }
    let socket = ConsoleSocket::new(&bundle);
    let _ = create(&bundle, &socket); // refused or not: nothing outside may be touched
    canary.untouched();
}

/// `run` on a pty of the host, as from a shell.
fn run_on(bundle: &Bundle, rows: u16, columns: u16) -> (Terminal, common::Running) {
    let (master, slave) = Terminal::open(rows, columns);
    let copy = || slave.try_clone().expect("another descriptor");
    let running = bundle.run_command().stdin(copy()).before_exec(owns_terminal).spawn_with(copy(), copy());
    (master, running)
}

#[test]
fn a_foreground_run_connects_the_caller_s_terminal() {
    let bundle = with_terminal("foreground", &["/probe", "tty-echo"]);
    let (mut master, running) = run_on(&bundle, 24, 80);
    master.wait_for("ready");
    assert!(!master.local_flags().contains(LocalFlags::ICANON), "the caller's terminal is raw meanwhile");
    master.type_line("hello there");
    master.wait_for("heard hello there");
    master.type_line("quit");
    running.wait().ok();
    assert!(master.local_flags().contains(LocalFlags::ICANON | LocalFlags::ECHO), "and as before afterwards");
}

#[test]
fn a_foreground_run_has_the_caller_s_window_and_follows_it() {
    let bundle = with_terminal("window", &["/probe", "tty-size"]);
    let (mut master, running) = run_on(&bundle, 31, 97);
    master.wait_for("size 31 97");
    master.resize(52, 140);
    master.wait_for("size 52 140");
    master.type_line("quit");
    running.wait().ok();
}

#[test]
fn an_interrupt_typed_in_a_foreground_run_reaches_the_container() {
    let bundle =
        with_terminal("interrupt", &["/bin/sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 1; done"]);
    let (mut master, running) = run_on(&bundle, 24, 80);
    master.wait_for("ready");
    master.type_byte(3);
    running.wait().exits(9);
}

#[test]
fn the_terminal_is_restored_when_the_container_dies_by_a_signal() {
    let bundle = with_terminal("restored", &["/probe", "sleep"]);
    let (mut master, running) = run_on(&bundle, 24, 80);
    master.wait_for("ready");
    bundle.kill("KILL").ok();
    running.wait().exits(137);
    assert!(master.local_flags().contains(LocalFlags::ICANON | LocalFlags::ECHO));
}

#[test]
fn without_a_terminal_the_payload_is_not_in_the_caller_s_session() {
    let mut bundle = Bundle::new("session");
    bundle.args(["/probe", "fingerprint", "--out", "/tmp/seen"]);
    let (_master, running) = run_on(&bundle, 24, 80);
    running.wait().ok();
    let seen: Value =
        serde_json::from_slice(&fs::read(bundle.path("rootfs/tmp/seen")).expect("written")).expect("JSON");
    assert_eq!(seen["tty"]["controlling"], false, "or it could push input into the caller's terminal");
    assert_eq!(seen["tty"]["tty_nr"], 0);
    assert_eq!(seen["sid"], 1);
}

#[test]
fn a_payload_cannot_type_into_the_caller_s_terminal() {
    let mut bundle = Bundle::new("tiocsti");
    // ioctl(0, TIOCSTI, "x"): the container's stdin is the caller's terminal.
    bundle.set("/process/args", json!(["/probe", "syscall", format!("{},0,{},x", libc::SYS_ioctl, libc::TIOCSTI)]));
    let (mut master, running) = run_on(&bundle, 24, 80);
    running.wait().ok();
    let heard = master.heard().to_owned();
    assert!(["EPERM", "EIO", "ENOTTY"].iter().any(|errno| heard.starts_with(errno)), "{heard}");
}
