//! `rt features` and `rt spec`: the documents have the specification's form, promise nothing that no test keeps, and are
//! the same on every host. Needs no root.

mod tables;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

fn rt(words: &[&str]) -> Vec<u8> {
    let mut command = Command::new(program());
    let output = command.args(words).env_clear().output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn features() -> Value {
    serde_json::from_slice(&rt(&["features"])).unwrap()
}

/// What may be left out: the specification reads that as unknown.
const MAY_BE_ABSENT: &[&str] = &[
    "/linux/memoryPolicy",
    "/linux/memoryPolicy/flags",
    "/linux/memoryPolicy/modes",
    "/potentiallyUnsafeConfigAnnotations",
];

#[test]
fn every_property_of_the_schema_is_there_with_its_type() {
    let document = features();
    let mut seen = 0;
    for name in tables::names("features") {
        let Some(value) = document.pointer(name) else {
            assert!(MAY_BE_ABSENT.contains(&name), "{name} is missing");
            continue;
        };
        seen += 1;
        let fits = match name.rsplit('/').next().unwrap() {
            "ociVersionMin" | "ociVersionMax" => value.is_string(),
            "linux" | "annotations" | "cgroup" | "seccomp" | "apparmor" | "selinux" | "intelRdt" | "memoryPolicy"
            | "mountExtensions" | "idmap" | "netDevices" => value.is_object(),
            "enabled" | "v1" | "v2" | "systemd" | "systemdUser" | "rdma" | "schemata" | "monitoring" => {
                value.is_boolean()
            }
            _ => value.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string)),
        };
        assert!(fits, "{name}: {value}");
    }
    assert!(seen > 30);
}

/// Nothing stands in the document that the specification doesn't know.
#[test]
fn the_document_has_no_property_of_its_own() {
    let names: BTreeSet<&str> = tables::names("features").into_iter().collect();
    let mut stack = vec![(String::new(), features())];
    while let Some((place, value)) = stack.pop() {
        for (name, value) in value.as_object().into_iter().flatten() {
            let place = format!("{place}/{name}");
            assert!(names.contains(place.as_str()), "{place}");
            if place != "/annotations" {
                stack.push((place, value.clone()));
            }
        }
    }
}

/// What is claimed with a yes, and the test that shows it.
const CLAIMS: &[(&str, &str)] = &[
    ("/linux/cgroup/v1", "tests/limits.rs::the_container_is_in_its_cgroup_in_every_hierarchy"),
    ("/linux/cgroup/v2", "tests/limits.rs::unified_values_on_v2"),
    ("/linux/cgroup/systemd", "tests/systemd.rs::the_scope_is_what_crun_s_is"),
    ("/linux/cgroup/systemdUser", "tests/systemd.rs::a_user_s_own_systemd_makes_the_scope"),
    ("/linux/cgroup/rdma", "src/cgroups/lower/tests.rs::huge_pages_network_and_rdma"),
    ("/linux/apparmor/enabled", "tests/labels.rs::a_profile_is_in_force_from_the_first_instruction"),
    ("/linux/selinux/enabled", "src/identity/lower.rs::labels_are_opened_first_and_written_last"),
    ("/linux/intelRdt/enabled", "src/intelrdt/apply.rs::a_group_that_we_made_is_written_joined_and_removed"),
    ("/linux/intelRdt/schemata", "src/intelrdt/schemata.rs::schemata_overrule_the_older_properties"),
    ("/linux/intelRdt/monitoring", "src/intelrdt/apply.rs::a_group_that_we_made_is_written_joined_and_removed"),
    ("/linux/netDevices/enabled", "tests/netdevices.rs::a_device_moves_with_its_addresses_and_is_up"),
    (
        "/linux/mountExtensions/idmap/enabled",
        "tests/idmap.rs::a_bind_with_maps_shows_other_owners_with_and_without_the_option",
    ),
    ("/linux/intelRdt/enabled", "src/intelrdt/apply.rs::a_group_that_was_there_is_compared_and_stays"),
    ("/linux/intelRdt/schemata", "tests/intelrdt.rs::the_plan_for_a_host_with_resctrl_names_groups_and_schemata"),
    ("/linux/intelRdt/monitoring", "src/intelrdt/apply.rs::a_group_that_we_made_is_written_joined_and_removed"),
    ("/linux/seccomp/enabled", "tests/seccomp_inside.rs::a_profile_is_one_filter"),
];

/// The same for the words of lists.
const WORDS: &[(&str, &str, &str)] = &[
    ("/hooks", "", "tests/hooks.rs::each_kind_runs_at_its_time_and_in_order"),
    ("/potentiallyUnsafeConfigAnnotations", "org.systemd.property.", "tests/systemd.rs::the_scope_is_what_crun_s_is"),
    ("/mountOptions", "idmap", "tests/idmap.rs::idmap_is_for_one_mount_and_ridmap_for_the_tree"),
    ("/mountOptions", "ridmap", "tests/idmap.rs::idmap_is_for_one_mount_and_ridmap_for_the_tree"),
    ("/mountOptions", "tmpcopyup", "tests/rootfs.rs::tmpcopyup_fills_a_tmpfs_with_what_was_there"),
    ("/mountOptions", "remount", "tests/rootfs.rs::a_later_remount_changes_an_earlier_mount"),
    ("/mountOptions", "rro", "tests/rootfs.rs::bind_is_shallow_rbind_is_deep_and_only_rro_reaches_down"),
    ("/mountOptions", "rslave", "tests/rootfs.rs::each_mount_has_the_propagation_it_asked_for"),
    ("/linux/namespaces", "user", "tests/namespaces.rs::a_user_namespace_maps_as_the_config_says"),
    ("/linux/namespaces", "time", "tests/namespaces.rs::time_offsets_move_the_clocks"),
    ("/linux/namespaces", "", "tests/namespaces.rs::each_listed_namespace_is_new_and_the_others_are_inherited"),
    ("/potentiallyUnsafeConfigAnnotations", "org.criu.config", "tests/checkpoint.rs::the_config_file_counts_more"),
    ("/linux/capabilities", "", "tests/identity.rs::the_five_capability_sets_are_exact"),
    ("/linux/memoryPolicy/modes", "", "tests/scheduling.rs::memory_policies_are_exact"),
    ("/linux/memoryPolicy/flags", "", "tests/scheduling.rs::memory_policies_are_exact"),
    (
        "/linux/seccomp/actions",
        "SCMP_ACT_NOTIFY",
        "tests/seccomp_notify.rs::the_agent_is_told_of_the_container_and_its_answers_count",
    ),
    ("/linux/seccomp/actions", "SCMP_ACT_ERRNO", "tests/seccomp_inside.rs::errno_is_eperm_or_what_the_rule_says"),
    ("/linux/seccomp/actions", "SCMP_ACT_KILL", "tests/seccomp_inside.rs::a_killed_call_ends_the_process_with_sigsys"),
    (
        "/linux/seccomp/actions",
        "SCMP_ACT_LOG",
        "tests/seccomp_inside.rs::log_allows_and_trace_without_a_tracer_is_enosys",
    ),
    (
        "/linux/seccomp/actions",
        "",
        "src/seccomp/lower.rs::trap_kill_and_notify_defaults_also_say_enosys_to_newer_calls",
    ),
    ("/linux/seccomp/operators", "", "tests/seccomp_inside.rs::arguments_are_compared_as_64_bits_with_every_operator"),
    (
        "/linux/seccomp/archs",
        "",
        "tests/seccomp_differential.rs::random_profiles_answer_like_the_model_on_every_architecture",
    ),
    (
        "/potentiallyUnsafeConfigAnnotations",
        "run.oci.keep_original_groups",
        "tests/global.rs::the_caller_s_groups_are_kept_when_the_annotation_asks_for_it",
    ),
    ("/linux/seccomp/knownFlags", "", "tests/seccomp_inside.rs::known_flags_are_accepted"),
    ("/linux/seccomp/supportedFlags", "", "tests/seccomp_inside.rs::known_flags_are_accepted"),
];

/// Whether a test uses this mount option: there are sixty, and most are rows of tables.
fn in_some_test(option: &str) -> bool {
    ["rootfs", "mounts", "idmap", "spec_effects"].iter().any(|file| {
        let text = std::fs::read_to_string(tables::path(&format!("tests/{file}.rs"))).unwrap();
        text.split(['"', ' ', ',']).any(|word| word == option)
    })
}

#[test]
fn each_claim_has_a_test() {
    let document = features();
    for name in tables::names("features") {
        match document.pointer(name) {
            Some(Value::Bool(true)) => {
                assert!(
                    CLAIMS.iter().any(|(claim, _)| *claim == name),
                    "{name} is claimed, and no test is named for it"
                );
            }
            Some(Value::Array(list)) => {
                for word in list.iter().filter(|word| name != "/mountOptions" || !in_some_test(word.as_str().unwrap()))
                {
                    let named =
                        |(place, only, _): &&(&str, &str, &str)| *place == name && (only.is_empty() || word == only);
                    assert!(
                        WORDS.iter().any(|row| named(&row)),
                        "{name}: {word} is claimed, and no test is named for it"
                    );
                }
            }
            _ => {}
        }
    }
    for test in CLAIMS.iter().map(|(_, test)| test).chain(WORDS.iter().map(|(_, _, test)| test)) {
        assert!(tables::is_test(test), "there is no test {test}");
    }
}

/// Engines refuse to let strangers set what is listed. That no other annotation changes what we do is held by a unit test
/// beside the probing of the plan.
#[test]
fn annotations_that_change_something_are_listed() {
    let listed = features().get("potentiallyUnsafeConfigAnnotations").cloned();
    assert_eq!(listed, Some(json!(["org.criu.config", "org.systemd.property.", "run.oci.keep_original_groups"])));
}

/// The same bytes with another environment, directory, and host: nothing is read.
#[test]
fn features_reads_nothing() {
    let output = Command::new(program())
        .arg("features")
        .env("RT_STRICT", "1")
        .env("XDG_RUNTIME_DIR", "/nowhere")
        .current_dir("/proc")
        .output()
        .unwrap();
    assert_eq!(output.stdout, rt(&["features"]));
    assert!(output.stderr.is_empty());
}

/// Both templates: what is written is the template, byte for byte, twice; and every name in it is the specification's.
#[test]
fn templates_are_stable_and_have_the_specifications_names() {
    let names: BTreeSet<String> = rt::spec::schema::paths(rt::spec::properties::CONFIG).into_iter().collect();
    for (flags, ids) in [(&[][..], None), (&["--rootless"][..], Some(own_ids()))] {
        let written: Vec<Vec<u8>> = (0..2)
            .map(|_| {
                let dir = tempfile::tempdir().unwrap();
                rt(&[&["spec", "--bundle", dir.path().to_str().unwrap()], flags].concat());
                std::fs::read(dir.path().join("config.json")).unwrap()
            })
            .collect();
        assert_eq!(written[0], written[1]);
        assert_eq!(written[0], rt::spec::template::template(ids).into_bytes());
        let document: Value = serde_json::from_slice(&written[0]).unwrap();
        in_schema(&document, "", &names);
        let report = rt::spec::inspect(&written[0], true);
        assert_eq!((report.errors, report.warnings, report.unknown), (vec![], vec![], vec![]));
    }
}

fn own_ids() -> (u32, u32) {
    (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw())
}

fn in_schema(value: &Value, place: &str, names: &BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let place = format!("{place}/{name}");
                assert!(names.contains(&place), "{place}");
                in_schema(value, &place, names);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| in_schema(value, &format!("{place}/*"), names)),
        _ => {}
    }
}

/// The `rt` under test: `RT_BIN`, where programs can't be run from the build directory, else the one that cargo built.
fn program() -> std::ffi::OsString {
    std::env::var_os("RT_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_rt").into())
}
