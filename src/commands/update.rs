//! `rt update`: other limits for a container that exists. What is not named stays, and so does what is named with zero.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::LinuxIntelRdt;
use serde_json::{Map, Value, json};

use super::{missing, status, store, unfit};
use crate::cgroups::{self, Cgroup, Op, Purpose};
use crate::cli::{Global, Update};
use crate::error::Complaints;
use crate::host::{self, Trouble};
use crate::intelrdt;
use crate::log::Log;
use crate::spec;
use crate::state::{Event, Record, Status};
use crate::step::{Stage, Step};
use crate::sys::{Call, During};

/// The longest file of resources.
const LIMIT: u64 = 1 << 20;

/// Sets all of the limits, or none.
pub fn update(global: &Global, args: &Update, log: &Log) -> Result<()> {
    let mut record = store(global, false).and_then(|s| s.lock(&args.id)).map_err(missing)?;
    if matches!(status(&record)?, Status::Stopped | Status::Creating) {
        bail!("container not running");
    }
    let asked = resources(args)?;
    let mut cgroup = host::open_cgroup(&record)?.context("the container has no cgroup of its own to set limits in")?;
    carry_out(&mut record, &mut cgroup, asked, log)
}

/// What `update` had set on the container that was saved is set again on the one that comes back.
pub fn again(record: &mut Record, cgroup: Option<&mut Cgroup>, updates: Vec<Value>, log: &Log) -> Result<()> {
    let Some(cgroup) = cgroup else { return Ok(()) };
    updates.into_iter().try_for_each(|asked| carry_out(record, cgroup, asked, log))
}

fn carry_out(record: &mut Record, cgroup: &mut Cgroup, mut asked: Value, log: &Log) -> Result<()> {
    // memory.swap counts memory and swap together, of which cgroup v2 limits the second alone: it wants the first to subtract.
    if asked.pointer("/memory/swap").and_then(Value::as_i64).is_some_and(|swap| swap > 0)
        && asked.pointer("/memory/limit").is_none_or(Value::is_null)
        && let Some(limit) = cgroup.memory_max()
    {
        asked["memory"]["limit"] = json!(limit);
    }
    let steps = steps(&asked, cgroup, log)?;
    let schemata = schemata(&asked)?;
    if asked.pointer("/memory/checkBeforeUpdate") == Some(&json!(true))
        && let Some(limit) = asked.pointer("/memory/limit").and_then(Value::as_u64).filter(|n| *n > 0)
    {
        cgroup.check_memory(limit)?;
    }
    let changed = match &schemata {
        Some((mount, lines)) => Some(host::update_rdt(record, mount, lines).context("/intelRdt")?),
        None => None,
    };
    apply(cgroup, &steps).inspect_err(|_| {
        if let Some((rdt, changed)) = changed
            && let Err(e) = host::take_back_rdt(record, rdt, changed)
        {
            log.warn(format!("the schemata could not be taken back: {e}"));
        }
    })?;
    // Only now: what later verbs read must be what is.
    Ok(record.note(Event::Updated(asked))?)
}

/// The lines for resctrl, and where that is mounted; `None`: nothing of it is asked for.
fn schemata(asked: &Value) -> Result<Option<(String, Vec<String>)>> {
    let Some(asked) = asked.get("intelRdt").filter(|asked| !asked.is_null()) else { return Ok(None) };
    let asked: LinuxIntelRdt = serde_json::from_value(asked.clone()).context("/intelRdt")?;
    let own = asked.schemata().clone().unwrap_or_default();
    let lines = intelrdt::schemata::merge(asked.l3_cache_schema().as_deref(), asked.mem_bw_schema().as_deref(), &own);
    if lines.is_empty() {
        return Ok(None);
    }
    let Some(mount) = intelrdt::probe()? else {
        bail!(
            "/intelRdt: Intel RDT is not enabled: resctrl is not mounted \
             (on a CPU with Intel RDT or AMD QoS: mount -t resctrl resctrl /sys/fs/resctrl)"
        );
    };
    Ok(Some((mount, lines)))
}

fn apply(cgroup: &mut Cgroup, steps: &[Step<Op>]) -> Result<()> {
    cgroup.update(steps).map_err(|(step, error)| {
        let origin = Some(step.origin.clone());
        Trouble { stage: Stage::Prepare, origin, step: step.op.to_string(), error }.into()
    })
}

/// The typed steps; device rules last, for nothing is left to fail after them.
fn steps(asked: &Value, cgroup: &Cgroup, log: &Log) -> Result<Vec<Step<Op>>> {
    let read = spec::read_resources(asked.to_string().as_bytes(), false);
    let (resources, warnings) = read.map_err(|e| unfit("resources", &e))?;
    warnings.iter().for_each(|w| log.warn(w));
    let placement = cgroup.placement();
    let mut complaints = Vec::new();
    let lowered = cgroups::lower_resources(&resources, &placement, "", Purpose::Update, &mut complaints);
    lowered.warnings.iter().for_each(|w| log.warn(w));
    let devices = resources.devices().as_deref();
    let devices = devices.map(|list| cgroups::lower_devices(list, &placement, "/devices", &mut complaints));
    if !complaints.is_empty() {
        return Err(unfit("resources", &Complaints(complaints)));
    }
    let steps = lowered.steps.into_iter().chain(lowered.after_birth).chain(devices.flatten()).collect();
    Ok(cgroups::systemd::lower_update(&placement, steps, &cgroup.cpu_max()))
}

/// What is asked for, as one object like linux.resources. `devices` are in it only if they were asked for by `--devices`:
/// engines send a bare "deny all" beside their limits, and don't mean it.
fn resources(args: &Update) -> Result<Value> {
    let from_stdin = [&args.resources, &args.devices].iter().filter(|f| f.as_deref() == Some(Path::new("-"))).count();
    if from_stdin > 1 {
        bail!("--resources and --devices cannot both be read from stdin");
    }
    let mut all = match &args.resources {
        Some(file) => read(file).with_context(|| format!("--resources {}", file.display()))?,
        None => json!({}),
    };
    let Some(object) = all.as_object_mut() else {
        bail!("--resources: expected a JSON object like linux.resources");
    };
    object.remove("devices");
    flags(args, object)?;
    if let Some(file) = &args.devices {
        let list = read(file).with_context(|| format!("--devices {}", file.display()))?;
        if !list.is_array() {
            bail!("--devices {}: expected a JSON list like linux.resources.devices", file.display());
        }
        object.insert("devices".into(), list);
    }
    Ok(all)
}

fn read(file: &Path) -> Result<Value> {
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes)?;
    } else {
        let file = std::fs::File::open(file).during(Call::Openat)?;
        file.take(LIMIT).read_to_end(&mut bytes).during(Call::Read)?;
    }
    spec::json::parse(&bytes).map_err(|e| unfit("not JSON", &Complaints(e)))
}

fn flags(args: &Update, all: &mut Map<String, Value>) -> Result<()> {
    let mut set = |section: &str, name: &str, value: Option<Value>| {
        let Some(value) = value else { return };
        let section = all.entry(section).or_insert_with(|| json!({}));
        if !section.is_object() {
            *section = json!({});
        }
        section[name] = value;
    };
    set("intelRdt", "l3CacheSchema", args.l3_cache_schema.clone().map(Into::into));
    set("intelRdt", "memBwSchema", args.mem_bw_schema.clone().map(Into::into));
    set("blockIO", "weight", args.blkio_weight.map(Into::into));
    set("cpu", "period", args.cpu_period.map(Into::into));
    set("cpu", "quota", args.cpu_quota.map(Into::into));
    set("cpu", "burst", args.cpu_burst.map(Into::into));
    set("cpu", "shares", args.cpu_share.map(Into::into));
    set("cpu", "realtimePeriod", args.cpu_rt_period.map(Into::into));
    set("cpu", "realtimeRuntime", args.cpu_rt_runtime.map(Into::into));
    set("cpu", "idle", args.cpu_idle.map(Into::into));
    set("cpu", "cpus", args.cpuset_cpus.clone().map(Into::into));
    set("cpu", "mems", args.cpuset_mems.clone().map(Into::into));
    set("memory", "limit", args.memory.map(Into::into));
    set("memory", "reservation", args.memory_reservation.map(Into::into));
    set("memory", "swap", args.memory_swap.map(Into::into));
    set("memory", "kernelTCP", args.kernel_memory_tcp.map(Into::into));
    set("pids", "limit", args.pids_limit.map(Into::into));
    Ok(())
}
