//! What kinds of complaint there are: a name that never changes, and how to mend it. For `rt check`, its readers and its
//! tests; no behaviour hangs on a rule.

use std::fmt;

macro_rules! rules {
    ($($rule:ident $id:literal $about:literal $fix:literal,)*) => {
        /// The kind of a complaint. [`Rule::id`] is an interface: ids are added, not changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Rule { $(#[doc = $about] $rule,)* }

        impl Rule {
            /// All of them, by name.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// Its name.
            pub fn id(self) -> &'static str {
                match self { $(Rule::$rule => $id,)* }
            }

            /// What it is about.
            pub fn about(self) -> &'static str {
                match self { $(Rule::$rule => $about,)* }
            }

            /// What to do about it.
            pub fn fix(self) -> &'static str {
                match self { $(Rule::$rule => $fix,)* }
            }
        }
    };
}

rules! {
    AmbientCapability "ambient-capability" "an ambient capability that is not permitted and inheritable too"
        "add it to permitted and inheritable, or take it out of ambient",
    CannotBeDone "cannot-be-done" "create would refuse the config on this host"
        "follow the message, or run it on a host that can",
    DataOnBind "data-on-bind" "an option of a bind mount that only a filesystem could use"
        "take the option out",
    DeprecatedHook "deprecated-hook" "prestart hooks, which the specification deprecates"
        "move the hook to createRuntime, or to createContainer if it is to see the container's mounts",
    DocumentLimit "document-limit" "a document larger, deeper or fuller than is read"
        "make it smaller",
    DuplicateKey "duplicate-key" "a member given twice, of which every parser takes another"
        "keep one of them",
    DuplicateNamespace "duplicate-namespace" "a kind of namespace listed twice"
        "keep one of them",
    DuplicateRlimit "duplicate-rlimit" "a resource limit given twice"
        "keep one of them",
    DuplicateVariable "duplicate-variable" "a variable of the environment given twice"
        "keep the last one, which is the one that counts",
    HostRootMapped "host-root-mapped" "a user namespace whose root is the host's root"
        "map it to an id that nobody else has",
    HostSysctl "host-sysctl" "a sysctl that belongs to no namespace"
        "take it out, and set it on the host if it is wanted there",
    InvalidValue "invalid-value" "a value of the right type that can't be meant"
        "put what the message expects",
    JsonSyntax "json-syntax" "no JSON document in UTF-8"
        "correct the syntax at that place",
    MappingOverlap "mapping-overlap" "two mappings of the same ids"
        "make the ranges disjoint",
    MappingRange "mapping-range" "a mapping of no ids, or past the last id"
        "correct its start or its size",
    MaskOverSymlink "mask-over-symlink" "a masked or read-only path with a symbolic link of the image on the way"
        "name the path that the link leads to",
    MemoryPolicy "memory-policy" "nodes or flags that don't go with the mode"
        "see set_mempolicy(2) for what goes with the mode",
    MissingProperty "missing-property" "a property that has to be there"
        "add it",
    MisspeltProperty "misspelt-property" "a property in other upper and lower case than the specification's"
        "write it as the specification does",
    MountHidden "mount-hidden" "a mount that a later one covers"
        "put the mount that covers first, or leave the covered one out",
    NeedsNamespace "needs-namespace" "a property of a namespace that the container hasn't got"
        "add the namespace to /linux/namespaces, or take the property out",
    NewerVersion "newer-version" "a version of the specification that is newer than the runtime"
        "update rt, or lower the version if nothing new is used",
    NoProcess "no-process" "a container without a process: it can be created, never started"
        "add /process",
    NotDone "not-done" "something that is not done as the config says"
        "take it out if it does not matter; follow the message if it does",
    NullValue "null-value" "null where a value is meant"
        "leave the property out",
    OutOfRange "out-of-range" "a number outside what the kernel or the specification allows"
        "put a number in the range",
    PersonalityFlags "personality-flags" "flags of a personality, of which none is defined"
        "take them out",
    PropagationClash "propagation-clash" "a mount asks for sharing that the propagation of the root takes away"
        "make /linux/rootfsPropagation shared, or take the option out",
    RelativePath "relative-path" "a path that does not begin at a root"
        "begin it with /",
    RelativeSource "relative-source" "a bind source that is searched below the bundle"
        "write the absolute path, unless the bundle is what is meant",
    ReservationAboveLimit "reservation-above-limit" "more memory reserved than there may be"
        "lower the reservation below the limit",
    ReservedAnnotation "reserved-annotation" "an annotation in the specification's own name space"
        "use a domain of your own",
    RiskyAnnotation "risky-annotation" "an annotation that changes what some runtime does, past the config's own fields"
        "take it out unless whoever wrote the config is trusted with the host",
    RlimitSoftAboveHard "rlimit-soft-above-hard" "a soft limit above its hard limit"
        "lower the soft limit, or raise the hard one",
    Scheduler "scheduler" "a scheduling parameter that doesn't go with the policy"
        "see sched_setattr(2) for what goes with the policy",
    SeccompRepeatedIndex "seccomp-repeated-index" "two conditions on one argument, which are taken as alternatives"
        "split the rule in two, or make it one condition",
    SeccompSameAsDefault "seccomp-same-as-default" "a rule with the default action: it changes nothing"
        "take the rule out, or give it another action",
    SeccompUnknownSyscall "seccomp-unknown-syscall" "a system call that no architecture has: the name is skipped"
        "correct the name, or take it out",
    SwapBelowLimit "swap-below-limit" "memory and swap together below memory alone"
        "raise swap to the limit at least, or leave it out",
    SysctlNamespace "sysctl-namespace" "a sysctl of a namespace that the container hasn't got"
        "add the namespace to /linux/namespaces, or take the sysctl out",
    TooMany "too-many" "more entries or bytes than the kernel or the runtime takes"
        "leave some out",
    UnknownCapability "unknown-capability" "a capability that Linux doesn't have"
        "correct the name, or take it out",
    UnknownProperty "unknown-property" "a property that the specification doesn't know: it is ignored"
        "correct the name, or take it out",
    UnknownWord "unknown-word" "a word that is none of those the specification knows"
        "take one of the words in the message",
    UnmappedId "unmapped-id" "an id that the user namespace has no mapping for"
        "add a mapping that covers it, or take another id",
    UnsupportedVersion "unsupported-version" "no version 1.x of the specification"
        "write the version that the config was made for, such as 1.3.0",
    WrongType "wrong-type" "a value of another JSON type than the specification's"
        "put a value of that type",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn ids_are_kebab_case_sorted_and_single() {
        assert!(Rule::ALL.windows(2).all(|pair| pair[0].id() < pair[1].id()));
        for rule in Rule::ALL {
            assert!(rule.id().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{rule}");
            assert!(!rule.id().starts_with('-') && !rule.id().ends_with('-') && !rule.id().contains("--"), "{rule}");
            assert!(!rule.about().ends_with('.') && !rule.fix().ends_with('.'), "{rule}");
        }
    }
}
