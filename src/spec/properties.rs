//! Every property of config.json that runtime-spec 1.3 defines for Linux, as data.
//!
//! Serves the walk of [schema](super::schema), `exec --process` and `update --resources`, and the coverage table. Only
//! facts of the specification and limits of the kernel stand here, no behaviour.

use super::schema::{Kind, MAX_PATH, MAX_STRING, Need, Property, UNLIMITED};
use Kind::{Bool, Foreign, Int, List, Map, Object, Text, Word};

const fn must(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, need: Need::Required }
}

const fn may(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, need: Need::Optional }
}

const fn blank(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, need: Need::Blankable }
}

const U16: Kind = Int(0, u16::MAX as u64);
const U32: Kind = Int(0, u32::MAX as u64);
const U64: Kind = Int(0, u64::MAX);
const I32: Kind = Int(i32::MIN as i64, i32::MAX as u64);
const I64: Kind = Int(i64::MIN, i64::MAX as u64);
/// A limit in bytes; -1 is none.
const BYTES: Kind = Int(-1, i64::MAX as u64);
/// A device number of a cgroup rule; -1 is all.
const DEVICE: Kind = Int(-1, u32::MAX as u64);
const STRING: Kind = Text(MAX_STRING);
const STRINGS: Kind = List(&STRING);
const PATH: Kind = Text(MAX_PATH);
const PATHS: Kind = List(&PATH);
/// Host and domain names (the kernel's __NEW_UTS_LEN).
const UTS_NAME: Kind = Text(64);

/// The whole of config.json.
pub const CONFIG: &[Property] = &[
    must("ociVersion", STRING),
    must("root", Object(&[must("path", PATH), may("readonly", Bool)])),
    may("process", Object(PROCESS)),
    may("mounts", List(&Object(MOUNT))),
    blank("hostname", UTS_NAME),
    blank("domainname", UTS_NAME),
    may("hooks", Object(HOOKS)),
    may("annotations", Map(&Text(UNLIMITED))),
    may("linux", Object(LINUX)),
    may("freebsd", Foreign),
    may("solaris", Foreign),
    may("vm", Foreign),
    may("windows", Foreign),
    may("zos", Foreign),
];

/// `process`, and the file of `exec --process`.
pub const PROCESS: &[Property] = &[
    may("args", STRINGS),
    must("cwd", PATH),
    may("env", STRINGS),
    may("user", Object(USER)),
    may("terminal", Bool),
    // A terminal's size is two 16-bit numbers to the kernel.
    may("consoleSize", Object(&[must("height", U16), must("width", U16)])),
    may("capabilities", Object(CAPABILITIES)),
    may("rlimits", List(&Object(RLIMIT))),
    may("noNewPrivileges", Bool),
    blank("apparmorProfile", STRING),
    blank("selinuxLabel", STRING),
    may("oomScoreAdj", Int(-1000, 1000)),
    may("scheduler", Object(SCHEDULER)),
    may("ioPriority", Object(&[must("class", Word(IO_CLASSES)), must("priority", Int(0, 7))])),
    may("execCPUAffinity", Object(&[blank("initial", STRING), blank("final", STRING)])),
    may("commandLine", Foreign),
];

const USER: &[Property] = &[
    may("uid", U32),
    may("gid", U32),
    may("umask", Int(0, 0o777)),
    may("additionalGids", List(&U32)),
    may("username", Foreign),
];

const CAPABILITIES: &[Property] = &[
    may("ambient", STRINGS),
    may("bounding", STRINGS),
    may("effective", STRINGS),
    may("inheritable", STRINGS),
    may("permitted", STRINGS),
];

const RLIMIT: &[Property] = &[must("type", Word(RLIMITS)), must("soft", U64), must("hard", U64)];

const RLIMITS: &[&str] = &[
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

const SCHEDULER: &[Property] = &[
    must("policy", Word(POLICIES)),
    may("nice", I32),
    may("priority", I32),
    may("flags", List(&Word(SCHEDULER_FLAGS))),
    may("runtime", U64),
    may("deadline", U64),
    may("period", U64),
];

const POLICIES: &[&str] =
    &["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"];

const SCHEDULER_FLAGS: &[&str] = &[
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
];

const IO_CLASSES: &[&str] = &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"];

const MOUNT: &[Property] = &[
    must("destination", PATH),
    blank("type", STRING),
    blank("source", PATH),
    may("options", STRINGS),
    may("uidMappings", MAPPINGS),
    may("gidMappings", MAPPINGS),
];

const MAPPINGS: Kind = List(&Object(&[must("containerID", U32), must("hostID", U32), must("size", U32)]));

const HOOKS: &[Property] = &[
    may("prestart", HOOK_LIST),
    may("createRuntime", HOOK_LIST),
    may("createContainer", HOOK_LIST),
    may("startContainer", HOOK_LIST),
    may("poststart", HOOK_LIST),
    may("poststop", HOOK_LIST),
];

const HOOK_LIST: Kind =
    List(&Object(&[must("path", PATH), may("args", STRINGS), may("env", STRINGS), may("timeout", I64)]));

const LINUX: &[Property] = &[
    may("namespaces", List(&Object(&[must("type", Word(NAMESPACES)), blank("path", PATH)]))),
    may("uidMappings", MAPPINGS),
    may("gidMappings", MAPPINGS),
    may("timeOffsets", Map(&Object(&[may("secs", I64), may("nanosecs", U32)]))),
    may("devices", List(&Object(DEVICE_NODE))),
    may("netDevices", Map(&Object(&[blank("name", STRING)]))),
    blank("cgroupsPath", PATH),
    may("resources", Object(RESOURCES)),
    may("intelRdt", Object(INTEL_RDT)),
    may("memoryPolicy", Object(MEMORY_POLICY)),
    may("sysctl", Map(&STRING)),
    may("seccomp", Object(SECCOMP)),
    blank("rootfsPropagation", Word(PROPAGATIONS)),
    may("maskedPaths", PATHS),
    may("readonlyPaths", PATHS),
    blank("mountLabel", STRING),
    may("personality", Object(&[must("domain", Word(&["LINUX", "LINUX32"])), may("flags", STRINGS)])),
];

const NAMESPACES: &[&str] = &["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"];

/// The four of the specification and their recursive forms, which every engine sends.
const PROPAGATIONS: &[&str] =
    &["shared", "slave", "private", "unbindable", "rshared", "rslave", "rprivate", "runbindable"];

const DEVICE_NODE: &[Property] = &[
    must("type", Word(&["c", "b", "u", "p"])),
    must("path", PATH),
    // As wide as the kernel's own device numbers.
    may("major", Int(0, 0xfff)),
    may("minor", Int(0, 0xf_ffff)),
    may("fileMode", U32),
    may("uid", U32),
    may("gid", U32),
];

/// `linux.resources`, and the file of `update --resources`.
pub const RESOURCES: &[Property] = &[
    may("devices", List(&Object(DEVICE_RULE))),
    may("memory", Object(MEMORY)),
    may("cpu", Object(CPU)),
    may("pids", Object(&[may("limit", I64)])),
    may("blockIO", Object(BLOCK_IO)),
    may("hugepageLimits", List(&Object(&[must("pageSize", STRING), must("limit", U64)]))),
    may("network", Object(NETWORK)),
    may("rdma", Map(&Object(&[may("hcaHandles", U32), may("hcaObjects", U32)]))),
    may("unified", Map(&STRING)),
];

const DEVICE_RULE: &[Property] = &[
    must("allow", Bool),
    blank("type", Word(&["a", "c", "b"])),
    may("major", DEVICE),
    may("minor", DEVICE),
    blank("access", Text(16)),
];

const MEMORY: &[Property] = &[
    may("limit", BYTES),
    may("reservation", BYTES),
    may("swap", BYTES),
    may("kernel", BYTES),
    may("kernelTCP", BYTES),
    may("swappiness", Int(0, 100)),
    may("disableOOMKiller", Bool),
    may("useHierarchy", Bool),
    may("checkBeforeUpdate", Bool),
];

const CPU: &[Property] = &[
    may("shares", U64),
    may("quota", I64),
    may("burst", U64),
    may("period", U64),
    may("realtimeRuntime", I64),
    may("realtimePeriod", U64),
    blank("cpus", STRING),
    blank("mems", STRING),
    may("idle", Int(0, 1)),
];

const BLOCK_IO: &[Property] = &[
    may("weight", U16),
    may("leafWeight", U16),
    may("weightDevice", List(&Object(WEIGHT_DEVICE))),
    may("throttleReadBpsDevice", THROTTLES),
    may("throttleWriteBpsDevice", THROTTLES),
    may("throttleReadIOPSDevice", THROTTLES),
    may("throttleWriteIOPSDevice", THROTTLES),
];

const WEIGHT_DEVICE: &[Property] =
    &[must("major", BLOCK_DEVICE), must("minor", BLOCK_DEVICE), may("weight", U16), may("leafWeight", U16)];

const THROTTLES: Kind = List(&Object(&[must("major", BLOCK_DEVICE), must("minor", BLOCK_DEVICE), must("rate", U64)]));

const BLOCK_DEVICE: Kind = Int(0, u32::MAX as u64);

const NETWORK: &[Property] =
    &[may("classID", U32), may("priorities", List(&Object(&[must("name", STRING), must("priority", U32)])))];

const INTEL_RDT: &[Property] = &[
    blank("closID", Text(255)),
    may("schemata", STRINGS),
    blank("l3CacheSchema", STRING),
    blank("memBwSchema", STRING),
    may("enableMonitoring", Bool),
];

const MEMORY_POLICY: &[Property] =
    &[must("mode", Word(MEMORY_MODES)), blank("nodes", STRING), may("flags", List(&Word(MEMORY_FLAGS)))];

const MEMORY_MODES: &[&str] = &[
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
];

const MEMORY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

const SECCOMP: &[Property] = &[
    must("defaultAction", Word(ACTIONS)),
    may("defaultErrnoRet", U32),
    may("architectures", List(&Word(ARCHITECTURES))),
    may("flags", List(&Word(SECCOMP_FLAGS))),
    blank("listenerPath", PATH),
    blank("listenerMetadata", Text(UNLIMITED)),
    may("syscalls", List(&Object(SYSCALL))),
];

const SYSCALL: &[Property] = &[
    must("names", STRINGS),
    must("action", Word(ACTIONS)),
    may("errnoRet", U32),
    may("args", List(&Object(ARGUMENT))),
];

const ARGUMENT: &[Property] =
    &[must("index", Int(0, 5)), must("value", U64), may("valueTwo", U64), must("op", Word(OPERATORS))];

const ACTIONS: &[&str] = &[
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];

const OPERATORS: &[&str] =
    &["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];

const SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

const ARCHITECTURES: &[&str] = &[
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
];
