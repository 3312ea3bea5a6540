//! Documents as people write them: good ones are taken, broken ones are refused with exactly these words.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::*;

/// Changes to a good config, and everything that must be said about the result.
const BROKEN: &str = include_str!("../../tests/data/spec/broken.txt");

/// A config in which every property of the tables is used.
const FULL: &str = include_str!("../../tests/data/spec/full.json");

struct Case<'a> {
    title: &'a str,
    strict: bool,
    value: Value,
    said: Vec<&'a str>,
}

/// The format is described at the top of the file.
fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = Vec::new();
    for (number, line) in BROKEN.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        if let Some(title) = line.strip_prefix("* ") {
            let strict = title.starts_with("strict:");
            cases.push(Case { title, strict, value: base(), said: Vec::new() });
            continue;
        }
        let case = cases.last_mut().unwrap();
        if let Some(said) = line.strip_prefix("! ") {
            case.said.push(said);
        } else if let Some(pointer) = line.strip_prefix("- ") {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            case.value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
        } else {
            let (pointer, text) = line.split_once(" = ").unwrap_or_else(|| panic!("line {}", number + 1));
            let value = serde_json::from_str(text).unwrap_or_else(|e| panic!("line {}: {e}", number + 1));
            set(&mut case.value, pointer, value);
        }
    }
    cases
}

fn set(document: &mut Value, pointer: &str, value: Value) {
    let mut place = document;
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        place = match (place, name.parse::<usize>()) {
            (Value::Array(list), Ok(index)) => {
                list.resize(list.len().max(index + 1), Value::Null);
                &mut list[index]
            }
            (place, _) => {
                if !place.is_object() {
                    *place = json!({});
                }
                &mut place[name]
            }
        };
    }
    *place = value;
}

fn base() -> Value {
    serde_json::from_str(&template::template(None)).unwrap()
}

fn complaints(value: &Value, strict: bool) -> Vec<ConfigError> {
    read_config(serde_json::to_vec(value).unwrap(), strict).err().map_or(Vec::new(), |complaints| complaints.0)
}

#[test]
fn broken_documents_are_refused_with_these_words() {
    let mut wrong = String::new();
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    for case in cases {
        assert!(!case.said.is_empty(), "{}: no complaint is expected", case.title);
        let got: Vec<String> = complaints(&case.value, case.strict).iter().map(ToString::to_string).collect();
        if got != case.said {
            let _ = writeln!(wrong, "* {}\n! {}", case.title, got.join("\n! "));
        }
    }
    assert!(wrong.is_empty(), "said instead:\n{wrong}");
}

/// A complaint names something that is there, or a member that is missing from something that is there.
fn points_somewhere(value: &Value, pointer: &str) -> bool {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    value.pointer(pointer).is_some() || value.pointer(parent).is_some_and(Value::is_object)
}

#[test]
fn every_complaint_points_somewhere() {
    for case in cases() {
        for complaint in complaints(&case.value, case.strict) {
            assert!(points_somewhere(&case.value, &complaint.pointer), "{}: {complaint}", case.title);
        }
    }
}

#[test]
fn complaints_come_in_document_order() {
    let text = br#"{
        "process": {"cwd": 1, "args": 2},
        "ociVersion": 3,
        "mounts": [{"destination": 4}],
        "linux": {"namespaces": [{"type": "bogus"}], "maskedPaths": 5},
        "root": 6
    }"#;
    let complaints = read_config(text.to_vec(), false).unwrap_err().0;
    let pointers: Vec<&str> = complaints.iter().map(|complaint| complaint.pointer.as_str()).collect();
    let wanted = [
        "/process/cwd",
        "/process/args",
        "/ociVersion",
        "/mounts/0/destination",
        "/linux/namespaces/0/type",
        "/linux/maskedPaths",
        "/root",
    ];
    assert_eq!(pointers, wanted);
}

/// Types are wrong in one section; what is wrong with another one is said all the same, and nothing that only follows.
#[test]
fn sound_sections_are_validated_beside_faulty_ones() {
    let mut value = base();
    value["linux"]["namespaces"] = json!("all of them");
    value["process"]["cwd"] = json!("work");
    let got: Vec<String> = complaints(&value, false).iter().map(ToString::to_string).collect();
    assert_eq!(
        got,
        [
            "/linux/namespaces: expected an array, got \"all of them\"",
            "/process/cwd: expected an absolute path, got \"work\"",
        ]
    );
}

#[test]
fn too_many_complaints_are_counted() {
    let mut value = base();
    value["process"]["env"] = json!(vec!["no equals sign"; 250]);
    let got = complaints(&value, false);
    assert_eq!(got.len(), json::MAX_COMPLAINTS + 1);
    assert_eq!(got.last().unwrap().to_string(), "/: and 150 more complaints");
}

/// Each limit at its last good value and one further.
#[test]
fn limits_are_exact() {
    let refused = |pointer: &str, value: Value| {
        let mut document = base();
        set(&mut document, pointer, value);
        let got = complaints(&document, false);
        got.first().map(|complaint| complaint.pointer.clone())
    };
    let mounts = |count: usize| json!(vec![json!({"destination": "/x", "type": "tmpfs"}); count]);
    let hooks = |count: usize| json!(vec![json!({"path": "/h"}); count]);
    let groups = |count: usize| json!(vec![1; count]);
    let map =
        |count: u32| Value::from_iter((0..count).map(|n| json!({"containerID": 2 * n, "hostID": 2 * n, "size": 1})));
    let wide = |count: u64| {
        let row = |n: u64| json!({"containerID": 1_000_000_000 + n, "hostID": 1_000_000_000 + n, "size": 1});
        Value::from_iter((0..count).map(row))
    };
    let mapped = |map: Value| {
        let mut document = base();
        document["mounts"] = json!([{"destination": "/x", "type": "tmpfs", "uidMappings": map, "gidMappings": map}]);
        complaints(&document, false).first().map(|complaint| complaint.pointer.clone())
    };
    let string = |length: usize| json!(["sh", "a".repeat(length)]);
    let path = |length: usize| json!(format!("/{}", "p".repeat(length - 1)));
    // 4 strings of the largest size, and what is left of 6 MiB.
    let rest = (6 << 20) - 47 * (schema::MAX_STRING + 9) - 3 * 9 - "shPATH=/bin".len();
    let space = |rest: usize| {
        let mut document = base();
        document["process"]["env"] = json!(["PATH=/bin"]);
        let mut args = vec!["a".repeat(schema::MAX_STRING); 47];
        args.insert(0, "sh".to_owned());
        args.push("a".repeat(rest));
        document["process"]["args"] = json!(args);
        complaints(&document, false).first().map(|complaint| complaint.pointer.clone())
    };
    let at = |pointer: &str| Some(pointer.to_owned());

    assert_eq!(refused("/mounts", mounts(8192)), None);
    assert_eq!(refused("/mounts", mounts(8193)), at("/mounts"));
    assert_eq!(refused("/hooks/poststop", hooks(256)), None);
    assert_eq!(refused("/hooks/poststop", hooks(257)), at("/hooks"));
    assert_eq!(refused("/process/user/additionalGids", groups(65536)), None);
    assert_eq!(refused("/process/user/additionalGids", groups(65537)), at("/process/user/additionalGids"));
    assert_eq!(mapped(map(340)), None);
    assert_eq!(mapped(map(341)), at("/mounts/0/gidMappings"));
    assert_eq!(mapped(wide(170)), None);
    assert_eq!(mapped(wide(171)), at("/mounts/0/gidMappings"));
    assert_eq!(refused("/process/args", string(schema::MAX_STRING)), None);
    assert_eq!(refused("/process/args", string(schema::MAX_STRING + 1)), at("/process/args/1"));
    assert_eq!(refused("/process/cwd", path(schema::MAX_PATH)), None);
    assert_eq!(refused("/process/cwd", path(schema::MAX_PATH + 1)), at("/process/cwd"));
    assert_eq!(space(rest), None);
    assert_eq!(space(rest + 1), at("/process/args"));
    assert_eq!(refused("/domainname", json!("d".repeat(64))), None);
    assert_eq!(refused("/domainname", json!("d".repeat(65))), at("/domainname"));
    assert_eq!(refused("/linux/netDevices", json!({"i".repeat(15): {}})), None);
    assert_eq!(
        refused("/linux/netDevices", json!({"i".repeat(16): {}})),
        Some(format!("/linux/netDevices/{}", "i".repeat(16)))
    );
    assert_eq!(refused("/process/user/uid", json!(u32::MAX - 1)), None);
    assert_eq!(refused("/process/user/uid", json!(u32::MAX)), at("/process/user/uid"));
}

/// The tables, the types and a document agree about every property.
#[test]
fn every_property_passes_through() {
    let config = read_config(FULL.as_bytes().to_vec(), false).unwrap();
    assert_eq!(config.unknown, Vec::<String>::new());
    let document: Value = serde_json::from_str(FULL).unwrap();
    let after = serde_json::to_value(&config.spec).unwrap();
    let foreign = |path: &str| ["/freebsd", "/solaris", "/vm", "/windows", "/zos"].contains(&path);
    for path in schema::paths(properties::CONFIG) {
        assert!(present(&document, &path), "{path} is missing from full.json");
        let dropped = foreign(&path) || path.ends_with("/username") || path.ends_with("/commandLine");
        assert_eq!(present(&after, &path), !dropped, "{path} through the types");
    }
}

fn present(value: &Value, path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return true };
    let (name, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match (name, value) {
        ("*", Value::Array(list)) => list.iter().any(|value| present(value, rest)),
        ("*", Value::Object(members)) => members.values().any(|value| present(value, rest)),
        (name, value) => value.get(name).is_some_and(|value| present(value, rest)),
    }
}

/// Every word that the tables allow is a word to the types.
#[test]
fn every_word_parses() {
    let mut tried = 0;
    let document: Value = serde_json::from_str(FULL).unwrap();
    for (pointer, words) in words_of(&document, schema::Kind::Object(properties::CONFIG), String::new()) {
        for word in words {
            let mut document = document.clone();
            *document.pointer_mut(&pointer).unwrap() = json!(word);
            for complaint in complaints(&document, false) {
                assert!(!complaint.message.contains("variant"), "{word}: {complaint}");
                assert_ne!(complaint.pointer, "", "{word}: {complaint}");
            }
            tried += 1;
        }
    }
    assert!(tried > 120, "{tried}");
}

fn words_of(value: &Value, kind: schema::Kind, at: String) -> Vec<(String, &'static [&'static str])> {
    use schema::Kind;
    match (kind, value) {
        (Kind::Word(words), _) => vec![(at, words)],
        (Kind::List(item), Value::Array(list)) => {
            list.iter().enumerate().flat_map(|(i, value)| words_of(value, *item, format!("{at}/{i}"))).collect()
        }
        (Kind::Map(item), Value::Object(map)) => map
            .iter()
            .flat_map(|(name, value)| words_of(value, *item, format!("{at}/{}", pointer::escape(name))))
            .collect(),
        (Kind::Object(table), Value::Object(map)) => {
            let members = map.iter().filter_map(|(name, value)| Some((schema::find(table, name)?, value)));
            members
                .flat_map(|(property, value)| words_of(value, property.kind, format!("{at}/{}", property.name)))
                .collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn nulls_are_absent_unless_strict() {
    let mut value = base();
    value["hooks"] = Value::Null;
    value["process"]["env"] = Value::Null;
    let config = read_config(serde_json::to_vec(&value).unwrap(), false).unwrap();
    assert!(config.spec.hooks().is_none() && config.spec.process().as_ref().unwrap().env().is_none());
    let said: Vec<String> = complaints(&value, true).iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "/hooks: null is not a value; leave the property out",
            "/process/env: null is not a value; leave the property out",
        ]
    );
}

#[test]
fn what_is_odd_but_legal_is_a_warning() {
    let mut value = base();
    value["ociVersion"] = json!("1.9.0");
    value["mounts"][0]["destination"] = json!("proc");
    value["mounts"][1] =
        json!({"destination": "/b", "type": "bind", "source": "/b", "options": ["rbind", "size=1k", "mode=755"]});
    value["linux"]["personality"] = json!({"domain": "LINUX", "flags": ["x"]});
    value["linux"]["rootfsPropagation"] = json!("rslave");
    value["Hostname"] = json!("typo");
    let config = read_config(serde_json::to_vec(&value).unwrap(), false).unwrap();
    let said: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "/Hostname: ignored: names are matched exactly, and the property is called \"hostname\"",
            "/mounts/0/destination: relative paths are deprecated; \"proc\" is taken as \"/proc\"",
            "/mounts/1/options/1: \"size=1k\" is data for a filesystem, and a bind mount has none that could use it; ignored",
            "/mounts/1/options/2: \"mode=755\" is data for a filesystem, and a bind mount has none that could use it; ignored",
            "/ociVersion: 1.9.0 is newer than 1.3; what is new in it is ignored",
            "/linux/personality/flags: no flag of a personality is supported; ignored",
        ]
    );
    assert_eq!(config.spec.mounts().as_ref().unwrap()[0].destination().to_str(), Some("/proc"));
    assert_eq!(config.spec.mounts().as_ref().unwrap()[1].options().as_deref(), Some(&["rbind".to_owned()][..]));
    assert_eq!(config.unknown, ["/Hostname"]);
}

/// The least that is a config: no process, no linux.
#[test]
fn a_config_may_be_almost_empty() {
    let config = read_config(br#"{"ociVersion":"1.0.0","root":{"path":"r"}}"#.to_vec(), true).unwrap();
    assert!(config.spec.process().is_none() && config.spec.linux().is_none() && config.warnings.is_empty());
}

#[test]
fn a_document_of_another_kind_is_one_complaint() {
    for (text, got) in [("[]", "an array"), ("5", "5"), ("null", "null"), ("\"x\"", "\"x\"")] {
        let complaints = read_config(text.as_bytes().to_vec(), false).unwrap_err();
        assert_eq!(complaints.to_string(), format!("invalid config.json: /: expected an object, got {got}"));
        assert!(read_process(text.as_bytes(), false).is_err() && read_resources(text.as_bytes(), false).is_err());
    }
}

/// `rt check` wants the warnings of a config that is refused, too.
#[test]
fn a_report_has_errors_and_warnings() {
    let report = inspect(br#"{"ociVersion": "1.4.0", "root": {"path": ""}, "x": 1}"#, false);
    assert_eq!(report.errors[0].pointer, "/root/path");
    assert_eq!(report.warnings[0].pointer, "/ociVersion");
    assert_eq!(report.unknown, ["/x"]);
}

#[test]
fn a_process_by_itself() {
    let (process, warnings) =
        read_process(br#"{"args": ["ls"], "cwd": "/", "capabilities": {"bounding": ["CAP_X"]}}"#, false).unwrap();
    assert_eq!(process.user().uid(), 0);
    assert_eq!(warnings[0].to_string(), "/capabilities/bounding/0: unknown capability \"CAP_X\"; left out");
    let complaints = read_process(br#"{"cwd": "x", "env": ["=", "A"]}"#, false).unwrap_err().0;
    let said: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "/args: missing; expected at least the program to run",
            "/cwd: expected an absolute path, got \"x\"",
            "/env/0: expected NAME=value, got \"=\"",
            "/env/1: expected NAME=value, got \"A\"",
        ]
    );
}

/// What docker sends for `update`: zeros mean "leave it".
#[test]
fn resources_by_themselves() {
    let sent = br#"{"memory":{"limit":0,"reservation":0,"kernel":0},"cpu":{"shares":0,"quota":25000,"period":100000},
        "pids":{"limit":50},"blockIO":{"weight":0},"devices":[{"allow":false,"access":"rwm"}]}"#;
    let (resources, warnings) = read_resources(sent, true).unwrap();
    assert_eq!(resources.cpu().as_ref().unwrap().quota(), Some(25000));
    assert!(warnings.is_empty());
    let complaints = read_resources(br#"{"blockIO": {"weight": 5}, "unified": {"a/b": "1"}}"#, false).unwrap_err().0;
    let said: Vec<String> = complaints.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "/blockIO/weight: expected an integer from 10 to 1000, got 5",
            "/unified/a~1b: expected the name of a cgroup file like memory.high, got \"a/b\"",
        ]
    );
}

/// xorshift: the same documents every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }
}

fn mutate(value: &mut Value, dice: &mut Dice) {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("/"),
        json!("a\0b"),
        json!("../.."),
        json!([]),
        json!({}),
        json!([null]),
        json!({"": null}),
        json!("é".repeat(70)),
        json!([[{}]]),
    ];
    let replacement = odd[dice.roll(odd.len())].clone();
    match value {
        Value::Object(members) if !members.is_empty() && dice.roll(8) > 0 => {
            let index = dice.roll(members.len());
            let name = members.keys().nth(index).unwrap().clone();
            match dice.roll(12) {
                0 => drop(members.remove(&name)),
                1 => drop(members.insert(name.to_uppercase(), replacement)),
                2 => drop(members.insert("a/b~c".to_owned(), replacement)),
                _ => mutate(&mut members[&name], dice),
            }
        }
        Value::Array(list) if !list.is_empty() && dice.roll(8) > 0 => {
            let index = dice.roll(list.len());
            match dice.roll(12) {
                0 => drop(list.remove(index)),
                1 => list.push(replacement),
                2 => list.push(list[index].clone()),
                _ => mutate(&mut list[index], dice),
            }
        }
        place => *place = replacement,
    }
}

/// Good configs to spoil: the templates, the full one, and often only one section of it, which is faster.
fn starts() -> Vec<Value> {
    let full: Value = serde_json::from_str(FULL).unwrap();
    let alone = |section: &str| json!({"ociVersion": "1.3.0", "root": {"path": "r"}, section: full[section]});
    let mut all = vec![base(), full.clone()];
    for section in ["process", "mounts", "hooks", "linux"] {
        all.extend([alone(section), alone(section)]);
    }
    for start in &all {
        assert_eq!(complaints(start, true), []);
    }
    all
}

/// No document panics, what is refused is refused with pointers that lead somewhere, and never by the types (they have no
/// pointer to give): the walk knows all that they know.
#[test]
fn mutated_documents_never_surprise() {
    let mut dice = Dice(0x5eed_cafe);
    let starts = starts();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..14_000 {
        let mut value = starts[dice.roll(starts.len())].clone();
        for _ in 0..=dice.roll(3) {
            mutate(&mut value, &mut dice);
        }
        match read_config(serde_json::to_vec(&value).unwrap(), dice.roll(2) == 0) {
            Ok(_) => taken += 1,
            Err(Complaints(complaints)) => {
                refused += 1;
                for complaint in complaints {
                    let whole = !value.is_object() || complaint.message.ends_with("more complaints");
                    assert!(!complaint.pointer.is_empty() || whole, "{complaint}\n{value}");
                    assert!(points_somewhere(&value, &complaint.pointer), "{complaint}\n{value}");
                }
            }
        }
    }
    assert!(taken > 1000 && refused > 7000, "{taken} taken, {refused} refused");
}

/// The text of a document, spoilt byte by byte.
#[test]
fn mutated_bytes_never_panic() {
    let mut dice = Dice(0xbad_5eed);
    let texts: Vec<Vec<u8>> = starts().iter().map(|start| serde_json::to_vec(start).unwrap()).collect();
    for _ in 0..6_000 {
        let mut bytes = texts[dice.roll(texts.len())].clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(bytes.len());
            match dice.roll(4) {
                0 => bytes[at] = dice.roll(256) as u8,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, b"{}[],:\"\\0-e"[dice.roll(11)]),
                _ => drop(bytes.remove(at.min(bytes.len().saturating_sub(1)))),
            }
            if bytes.is_empty() {
                break;
            }
        }
        let _ = read_config(bytes.clone(), false);
        let _ = read_process(&bytes, false);
        let _ = pointer::position(&bytes, "/linux/seccomp/syscalls/0/args/0/op");
    }
}
