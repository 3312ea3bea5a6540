//! SCMP_ACT_NOTIFY: the agent gets the listener and what it needs to know of the container, and its answers are what the
//! process in the container sees.

mod common;

use common::agent::{Agent, Answer};
use common::{Bundle, Running, json};
use serde_json::Value;

/// A profile that lets everything through, but these calls are for the agent.
fn notifies(bundle: &mut Bundle, agent: &Agent, default: &str, calls: &[&str]) {
    let rules = json!([{"names": calls, "action": "SCMP_ACT_NOTIFY"}]);
    let section = json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules,
                         "listenerPath": agent.path, "listenerMetadata": "for the agent"});
    bundle.set("/linux/seccomp", section);
    bundle.set("/annotations", json!({"org.example.key": "value"}));
    // Two calls to acct(2); then something harmless.
    bundle.set("/process/args", json!(["/probe", "syscall", ACCT.to_string(), ACCT.to_string()]));
}

const ACCT: i64 = libc::SYS_acct;

/// Answers acct with 42, then with EXDEV; everything else is made.
fn answers() -> impl Fn(i64) -> Answer {
    let times = std::cell::Cell::new(0);
    move |call| {
        if call != ACCT {
            return Answer::Continue;
        }
        times.set(times.get() + 1);
        if times.get() == 1 { Answer::Value(42) } else { Answer::Errno(libc::EXDEV) }
    }
}

/// Plays the agent for one container and gives the message and the calls it saw.
fn serve(agent: &Agent, running: Running) -> (Value, Vec<i64>) {
    let (message, calls) = agent.receive();
    let seen = calls.serve(answers());
    assert_eq!(running.wait().ok().stdout, "42\nEXDEV\n");
    (message, seen)
}

#[test]
fn the_agent_is_told_of_the_container_and_its_answers_count() {
    let mut bundle = Bundle::new("notify");
    let agent = Agent::new(&bundle);
    notifies(&mut bundle, &agent, "SCMP_ACT_ALLOW", &["acct"]);
    let running = bundle.run_command().spawn();
    let (message, calls) = agent.receive();
    let pid = bundle.pid();
    let state = json!({"ociVersion": bundle.config["ociVersion"], "id": bundle.id, "status": "created", "pid": pid,
                       "bundle": bundle.text("").trim_end_matches('/'), "annotations": {"org.example.key": "value"}});
    let expected = json!({"ociVersion": bundle.config["ociVersion"], "fds": ["seccompFd"], "pid": pid,
                          "metadata": "for the agent", "state": state});
    assert_eq!(message, expected);
    assert_eq!(calls.serve(answers()), [ACCT, ACCT]);
    assert_eq!(running.wait().ok().stdout, "42\nEXDEV\n");
    assert!(!agent.is_called(), "one connection for one load");
}

#[test]
fn the_agent_may_decide_about_the_calls_that_bring_it_the_listener() {
    // Whatever rt itself would use to send a descriptor, or to end: none of it may be needed after the filter.
    let own = ["sendmsg", "write", "close", "fcntl", "poll", "ppoll", "read", "wait4", "waitid", "exit", "futex"];
    let mut bundle = Bundle::new("notify-own");
    let agent = Agent::new(&bundle);
    let calls: Vec<&str> = own.into_iter().chain(["acct"]).collect();
    notifies(&mut bundle, &agent, "SCMP_ACT_ALLOW", &calls);
    let (message, _) = serve(&agent, bundle.run_command().spawn());
    assert_eq!(message["fds"], json!(["seccompFd"]));
}

#[test]
fn the_agent_may_decide_about_everything() {
    let mut bundle = Bundle::new("notify-all");
    let agent = Agent::new(&bundle);
    notifies(&mut bundle, &agent, "SCMP_ACT_NOTIFY", &["acct"]);
    // cachestat is newer than what execution needs: calls newer than all that are named are ENOSYS.
    bundle.set(
        "/linux/seccomp/syscalls",
        json!([{"names": ["exit_group", "write", "cachestat"], "action": "SCMP_ACT_ALLOW"}]),
    );
    let (_, seen) = serve(&agent, bundle.run_command().spawn());
    assert_eq!(seen[0], libc::SYS_execve, "nothing before what executes the workload");
}

#[test]
fn a_filter_that_denies_sendmsg_still_gets_its_agent() {
    for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS"] {
        let mut bundle = Bundle::new("notify-deny");
        let agent = Agent::new(&bundle);
        notifies(&mut bundle, &agent, "SCMP_ACT_ALLOW", &["acct"]);
        bundle.set("/linux/seccomp/syscalls/-", json!({"names": ["sendmsg", "close"], "action": action}));
        serve(&agent, bundle.run_command().spawn());
    }
}

#[test]
fn a_created_container_calls_its_agent_when_it_is_started() {
    for also in [&["acct"][..], &["acct", "sendmsg"]] {
        let mut bundle = Bundle::new("notify-start");
        let agent = Agent::new(&bundle);
        notifies(&mut bundle, &agent, "SCMP_ACT_ALLOW", also);
        bundle.create().ok();
        assert!(!agent.is_called(), "there is nothing to send yet");
        let pid = bundle.pid();
        let starting = bundle.rt(&["start", &bundle.id]).spawn();
        let (message, calls) = agent.receive();
        assert_eq!(message["pid"], pid);
        starting.wait().ok();
        calls.serve(answers());
        bundle.wait_status("stopped");
        bundle.delete().ok();
    }
}

#[test]
fn an_agent_that_is_not_there_is_an_error_and_nothing_is_left() {
    let mut bundle = Bundle::new("notify-none");
    let agent = Agent::new(&bundle);
    notifies(&mut bundle, &agent, "SCMP_ACT_ALLOW", &["acct"]);
    bundle.set("/linux/seccomp/listenerPath", json!("/run/no-such-agent"));
    bundle.run().fails(&["/linux/seccomp/listenerPath", "/run/no-such-agent: no such file or directory"]);
    bundle.nothing_left();
    // The socket is there, but nobody listens any more: found when there is something to send.
    let path = agent.path.clone();
    bundle.set("/linux/seccomp/listenerPath", json!(path));
    drop(agent);
    for also in [&["acct"][..], &["acct", "sendmsg"]] {
        bundle.set("/linux/seccomp/syscalls/0/names", json!(also));
        let words = ["/linux/seccomp/listenerPath: connect", "agent.sock: connection refused"];
        bundle.run().fails(&words);
        bundle.nothing_left();
        bundle.create().ok();
        bundle.start().fails(&words);
        bundle.nothing_left();
    }
}

#[test]
fn without_notifications_the_path_is_ignored() {
    let mut bundle = Bundle::new("notify-not");
    let section = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/no-such-agent"});
    bundle.set("/linux/seccomp", section).args(["/bin/true"]);
    bundle.run().ok();
}

#[test]
fn explain_says_who_sends() {
    let mut bundle = Bundle::new("notify-explain");
    let agent = Agent::new(&bundle);
    notifies(&mut bundle, &agent, "SCMP_ACT_ALLOW", &["acct"]);
    bundle.save();
    let said = bundle.rt(&["explain", &bundle.text("")]).run().ok().stdout;
    assert!(said.contains(&format!("look for the seccomp agent at {}", agent.path)), "{said}");
    assert!(said.contains("hand the filter's listener over    <-"), "{said}");
    bundle.set("/linux/seccomp/defaultAction", json!("SCMP_ACT_NOTIFY"));
    bundle.save();
    let said = bundle.rt(&["explain", &bundle.text("")]).run().ok().stdout;
    assert!(said.contains("by a process that shares the descriptors"), "{said}");
}
