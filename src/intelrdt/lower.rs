//! `linux.intelRdt` → which group, what it shall have, and who joins it. Pure.

use oci_spec::runtime::Spec;

use super::{Op, schemata};
use crate::error::ConfigError;
use crate::facts::Facts;
use crate::step::Step;

const POINTER: &str = "/linux/intelRdt";

/// The steps, by stage.
#[derive(Debug, Default)]
pub struct Lowered {
    /// Host, before the birth.
    pub prepare: Vec<Step<Op>>,
    /// Host, after the birth.
    pub adopt: Vec<Step<Op>>,
}

/// The directory of a container's group: the one that its config names, else one of its own name.
pub fn group(mount: &str, named: Option<&str>, id: &str) -> String {
    match named {
        Some("/") => mount.to_owned(),
        name => format!("{}/{}", mount.trim_end_matches('/'), name.unwrap_or(id)),
    }
}

/// Lowers the section. Without it nothing of resctrl is touched.
pub fn lower(spec: &Spec, facts: &Facts, id: &str, complaints: &mut Vec<ConfigError>) -> Lowered {
    let mut out = Lowered::default();
    let Some(asked) = spec.linux().as_ref().and_then(|l| l.intel_rdt().as_ref()) else { return out };
    let Some(mount) = &facts.resctrl else {
        let message =
            "resctrl is not mounted (on a CPU with Intel RDT or AMD QoS: mount -t resctrl resctrl /sys/fs/resctrl)";
        complaints.push(ConfigError::at(POINTER, message));
        return out;
    };
    let named = asked.clos_id().as_deref().filter(|g| !g.is_empty());
    let dir = group(mount, named, id);
    let own = asked.schemata().clone().unwrap_or_default();
    let lines = schemata::merge(asked.l3_cache_schema().as_deref(), asked.mem_bw_schema().as_deref(), &own);
    let pointer = |name: &str| format!("{POINTER}/{name}");
    let must_exist = named.is_some() && lines.is_empty();
    let found = Op::Group { dir: dir.clone(), must_exist };
    out.prepare.push(match named {
        Some(_) => Step::asked(pointer("closID"), found),
        None => Step::asked(POINTER, found),
    });
    if !lines.is_empty() {
        let asking = if own.is_empty() { POINTER.to_owned() } else { pointer("schemata") };
        out.prepare.push(Step::asked(asking, Op::Schemata { dir: dir.clone(), lines }));
    }
    let mut dirs = vec![dir.clone()];
    if asked.enable_monitoring() == &Some(true) {
        let monitor = format!("{}/mon_groups/{id}", dir.trim_end_matches('/'));
        out.prepare.push(Step::asked(pointer("enableMonitoring"), Op::Monitor { dir: monitor.clone() }));
        dirs.push(monitor);
    }
    out.adopt.push(Step::asked(POINTER, Op::Assign { dirs }));
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn lowered(rdt: Value, resctrl: Option<&str>) -> Result<Vec<String>, String> {
        let spec = serde_json::from_value(json!({"ociVersion": "1.3.0", "linux": {"intelRdt": rdt}})).unwrap();
        let facts = Facts { resctrl: resctrl.map(str::to_owned), ..Facts::default() };
        let mut complaints = Vec::new();
        let out = lower(&spec, &facts, "box", &mut complaints);
        match complaints.pop() {
            Some(complaint) => Err(complaint.to_string()),
            None => Ok(out.prepare.iter().chain(&out.adopt).map(|s| format!("{} {}", s.origin, s.op)).collect()),
        }
    }

    #[test]
    fn a_group_of_its_own_is_named_like_the_container() {
        let words = lowered(json!({"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20"}), Some("/r")).unwrap();
        assert_eq!(
            words,
            [
                "/linux/intelRdt find resctrl group /r/box, or make it",
                "/linux/intelRdt /r/box/schemata = L3:0=f MB:0=20, or check that a group which was there has them",
                "/linux/intelRdt join resctrl group /r/box",
            ]
        );
        assert_eq!(lowered(json!({}), Some("/r")).unwrap().len(), 2);
    }

    #[test]
    fn a_named_group_without_schemata_must_be_there() {
        let words = lowered(json!({"closID": "gold", "enableMonitoring": true}), Some("/r")).unwrap();
        assert_eq!(
            words,
            [
                "/linux/intelRdt/closID find resctrl group /r/gold",
                "/linux/intelRdt/enableMonitoring find resctrl monitoring group /r/gold/mon_groups/box, or make it",
                "/linux/intelRdt join resctrl group /r/gold and /r/gold/mon_groups/box",
            ]
        );
        let words = lowered(json!({"closID": "/", "schemata": ["L3:0=f"]}), Some("/r")).unwrap();
        assert_eq!(words[0], "/linux/intelRdt/closID find resctrl group /r, or make it");
        assert!(words[1].starts_with("/linux/intelRdt/schemata /r/schemata = L3:0=f"), "{}", words[1]);
    }

    #[test]
    fn without_resctrl_it_is_an_error() {
        assert!(lowered(json!({}), None).unwrap_err().starts_with("/linux/intelRdt: resctrl is not mounted"));
    }
}
