//! `rt wait`: waits for the end of a container's first process, and exits as it did.

use anyhow::{Context, Result, bail};

use super::{missing, store};
use crate::cli::{Global, Wait};
use crate::state;
use crate::sys;

/// Waits; the value is the exit code, 128 and the signal for one that was killed.
pub fn wait(global: &Global, args: &Wait) -> Result<u8> {
    let record = store(global, false).and_then(|s| s.read(&args.id)).map_err(missing)?;
    let init = record.init().context("container not running")?;
    let Some(pidfd) = record.alive()? else {
        // Nobody keeps exit codes: who was not there when it ended can't know.
        bail!("container not running: its exit code was for its parent");
    };
    sys::process::wait_readable(&pidfd, None)?;
    let ended = state::ending(init, &pidfd);
    let ended = ended.context("the container has ended, but this kernel does not tell how (Linux 6.15 does)")?;
    Ok(ended.code() as u8)
}
