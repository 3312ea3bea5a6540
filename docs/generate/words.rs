//! What the definitions of the command line don't say: for people, in the manual pages only. Facts here are those of
//! README.md and docs/; a verb without words of its own has a page all the same.

/// A heading with prose and a list.
pub struct Section {
    pub name: &'static str,
    pub text: &'static [&'static str],
    pub terms: &'static [(&'static str, &'static str)],
}

/// A command line, and why one would type it.
pub struct Example {
    pub why: &'static str,
    pub command: &'static str,
}

/// What is said about one verb.
pub struct About {
    pub text: &'static [&'static str],
    pub exit: &'static str,
    pub examples: &'static [Example],
    pub see: &'static [&'static str],
}

/// The exit status of most verbs.
pub const EXIT: &str =
    "0: done. 1: it failed, or the command line makes no sense; the reason is on stderr and in the log.";

/// The words about a verb.
pub fn about(verb: &str) -> Option<&'static About> {
    VERBS.iter().find(|(name, _)| *name == verb).map(|(_, about)| about)
}

/// What stands in rt(8) after the list of commands.
pub const RT: &[Section] = &[
    Section {
        name: "EXIT STATUS",
        text: &[],
        terms: &[
            ("0", "Done; of run and exec: the process of the container ended with 0."),
            ("1", "It failed, or the command line makes no sense. The reason is on stderr and in the log."),
            ("3", "There is no such command."),
            ("128+N", "Of run, exec and wait: signal N ended the process of the container."),
            ("255", "Of exec: it failed before the process ran. Of wait: there is nothing to wait for."),
            ("other", "Of run, exec and wait: the exit code of the process of the container."),
        ],
    },
    Section {
        name: "ENVIRONMENT",
        text: &[],
        terms: &[
            ("XDG_RUNTIME_DIR", "For other users than root: the state of containers is below it, in rt."),
            ("RT_STRICT", "1: as if --strict had been given."),
            (
                "LISTEN_FDS, LISTEN_FDNAMES",
                "Sockets for activation, from descriptor 3 upwards; they go to the container's process, as sd_listen_fds(3) has it.",
            ),
        ],
    },
    Section {
        name: "FILES",
        text: &[],
        terms: &[
            ("/run/rt", "The state of containers, a directory for each; see --root. It does not outlive the boot."),
            (
                "config.json",
                "In the directory of a bundle: what the container is to be, in the words of the OCI runtime specification.",
            ),
        ],
    },
    Section {
        name: "LOG",
        text: &[
            "Without --log, lines go to stderr for people. With --log FILE they are appended to that file, and the error that ended the command goes to stderr too. With --log-format json each line is an object with level, msg, time and further keys; unless more was asked for, a command that fails writes exactly one, and one that succeeds writes none.",
        ],
        terms: &[],
    },
    Section {
        name: "EXAMPLES",
        text: &[
            "A container of a directory with a root file system, without a config: rt run --rootfs some/root -- /bin/sh",
            "A config to begin with, and what would be done with it: rt spec --bundle bundle; rt explain bundle",
            "What this host can do, and what that bundle lacks: rt doctor; rt doctor bundle",
        ],
        terms: &[],
    },
    Section {
        name: "SEE ALSO",
        text: &[
            "namespaces(7), cgroups(7), capabilities(7), seccomp(2), pivot_root(2); https://github.com/opencontainers/runtime-spec",
        ],
        terms: &[],
    },
];

const VERBS: &[(&str, About)] = &[
    (
        "run",
        About {
            text: &[
                "An operand with a slash in it is the directory of a bundle, and the container gets a name; any other is the container's name. With --rootfs no bundle is needed: the config is the one that rt spec writes.",
                "In the foreground, signals that rt gets go to the container's process, and the container is removed at its end.",
            ],
            exit: "The exit code of the container's process, 128 and the signal for one that was killed; 1 if it did not come to run.",
            examples: &[
                Example { why: "A bundle:", command: "rt run bundle/" },
                Example { why: "A shell in a root file system:", command: "rt run --rootfs some/root -- /bin/sh" },
            ],
            see: &["create", "start", "delete", "spec"],
        },
    ),
    (
        "create",
        About {
            text: &[
                "The namespaces, mounts and cgroups are made, and the container's process waits in them until rt start. If anything fails, nothing is left behind, and the error names the field of the config and the kernel's answer.",
            ],
            exit: EXIT,
            examples: &[Example {
                why: "Create, start, look, remove:",
                command: "rt create --bundle bundle web\nrt start web\nrt state web\nrt delete --force web",
            }],
            see: &["start", "run", "explain", "check"],
        },
    ),
    (
        "start",
        About {
            text: &[
                "startContainer hooks run, the seccomp filter is loaded, and the container's process is executed. What goes wrong there is the error of this command.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["create", "kill"],
        },
    ),
    (
        "exec",
        About {
            text: &[
                "The process gets everything that the container's first one has: namespaces, cgroup, user, capabilities, limits, seccomp filter, labels. Flags count more than the file of --process, and that counts more than the config. Flags end at the container's name: what follows is the command's own.",
            ],
            exit: "The exit code of the process, 128 and the signal for one that was killed; 255 if it did not come to run. With --detach 0.",
            examples: &[Example { why: "A shell with a terminal:", command: "rt exec -t web /bin/sh" }],
            see: &["ps", "run"],
        },
    ),
    (
        "state",
        About {
            text: &[
                "An object with ociVersion, id, pid, status (creating, created, running, paused, stopped), bundle and annotations, and runc's rootfs, created and owner beside them. It takes no lock: it answers while another command is at work.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["list", "ps"],
        },
    ),
    (
        "kill",
        About {
            text: &[
                "SIGKILL reaches every process of a container that shares its pid namespace with others, and a paused container too.",
            ],
            exit: EXIT,
            examples: &[Example {
                why: "Ask it to end, by name or by number:",
                command: "rt kill web TERM\nrt kill web 15",
            }],
            see: &["delete", "wait"],
        },
    ),
    (
        "ps",
        About {
            text: &[
                "/proc is read directly; no ps(1) is needed on the host. What stands after the container's name is as for ps(1).",
            ],
            exit: EXIT,
            examples: &[Example { why: "Three columns:", command: "rt ps web -o pid,ppid,args" }],
            see: &["events"],
        },
    ),
    (
        "events",
        About {
            text: &[
                "Types are stats, oom (a process was killed for want of memory), memory.high, pids.max and exit. Without --stats it goes on until the container has ended.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["update"],
        },
    ),
    (
        "wait",
        About {
            text: &["Nobody keeps exit codes: it must be called before the end."],
            exit: "The exit code of the container's process, 128 and the signal for one that was killed; 255 if there is nothing to wait for.",
            examples: &[],
            see: &["run", "events"],
        },
    ),
    (
        "pause",
        About {
            text: &[
                "It comes back when every process stands still. If one does not in time, all run again, and it is an error.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["resume"],
        },
    ),
    ("resume", About { text: &[], exit: EXIT, examples: &[], see: &["pause"] }),
    (
        "update",
        About {
            text: &[
                "All limits are set or none. What is not named stays, and so does what is named with 0; -1 means no limit. Device rules change only by --devices.",
            ],
            exit: EXIT,
            examples: &[Example {
                why: "More memory, fewer processes:",
                command: "rt update --memory 512m --pids-limit 100 web",
            }],
            see: &["events"],
        },
    ),
    (
        "delete",
        About {
            text: &[
                "What is left of the container is removed: cgroups, state; then the poststop hooks run. One that has not stopped is refused unless it was never started, or --force is given.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["kill", "list"],
        },
    ),
    (
        "list",
        About {
            text: &["One that can't be read is left out with a warning."],
            exit: EXIT,
            examples: &[Example {
                why: "End and remove them all:",
                command: "rt list -q | xargs -rn1 rt delete --force",
            }],
            see: &["state"],
        },
    ),
    (
        "spec",
        About {
            text: &["The root file system is expected in rootfs, beside the file."],
            exit: EXIT,
            examples: &[Example {
                why: "A bundle from nothing:",
                command: "mkdir -p bundle/rootfs\nrt spec --bundle bundle",
            }],
            see: &["check", "run"],
        },
    ),
    (
        "features",
        About {
            text: &[
                "The document is the one that the OCI runtime specification describes. What it says is of this program, not of this host: for that see rt doctor.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["doctor"],
        },
    ),
    (
        "explain",
        About {
            text: &[
                "Nothing is changed, and root's rights are not needed. Each step stands beside the field of the config that asked for it, or beside the reason why it is done all the same.",
            ],
            exit: EXIT,
            examples: &[],
            see: &["check", "doctor"],
        },
    ),
    (
        "check",
        About {
            text: &[
                "Errors are what create would refuse, warnings what would run, but perhaps not as it was meant. Each has its place in the file, a rule's name and a remedy.",
            ],
            exit: "0: no errors, perhaps warnings. 1: errors, or the config could not be read at all.",
            examples: &[],
            see: &["explain", "doctor"],
        },
    ),
    (
        "doctor",
        About {
            text: &[
                "Each line has a verdict, what was looked at, what was found, and where something is amiss what to do about it. ok: it is there. note: it is not, and rt does without, or needs it only for some containers. fail: it is not, and it is needed.",
                "With a bundle only that is looked at which the plan of this bundle needs. Nothing is changed; probes that need a namespace or a mount make it in a process of their own.",
            ],
            exit: "0: nothing that is needed is missing. 1: something is, or the bundle's config is at fault.",
            examples: &[Example { why: "Can this host run that bundle?", command: "rt doctor bundle" }],
            see: &["check", "explain", "features"],
        },
    ),
];
