//! `hooks`: programs that are run around the container's life. Only what can be known before one is run.

use oci_spec::runtime::{Hook, Hooks};

use super::process::{absolute, environment};
use super::remarks::Remarks;
use crate::error::Rule;

/// How many hooks there may be, all kinds together.
pub const MAX_HOOKS: usize = 256;

/// Looks at all hooks.
pub fn validate(hooks: &Hooks, remarks: &mut Remarks) {
    let mut count = 0;
    for (kind, hooks) in kinds(hooks) {
        for (index, hook) in hooks.iter().flatten().enumerate() {
            check(hook, &format!("/hooks/{kind}/{index}"), remarks);
            count += 1;
        }
    }
    if count > MAX_HOOKS {
        remarks.fault(Rule::TooMany, "/hooks", format!("expected at most {MAX_HOOKS} hooks, got {count}"));
    }
}

/// The six kinds, in the order in which they run.
fn kinds(hooks: &Hooks) -> [(&'static str, &Option<Vec<Hook>>); 6] {
    [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ]
}

fn check(hook: &Hook, base: &str, remarks: &mut Remarks) {
    absolute(hook.path(), || format!("{base}/path"), remarks);
    environment(hook.env().as_deref().unwrap_or_default(), || format!("{base}/env"), remarks);
    if let Some(timeout) = hook.timeout().filter(|timeout| *timeout <= 0) {
        let message = format!("expected seconds, more than 0, got {timeout}; leave it out for no limit");
        remarks.fault(Rule::OutOfRange, format!("{base}/timeout"), message);
    }
}
