//! The command lines that callers really send, and what people type wrongly.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::log::{Format, Level};

fn args(line: &str) -> Vec<OsString> {
    std::iter::once("rt").chain(line.split_whitespace()).map(OsString::from).collect()
}

fn act(line: &str) -> (Global, Verb) {
    match parse(args(line)) {
        Ok(Request::Act(global, verb)) => (*global, verb),
        other => panic!("{line}: {other:?}"),
    }
}

fn wrong(line: &str) -> Usage {
    *parse(args(line)).expect_err(line)
}

fn id(text: &str) -> ContainerId {
    text.parse().unwrap()
}

#[test]
fn claps_own_checks_hold() {
    whole().debug_assert();
    for row in verbs::ROWS {
        let command = row.command();
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            assert!(arg.get_long().is_some(), "{}: {arg} has no long name", command.get_name());
        }
    }
}

#[test]
fn conmon_creates() {
    let (global, verb) = act("--systemd-cgroup --log-format=json --log /run/oci-log create --bundle /b --pid-file /p \
                              --no-pivot --no-new-keyring --preserve-fds 2 --console-socket /c 4f2e");
    assert_eq!(global.log_format, Format::Json);
    assert_eq!(global.level(), Level::Error);
    assert_eq!(global.log.as_deref(), Some(Path::new("/run/oci-log")));
    assert_eq!(global.cgroups(), CgroupManager::Systemd);
    let Verb::Create(create) = verb else { panic!("{verb:?}") };
    assert_eq!(create.id, id("4f2e"));
    assert_eq!(create.create.bundle(), Path::new("/b"));
    assert_eq!(create.create.pid_file.as_deref(), Some(Path::new("/p")));
    assert_eq!(create.create.console_socket.as_deref(), Some(Path::new("/c")));
    assert_eq!(create.create.plan, PlanFlags { no_pivot: true, no_new_keyring: true, preserve_fds: 2, config: None });
    assert_eq!(act("--cgroup-manager disabled start x").0.cgroups(), CgroupManager::Disabled);
}

#[test]
fn the_shim_calls() {
    let prefix = "--root /run/containerd/runc/k8s.io --log /b/log.json --log-format json --debug";
    let (global, verb) = act(&format!("{prefix} create --bundle /b --pid-file /b/init.pid ID"));
    assert_eq!(global.root.as_deref(), Some(Path::new("/run/containerd/runc/k8s.io")));
    assert_eq!(global.level(), Level::Debug);
    assert_eq!(verb.name(), "create");
    assert_eq!(act(&format!("{prefix} start ID")).1, Verb::Start(Start { timings: None, id: id("ID") }));
    let kill = |line: &str| match act(line).1 {
        Verb::Kill(kill) => (kill.all, kill.id.to_string(), kill.signal),
        verb => panic!("{verb:?}"),
    };
    assert_eq!(kill(&format!("{prefix} kill ID 9")), (false, "ID".into(), "9".into()));
    assert_eq!(kill(&format!("{prefix} kill --all ID 15")), (true, "ID".into(), "15".into()));
    assert_eq!(kill("kill ID KILL -a"), (true, "ID".into(), "KILL".into()));
    assert_eq!(kill("kill ID"), (false, "ID".into(), "SIGTERM".into()));
    assert_eq!(act("delete --force ID").1, Verb::Delete(Delete { force: true, id: id("ID") }));
    assert_eq!(act("--rootless=true features").0.rootless, Rootless::True);
}

#[test]
fn who_comes_later_is_called_as_engines_call() {
    let exec = |line: &str| match act(line).1 {
        Verb::Exec(exec) => exec,
        verb => panic!("{verb:?}"),
    };
    // conmon of podman 4.3; 2.1.12 leaves --tty out.
    let conmon = exec(
        "--log-format=json --log /l exec --pid-file /p --process /f --detach --tty --preserve-fds 1 \
                       --console-socket /s 4f2e",
    );
    assert_eq!((conmon.id, conmon.detach, conmon.tty, conmon.preserve_fds), (id("4f2e"), true, true, 1));
    assert_eq!(conmon.process.as_deref(), Some(Path::new("/f")));
    assert_eq!(conmon.console_socket.as_deref(), Some(Path::new("/s")));
    // containerd's shim, for ctr, CRI and docker.
    let shim = exec(
        "--root /r --log /l --log-format json --systemd-cgroup exec --process /tmp/runc-process1 \
                     --console-socket /s --detach --pid-file /b/e.pid ID",
    );
    assert_eq!(shim.pid_file.as_deref(), Some(Path::new("/b/e.pid")));
    assert!(shim.command.is_empty());
    // BuildKit, in the foreground.
    assert!(!exec("exec --process /f --pid-file /p ID").detach);
    // By hand: flags end where the command begins.
    let hand = exec("exec -t -e A=1 -env B=2 -u 1000:5 -g 7 -additional-gids=8 -c CAP_KILL --cwd /x ID ls -l --env");
    assert_eq!(hand.command, ["ls", "-l", "--env"].map(OsString::from));
    assert_eq!((hand.env, hand.additional_gids), (vec!["A=1".to_owned(), "B=2".to_owned()], vec![7, 8]));
    assert_eq!(hand.user, Some(User { uid: 1000, gid: Some(5) }));
    assert_eq!(wrong("exec -u root ID ls").message.split(": ").next(), Some("invalid value \"root\" for flag --user"));
    assert_eq!(wrong("exec").message, "\"exec\" requires a minimum of 1 argument(s)");
}

#[test]
fn running_containers_are_managed_as_engines_do() {
    let Verb::Ps(ps) = act("--log-format json ps --format json ID").1 else { panic!() };
    assert_eq!((ps.format, ps.words.len()), (ListFormat::Json, 0));
    let Verb::Ps(ps) = act("ps ID -o pid,args").1 else { panic!() };
    assert_eq!(ps.words, ["-o", "pid,args"].map(OsString::from));
    let update = |line: &str| match act(line).1 {
        Verb::Update(update) => update,
        verb => panic!("{verb:?}"),
    };
    for line in ["update --resources - ID", "update --resources=- ID", "update -r - ID"] {
        assert_eq!(update(line).resources.as_deref(), Some(Path::new("-")), "{line}");
    }
    let limits = update("update --memory 512m --memory-swap -1 --cpu-quota -1 --pids-limit=-1 --cpuset-cpus 0-1 ID");
    assert_eq!((limits.memory, limits.memory_swap), (Some(512 << 20), Some(-1)));
    assert_eq!((limits.cpu_quota, limits.pids_limit), (Some(-1), Some(-1)));
    let Verb::Events(events) = act("events --interval 500ms ID").1 else { panic!() };
    assert_eq!(events.interval, std::time::Duration::from_millis(500));
    let Verb::Events(events) = act("events -stats ID").1 else { panic!() };
    assert!(events.stats && events.interval.as_secs() == 5);
    for verb in ["pause", "resume", "wait"] {
        assert_eq!(act(&format!("--root /r {verb} ID")).1.name(), verb);
        assert_eq!(wrong(verb).message, format!("{verb:?} requires exactly 1 argument(s)"));
    }
}

#[test]
fn go_spellings() {
    for line in [
        "delete -force ID",
        "delete ID -f",
        "delete --f ID",
        "delete -force=true ID",
        "delete -f=1 ID",
        "delete -force=false -force ID",
        "delete --force --force -- ID",
    ] {
        assert_eq!(act(line).1, Verb::Delete(Delete { force: true, id: id("ID") }), "{line}");
    }
    for line in ["delete ID", "delete --force --force=false ID", "-debug=F delete -force=0 ID"] {
        assert_eq!(act(line).1, Verb::Delete(Delete { force: false, id: id("ID") }), "{line}");
    }
    let bundle = |line: &str| match act(line).1 {
        Verb::Create(create) => create.create.bundle.unwrap(),
        verb => panic!("{verb:?}"),
    };
    for line in [
        "create -b /b ID",
        "create -bundle=/b ID",
        "create --bundle /b ID",
        "create ID -b=/b",
        "create -b /first --bundle /b ID",
    ] {
        assert_eq!(bundle(line), PathBuf::from("/b"), "{line}");
    }
    // The next word is the value whatever it looks like, and commas don't separate.
    assert_eq!(bundle("create -b --odd,name ID"), PathBuf::from("--odd,name"));
    let Verb::Create(create) = act("create -b /b --console-socket= -b= ID").1 else { panic!() };
    assert_eq!(create.create, CreateFlags::default());
}

#[test]
fn bytes_that_are_no_text() {
    let dir = OsString::from_vec(vec![b'/', 0xff]);
    let mut line = args("create ID -b");
    line.push(dir.clone());
    let Ok(Request::Act(_, Verb::Create(create))) = parse(line) else { panic!() };
    assert_eq!(create.create.bundle, Some(dir.into()));
    let mut line = args("state");
    line.push(OsString::from_vec(vec![0xff]));
    assert!(parse(line).is_err());
}

#[test]
fn words_that_callers_look_for() {
    for (line, message) in [
        ("create --bundle", "flag needs an argument: --bundle"),
        ("--log", "flag needs an argument: --log"),
        ("state --bogus x", "flag provided but not defined: --bogus"),
        ("-bogus=1 state x", "flag provided but not defined: -bogus"),
        ("state ---x", "bad flag syntax: ---x"),
        ("create", "\"create\" requires exactly 1 argument(s)"),
        ("state a b", "\"state\" requires exactly 1 argument(s)"),
        ("kill", "\"kill\" requires a minimum of 1 argument(s)"),
        ("kill a b c", "\"kill\" requires a maximum of 2 argument(s)"),
        ("features x", "\"features\" requires exactly 0 argument(s)"),
        ("create --preserve-fds=x ID", "invalid value \"x\" for flag --preserve-fds: invalid digit found in string"),
        ("create --no-pivot=maybe ID", "invalid boolean value \"maybe\" for flag --no-pivot"),
        ("list -f xml", "invalid value \"xml\" for flag --format: expected one of table, json"),
        ("--log-format xml list", "invalid value \"xml\" for flag --log-format: expected one of text, json"),
        ("--rootless=maybe list", "invalid value \"maybe\" for flag --rootless: expected auto, true or false"),
        ("state a/b", "invalid container ID format: \"a/b\": only letters, digits and _ + . - are allowed"),
    ] {
        let usage = wrong(line);
        assert_eq!((usage.message.as_str(), usage.code), (message, 1), "{line}");
        assert!(usage.hint.contains("usage: rt"), "{line}: {}", usage.hint);
    }
    let mut empty = args("state");
    empty.push(OsString::new());
    assert_eq!(parse(empty).unwrap_err().message, "container id cannot be empty");
}

#[test]
fn an_error_after_the_global_flags_knows_the_log() {
    let usage = wrong("--log /l --log-format json create --bogus");
    assert_eq!(usage.global.unwrap().log, Some("/l".into()));
    let usage = wrong("--log /l nosuch");
    assert_eq!((usage.code, usage.message.as_str()), (3, "no such command: \"nosuch\""));
    assert_eq!(usage.global.unwrap().log, Some("/l".into()));
    assert_eq!(wrong("--bogus --log /l list").global, None);
}

#[test]
fn help_and_version() {
    let help = |line: &str| match parse(args(line)) {
        Ok(Request::Help(text)) => text,
        other => panic!("{line}: {other:?}"),
    };
    for line in ["", "--help", "-h", "help", "-help", "--log x"] {
        let text = help(line);
        for row in verbs::ROWS {
            let about = row.command().get_about().unwrap().to_string();
            assert!(text.contains(row.command().get_name()) && text.contains(&about), "{line}: {text}");
            assert!(!about.contains('`'), "{about}");
        }
    }
    // Also when the rest of the line makes no sense: callers probe for a verb this way.
    for line in ["create --help", "create -h --bundle", "help create", "create ID -help --bogus"] {
        assert!(help(line).contains("--console-socket"), "{line}");
    }
    assert!(!help("kill -h").contains("--all"), "hidden");
    for line in ["-v", "--version", "--version create", "--root /r -version"] {
        assert_eq!(parse(args(line)), Ok(Request::Version), "{line}");
    }
    assert_eq!(wrong("create -v").message, "flag provided but not defined: -v");
}

fn workload(line: &str) -> Result<Workload, String> {
    match act(line).1 {
        Verb::Run(run) => run.workload(),
        verb => panic!("{verb:?}"),
    }
}

#[test]
fn run_takes_an_id_or_a_bundle_or_a_rootfs() {
    let bundle = |dir: &str, name: Option<&str>| Ok(Workload::Bundle { dir: dir.into(), id: name.map(id) });
    assert_eq!(workload("run ID"), bundle(".", Some("ID")));
    assert_eq!(workload("run -- ID"), bundle(".", Some("ID")));
    assert_eq!(workload("run --bundle /b ID"), bundle("/b", Some("ID")));
    assert_eq!(workload("run ./b"), bundle("./b", None));
    assert_eq!(workload("run b/"), bundle("b/", None));
    assert_eq!(workload("run ."), bundle(".", None));
    let rootfs = |name: Option<&str>| {
        let command = ["ls", "-l", "--", "x"].map(OsString::from).to_vec();
        Ok(Workload::Rootfs { dir: "/r".into(), id: name.map(id), command })
    };
    assert_eq!(workload("run --rootfs /r -- ls -l -- x"), rootfs(None));
    assert_eq!(workload("run --rootfs=/r ID -- ls -l -- x"), rootfs(Some("ID")));
}

#[test]
fn run_refuses_what_has_no_meaning() {
    for (line, part) in [
        ("run", "requires exactly 1 argument(s)"),
        ("run --rootfs /r", "needs a command"),
        ("run ID -- ls", "needs --rootfs"),
        ("run -- ls -l", "needs --rootfs"),
        ("run --bundle /b ./c", "both name a bundle"),
        ("run --rootfs /r a/b -- ls", "invalid container ID format"),
        ("run a*b", "invalid container ID format"),
    ] {
        let error = workload(line).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
    assert!(wrong("run --rootfs /r --bundle /b -- ls").message.contains("cannot be used with"));
    assert_eq!(wrong("run a b").message, "\"run\" requires a maximum of 1 argument(s)");
}

#[test]
fn timings_take_a_value_only_after_an_equals_sign() {
    let timings = |line: &str| match act(line).1 {
        Verb::Start(start) => (start.timings, start.id.to_string()),
        verb => panic!("{verb:?}"),
    };
    assert_eq!(timings("start ID"), (None, "ID".into()));
    assert_eq!(timings("start --timings ID"), (Some(Timings::Text), "ID".into()));
    assert_eq!(timings("start -timings=json ID"), (Some(Timings::Json), "ID".into()));
}

#[test]
fn log_levels() {
    let level = |line: &str| act(line).0.level();
    assert_eq!(level("list"), Level::Warning);
    assert_eq!(level("--log-format json list"), Level::Error);
    assert_eq!(level("--log-format json --log-level warn list"), Level::Warning);
    assert_eq!(level("--log-level info list"), Level::Info);
    assert_eq!(level("--log-level error --debug list"), Level::Debug);
}
