//! `scheduler`, `ioPriority`, `execCPUAffinity` of a process, and `memoryPolicy` of a container → ops. Pure.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy,
    MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler as SpecScheduler, Spec,
};

use crate::error::ConfigError;
use crate::identity::InitOp;
use crate::identity::affinity::{ExecAffinity, MOST_CPUS, MOST_NODES, Mask};
use crate::identity::scheduling::{DEADLINE, MemoryPolicy, RESET_ON_FORK, Scheduler};
use crate::step::Step;

/// The steps that need rights which go with the ids.
pub fn lower(spec: &Spec, process: &Process, complaints: &mut Vec<ConfigError>) -> Vec<Step<InitOp>> {
    let mut steps = Vec::new();
    if let Some(scheduler) = process.scheduler() {
        let scheduler = scheduler_of(scheduler);
        if forks_in_vain(spec, &scheduler) {
            let message = "a SCHED_DEADLINE process may not fork, so the startContainer hooks could not run: expected \
                           SCHED_FLAG_RESET_ON_FORK in its flags";
            complaints.push(ConfigError::at("/process/scheduler/flags", message));
        }
        steps.push(Step::asked("/process/scheduler", InitOp::Scheduler(scheduler)));
    }
    if let Some(priority) = process.io_priority() {
        steps.push(Step::asked("/process/ioPriority", io_priority(priority)));
    }
    steps
}

fn forks_in_vain(spec: &Spec, scheduler: &Scheduler) -> bool {
    let hooks = spec.hooks().as_ref().and_then(|h| h.start_container().as_ref());
    scheduler.policy == DEADLINE && scheduler.flags & RESET_ON_FORK == 0 && hooks.is_some_and(|h| !h.is_empty())
}

fn scheduler_of(asked: &SpecScheduler) -> Scheduler {
    use LinuxSchedulerPolicy::{SchedBatch, SchedDeadline, SchedFifo, SchedIdle, SchedIso, SchedOther, SchedRr};
    let policy = match asked.policy() {
        SchedOther => 0,
        SchedFifo => 1,
        SchedRr => 2,
        SchedBatch => 3,
        SchedIso => 4,
        SchedIdle => 5,
        SchedDeadline => 6,
    };
    Scheduler {
        policy,
        nice: asked.nice().unwrap_or(0),
        // The validator has refused what is negative.
        priority: asked.priority().and_then(|p| u32::try_from(p).ok()).unwrap_or(0),
        flags: asked.flags().iter().flatten().fold(0, |all, flag| all | scheduler_flag(*flag)),
        runtime: asked.runtime().unwrap_or(0),
        deadline: asked.deadline().unwrap_or(0),
        period: asked.period().unwrap_or(0),
    }
}

fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => RESET_ON_FORK,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

fn io_priority(asked: &LinuxIOPriority) -> InitOp {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    InitOp::IoPriority { class, level: u32::try_from(asked.priority()).unwrap_or(0) }
}

/// The memory policy: last, so that it is about the workload's pages and not about ours.
pub fn memory_policy(spec: &Spec, complaints: &mut Vec<ConfigError>) -> Option<Step<InitOp>> {
    let asked = spec.linux().as_ref().and_then(|l| l.memory_policy().as_ref())?;
    let list = asked.nodes().as_deref().unwrap_or_default();
    match Mask::parse(list, MOST_NODES) {
        Ok(nodes) => {
            let policy = MemoryPolicy { mode: memory_mode(asked.mode()), flags: memory_flags(asked), nodes };
            Some(Step::asked("/linux/memoryPolicy", InitOp::MemoryPolicy(policy)))
        }
        Err(message) => {
            complaints.push(ConfigError::at("/linux/memoryPolicy/nodes", message));
            None
        }
    }
}

fn memory_mode(mode: MemoryPolicyModeType) -> u32 {
    match mode {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    }
}

fn memory_flags(asked: &LinuxMemoryPolicy) -> u32 {
    asked.flags().iter().flatten().fold(0, |all, flag| {
        all | match flag {
            MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
            MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
            MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        }
    })
}

/// `execCPUAffinity` of a process at `pointer` (`/process`, or empty for a process file of `exec`).
pub fn exec_affinity(process: &Process, pointer: &str, complaints: &mut Vec<ConfigError>) -> ExecAffinity {
    let mut mask = |list: &Option<String>, name: &str| {
        let list = list.as_deref().filter(|l| !l.trim().is_empty())?;
        Mask::parse(list, MOST_CPUS)
            .map_err(|message| complaints.push(ConfigError::at(format!("{pointer}/execCPUAffinity/{name}"), message)))
            .ok()
    };
    let Some(asked) = process.exec_cpu_affinity() else { return ExecAffinity::default() };
    ExecAffinity { initial: mask(asked.initial(), "initial"), last: mask(asked.cpu_affinity_final(), "final") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::identity::scheduling::{MEMORY_FLAGS, MEMORY_MODES, POLICIES, SCHEDULER_FLAGS};

    fn spec(process: Value, linux: Value, hooks: Value) -> Spec {
        let mut process = process;
        process["cwd"] = json!("/");
        process["user"] = json!({"uid": 0, "gid": 0});
        let all = json!({"ociVersion": "1.3.0", "process": process, "linux": linux, "hooks": hooks});
        serde_json::from_value(all).unwrap()
    }

    /// The steps of a process in words, and the complaints.
    fn lowered(spec: &Spec) -> (Vec<String>, Vec<String>) {
        let mut complaints = Vec::new();
        let mut steps = lower(spec, spec.process().as_ref().unwrap(), &mut complaints);
        steps.extend(memory_policy(spec, &mut complaints));
        let words = steps.iter().map(|s| format!("{} {}", s.origin, s.op)).collect();
        (words, complaints.iter().map(ToString::to_string).collect())
    }

    fn scheduler(value: Value) -> String {
        lowered(&spec(json!({"scheduler": value}), json!({}), json!({}))).0.remove(0)
    }

    #[test]
    fn every_policy_and_flag_has_the_kernel_s_number() {
        for (name, number) in POLICIES {
            let asked: SpecScheduler = serde_json::from_value(json!({"policy": name})).unwrap();
            assert_eq!(scheduler_of(&asked).policy, *number, "{name}");
        }
        // The crate's spelling of two flags is its own; `spec` translates before it parses.
        let crate_s = [
            "SCHED_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_D_L_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS",
            "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ];
        for ((name, bit), spelt) in SCHEDULER_FLAGS.iter().zip(crate_s) {
            let flag: LinuxSchedulerFlag = serde_json::from_value(json!(spelt)).unwrap();
            assert_eq!(scheduler_flag(flag), *bit, "{name}");
        }
    }

    #[test]
    fn schedulers_in_words() {
        assert_eq!(
            scheduler(json!({"policy": "SCHED_BATCH", "nice": 5})),
            "/process/scheduler scheduler SCHED_BATCH nice 5"
        );
        assert_eq!(
            scheduler(json!({"policy": "SCHED_RR", "priority": 42, "flags": ["SCHED_RESET_ON_FORK"]})),
            "/process/scheduler scheduler SCHED_RR priority 42 SCHED_FLAG_RESET_ON_FORK"
        );
        assert_eq!(
            scheduler(json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3})),
            "/process/scheduler scheduler SCHED_DEADLINE runtime 1 deadline 2 period 3"
        );
    }

    #[test]
    fn a_deadline_process_could_not_run_its_hooks() {
        let times = json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3});
        let hooks = json!({"startContainer": [{"path": "/bin/true"}]});
        let (_, complaints) = lowered(&spec(json!({"scheduler": times}), json!({}), hooks.clone()));
        assert!(complaints[0].starts_with("/process/scheduler/flags: a SCHED_DEADLINE process may not fork"));
        let mut times = times;
        times["flags"] = json!(["SCHED_RESET_ON_FORK"]);
        assert!(lowered(&spec(json!({"scheduler": times}), json!({}), hooks)).1.is_empty());
    }

    #[test]
    fn io_priorities_in_words() {
        let (words, _) =
            lowered(&spec(json!({"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 3}}), json!({}), json!({})));
        assert_eq!(words, ["/process/ioPriority I/O priority IOPRIO_CLASS_RT 3"]);
    }

    #[test]
    fn every_memory_mode_and_flag_has_the_kernel_s_number() {
        for (name, number) in MEMORY_MODES {
            assert_eq!(memory_mode(serde_json::from_value(json!(name)).unwrap()), *number, "{name}");
        }
        for (name, bit) in MEMORY_FLAGS {
            let asked = serde_json::from_value(json!({"mode": "MPOL_BIND", "flags": [name]})).unwrap();
            assert_eq!(memory_flags(&asked), *bit, "{name}");
        }
        let policy = json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0-1,3", "flags": ["MPOL_F_STATIC_NODES"]}});
        let (words, _) = lowered(&spec(json!({}), policy, json!({})));
        assert_eq!(words, ["/linux/memoryPolicy memory policy MPOL_BIND nodes 0-1,3 MPOL_F_STATIC_NODES"]);
        let policy = json!({"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "1024"}});
        let (_, complaints) = lowered(&spec(json!({}), policy, json!({})));
        assert_eq!(complaints, ["/linux/memoryPolicy/nodes: expected numbers below 1024, got 1024"]);
    }

    #[test]
    fn affinity_for_exec_is_kept_as_masks() {
        let spec = spec(json!({"execCPUAffinity": {"initial": "0-1", "final": "7"}}), json!({}), json!({}));
        let affinity = exec_affinity(spec.process().as_ref().unwrap(), "/process", &mut Vec::new());
        assert_eq!(affinity.initial.unwrap().to_string(), "0-1");
        assert_eq!(affinity.last.unwrap().words(), [1 << 7]);
        let mut complaints = Vec::new();
        let spec = self::spec(json!({"execCPUAffinity": {"final": "9000"}}), json!({}), json!({}));
        exec_affinity(spec.process().as_ref().unwrap(), "", &mut complaints);
        assert_eq!(complaints[0].to_string(), "/execCPUAffinity/final: expected numbers below 8192, got 9000");
    }
}
