//! `rt spec`: a config.json to begin with. The text is another's; this only puts it where it belongs, and never over a
//! file that is there already.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Result, bail};
use nix::unistd::{getegid, geteuid};

use crate::cli;
use crate::sys::{self, Call, During};

/// Writes what `template` makes of the ids that are to be root inside (none: those that are) to config.json in the bundle.
pub fn spec(args: &cli::Spec, template: impl FnOnce(Option<(u32, u32)>) -> String) -> Result<()> {
    let path = args.bundle.as_deref().unwrap_or(Path::new(".")).join("config.json");
    let about = |e: sys::Error| e.about(path.display().to_string());
    // Made only if it isn't there, which asking first couldn't promise. The mode is what the umask leaves of 0666.
    let mut file = match OpenOptions::new().write(true).create_new(true).open(&path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            bail!("file {} exists, remove it first", path.display());
        }
        opened => opened.during(Call::Openat).map_err(about)?,
    };
    let ids = args.rootless.then(|| (geteuid().as_raw(), getegid().as_raw()));
    file.write_all(template(ids).as_bytes()).during(Call::Write).map_err(about)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn args(dir: &Path, rootless: bool) -> cli::Spec {
        cli::Spec { bundle: Some(dir.to_owned()), rootless }
    }

    #[test]
    fn writes_what_the_template_says_once() {
        let dir = tempfile::tempdir().unwrap();
        spec(&args(dir.path(), false), |ids| format!("{ids:?}")).unwrap();
        let path = dir.path().join("config.json");
        assert_eq!(fs::read_to_string(&path).unwrap(), "None");
        let error = spec(&args(dir.path(), false), |_| "new".to_owned()).unwrap_err().to_string();
        assert!(error.contains("exists, remove it first"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "None");
    }

    #[test]
    fn without_roots_rights_the_caller_is_root_inside() {
        let dir = tempfile::tempdir().unwrap();
        let ids = Some((geteuid().as_raw(), getegid().as_raw()));
        spec(&args(dir.path(), true), |asked| format!("{}", asked == ids)).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("config.json")).unwrap(), "true");
    }

    #[test]
    fn follows_no_link_that_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("elsewhere", dir.path().join("config.json")).unwrap();
        assert!(spec(&args(dir.path(), false), |_| String::new()).is_err());
        assert!(!dir.path().join("elsewhere").try_exists().unwrap());
    }

    #[test]
    fn says_which_directory_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = spec(&args(&dir.path().join("no"), false), |_| String::new()).unwrap_err();
        assert!(error.to_string().contains("no/config.json: no such file or directory"), "{error:#}");
    }
}
