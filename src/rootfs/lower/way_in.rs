//! How the root is opened first and entered last. Pure.

use super::{Input, Lowered, absolute};
use crate::rootfs::{HostOp, InitOp, What};
use crate::step::Step;

/// Whether the root may be attached nowhere until all is in it. In such a tree the new mount API makes mounts, and nothing
/// changes them.
pub(super) fn stays_unseen(input: &Input<'_>, shared: bool, build: &[Step<InitOp>]) -> bool {
    let private = |(flag, _): &(u64, bool)| matches!(*flag, libc::MS_PRIVATE | libc::MS_SLAVE);
    let made = build.iter().all(|step| match &step.op {
        InitOp::Mount(mount) => match mount.what {
            What::Change | What::Filesystem { classic: Some(_), .. } => false,
            _ => mount.propagation.iter().all(private),
        },
        _ => true,
    });
    input.unseen && input.copied_mounts && !input.no_pivot && !shared && made
}

/// The first steps: the root that all the others are about.
pub(super) fn begin(input: &Input<'_>, propagation: Option<(u64, bool)>, unseen: bool, out: &mut Lowered) {
    let path = input.spec.root().as_ref().map(|r| r.path().to_string_lossy().into_owned()).unwrap_or_default();
    let path = absolute(input.bundle, &path);
    let mut steps = Vec::new();
    if input.mount_namespace {
        let private = matches!(propagation, Some((libc::MS_PRIVATE | libc::MS_UNBINDABLE, _)));
        let flag = if private { libc::MS_PRIVATE } else { libc::MS_SLAVE };
        steps.push(Step::default(
            "mounts of the container must not reach the host",
            InitOp::Isolate { propagation: flag },
        ));
    }
    let open = HostOp::OpenRoot { path: path.clone() };
    let attach = InitOp::AttachRoot { path: (input.mount_namespace && !unseen).then_some(path) };
    if unseen {
        // A tree that is attached nowhere takes mounts from the mount namespace that it was cloned in.
        steps.push(Step::asked("/root/path", InitOp::Open(open)));
    } else {
        out.prepare.insert(0, Step::asked("/root/path", open));
    }
    steps.push(Step::asked("/root/path", attach));
    out.build.splice(0..0, steps);
}

/// The last steps: into the root, and what makes it read-only.
pub(super) fn end(input: &Input<'_>, propagation: Option<(u64, bool)>, unseen: bool, out: &mut Lowered) {
    let way_in = match (input.mount_namespace, input.no_pivot) {
        (true, false) => {
            let op = if unseen { InitOp::Exchange } else { InitOp::Pivot };
            Step::default("the container sees its root only", op)
        }
        (true, true) => Step::default("--no-pivot", InitOp::Chroot { cover: true }),
        (false, _) => Step::default("no mount namespace of its own", InitOp::Chroot { cover: false }),
    };
    out.enter.push(way_in);
    if let Some((flag, tree)) = propagation
        && input.mount_namespace
    {
        out.enter.push(Step::asked("/linux/rootfsPropagation", InitOp::Propagation { flag, tree }));
    }
    out.enter.append(&mut out.later);
    if input.spec.root().as_ref().is_some_and(|r| r.readonly() == Some(true)) {
        out.enter.push(Step::asked("/root/readonly", InitOp::ReadonlyRoot));
    }
}
