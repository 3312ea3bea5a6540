//! The listener of a filter: how its descriptor gets from init to the agent at `listenerPath`.
//!
//! The kernel gives the descriptor to init, when the filter is in force already: from here on init may make only calls
//! that the filter lets through. So init does as little as can be: one `sendmsg` to the host side, which is not under the
//! filter, sees the agent's path as the caller meant it, and is alive until execve has worked. A filter that stands
//! against `sendmsg` (it notifies it, denies it, kills for it) is known from the profile: then a process that was born
//! before with init's descriptor table (CLONE_FILES) finds the descriptor there and sends it; init calls nothing at all.
//! execve gives init a table of its own, so the descriptor can't be closed under that process.
//!
//! Not `pidfd_getfd` by the host: it wants the right to trace init, which a rootless caller lacks while init is not
//! dumpable, and init would have to wait for it without any call. The price of the other way: that process is init's
//! child, and its end is for the workload to collect, as all orphans in a pid namespace are. Only profiles that stand
//! against `sendmsg` pay it.
//!
//! The agent is connected when there is something to send, one connection for each load: it may have been started again
//! since `create`, and a connection without a message is a fault to it. That something listens there is seen at `create`.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};

use nix::fcntl::OFlag;
use nix::sys::stat::SFlag;
use serde::Serialize;
use serde_json::Value;

use super::profile::{Action, Listener, Profile};
use super::syscalls::Syscall;
use crate::sys::{self, Call, Errno, Error, Result};

/// Who takes the listener's descriptor to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Courier {
    /// Init itself: the filter lets `sendmsg` through.
    Init,
    /// A process with init's descriptor table.
    Sibling,
}

impl Profile {
    /// Who takes the listener to the host; none: there is none.
    pub fn courier(&self) -> Option<Courier> {
        self.listener.as_ref()?;
        let passes = |action: Action| matches!(action, Action::Allow | Action::Log);
        let call = Syscall::named("sendmsg");
        let rules: Vec<_> = self.rules.iter().filter(|rule| Some(rule.syscall) == call).collect();
        let always = passes(self.default) || rules.iter().any(|rule| rule.when.is_empty());
        let never_stopped = rules.iter().all(|rule| passes(rule.action));
        Some(if always && never_stopped { Courier::Init } else { Courier::Sibling })
    }
}

impl fmt::Display for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Courier::Init => "hand the filter's listener over",
            Courier::Sibling => {
                "hand the filter's listener over by a process that shares the descriptors, for the filter stands against sendmsg"
            }
        })
    }
}

/// What the agent reads; the names are the spec's.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: Value,
}

/// Sees that something can be connected to at `path`.
pub fn look_for(path: &str) -> Result<()> {
    let file = sys::fs::open_host(path, OFlag::O_PATH)?;
    if sys::fs::kind(&sys::fs::stat(&file)?) == SFlag::S_IFSOCK {
        return Ok(());
    }
    Err(Error::new(Call::Connect, Errno::ENOTSOCK).about(path))
}

/// Gives the listener to its agent: one connection, one message. `state` is the container's state as JSON, `pid` the
/// process under the filter as the runtime sees it.
pub fn deliver(to: &Listener, oci_version: &str, pid: i32, state: &str, listener: impl AsFd) -> Result<()> {
    let bad = |e: serde_json::Error| Error::other(Call::Send, e.to_string());
    let state = serde_json::from_str(state).map_err(bad)?;
    let fds = ["seccompFd"];
    let message = ContainerProcessState { oci_version, fds, pid, metadata: &to.metadata, state };
    let bytes = serde_json::to_vec(&message).map_err(bad)?;
    let socket = sys::sock::connect_host(&to.path)?;
    sys::sock::send(&socket, &bytes, &[listener.as_fd().as_raw_fd()]).map_err(|e| e.at(&to.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    fn courier(section: Value) -> Option<Courier> {
        let mut section = section;
        section["listenerPath"] = json!("/agent");
        let mut complaints = Vec::new();
        let profile = super::super::lower(&serde_json::from_value(section).unwrap(), &mut complaints);
        profile.unwrap_or_else(|| panic!("{complaints:?}")).courier()
    }

    #[test]
    fn init_sends_itself_where_the_filter_lets_it() {
        let rule = |names: Value, action: &str| json!({"names": names, "action": action});
        let notify = |default: &str, rules: Vec<Value>| json!({"defaultAction": default, "syscalls": rules});
        let acct = rule(json!(["acct"]), "SCMP_ACT_NOTIFY");
        let sends = rule(json!(["sendmsg"]), "SCMP_ACT_ALLOW");
        for (section, expected) in [
            (notify("SCMP_ACT_ALLOW", vec![acct.clone()]), Courier::Init),
            (notify("SCMP_ACT_ERRNO", vec![acct.clone(), sends.clone()]), Courier::Init),
            (notify("SCMP_ACT_ERRNO", vec![acct.clone()]), Courier::Sibling),
            (notify("SCMP_ACT_NOTIFY", vec![]), Courier::Sibling),
            (notify("SCMP_ACT_NOTIFY", vec![sends.clone()]), Courier::Init),
            (notify("SCMP_ACT_ALLOW", vec![rule(json!(["sendmsg"]), "SCMP_ACT_NOTIFY")]), Courier::Sibling),
            (
                notify("SCMP_ACT_ALLOW", vec![acct.clone(), rule(json!(["sendmsg"]), "SCMP_ACT_TRACE")]),
                Courier::Sibling,
            ),
        ] {
            assert_eq!(courier(section.clone()), Some(expected), "{section}");
        }
        let mut under_a_condition = sends;
        under_a_condition["args"] = json!([{"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]);
        assert_eq!(courier(notify("SCMP_ACT_ERRNO", vec![acct.clone(), under_a_condition])), Some(Courier::Sibling));
        assert_eq!(courier(json!({"defaultAction": "SCMP_ACT_ALLOW"})), None, "nothing is notified");
    }

    #[test]
    fn the_agent_reads_one_message_and_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent").to_str().unwrap().to_owned();
        let agent = UnixListener::bind(&path).unwrap();
        look_for(&path).unwrap();
        let to = Listener { path, metadata: "key=\"value\"".into() };
        let state = json!({"id": "box", "pid": 7}).to_string();
        deliver(&to, "1.3.0", 7, &state, &agent).unwrap();
        let mut heard = String::new();
        agent.accept().unwrap().0.read_to_string(&mut heard).unwrap();
        let expected = json!({"ociVersion": "1.3.0", "fds": ["seccompFd"], "pid": 7, "metadata": "key=\"value\"",
                              "state": {"id": "box", "pid": 7}});
        assert_eq!(serde_json::from_str::<Value>(&heard).unwrap(), expected);
    }

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file").to_str().unwrap().to_owned();
        assert_eq!(look_for(&path).unwrap_err().errno, Errno::ENOENT);
        std::fs::write(&path, "").unwrap();
        assert_eq!(look_for(&path).unwrap_err().errno, Errno::ENOTSOCK);
        let to = Listener { path: path.clone(), metadata: String::new() };
        let e = deliver(&to, "1.3.0", 7, "{}", std::io::stdin()).unwrap_err();
        assert_eq!(e.to_string(), format!("connect {path}: connection refused"));
    }
}
