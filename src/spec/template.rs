//! What `rt spec` and `rt spec --rootless` write: the same content as runc's, byte for byte the same on every host.
//!
//! The masked paths are runc's and those that later leaks taught (interrupt counts, power meters). The host's cgroup
//! version does not show: a cgroup namespace is always asked for.

/// The config for root.
const ROOTFUL: &str = include_str!("template.json");
/// The config for other users; the ids are filled in.
const ROOTLESS: &str = include_str!("template-rootless.json");

/// A config.json to start from. `rootless` is the user and group who are to be root inside, if not the real one.
pub fn template(rootless: Option<(u32, u32)>) -> String {
    match rootless {
        None => ROOTFUL.to_owned(),
        Some((uid, gid)) => ROOTLESS.replace("@UID@", &uid.to_string()).replace("@GID@", &gid.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::read_config;
    use super::*;

    #[test]
    fn both_are_accepted_without_a_word_even_when_strict() {
        for text in [template(None), template(Some((1000, 1001)))] {
            let config = read_config(text.clone().into_bytes(), true).unwrap();
            assert_eq!((config.warnings, config.unknown), (vec![], vec![]));
            assert_eq!(config.raw, text.as_bytes());
        }
    }

    /// What the types keep of it, written out again, is what was there: no field is lost on the way.
    #[test]
    fn both_survive_the_types() {
        for text in [template(None), template(Some((1000, 1001)))] {
            let spec = read_config(text.clone().into_bytes(), true).unwrap().spec;
            let mut before: Value = serde_json::from_str(&text).unwrap();
            let mut after = serde_json::to_value(spec).unwrap();
            if let Some(rules) = before.pointer_mut("/linux/resources/devices") {
                rules[0]["type"] = "a".into();
            }
            for document in [&mut before, &mut after] {
                for set in document["process"]["capabilities"].as_object_mut().unwrap().values_mut() {
                    let mut names: Vec<String> = serde_json::from_value(set.take()).unwrap();
                    names.sort();
                    *set = names.into();
                }
            }
            assert_eq!(after, before);
        }
    }

    #[test]
    fn only_the_ids_depend_on_the_caller() {
        let text = template(Some((1000, 1001)));
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["linux"]["uidMappings"][0]["hostID"], 1000);
        assert_eq!(value["linux"]["gidMappings"][0]["hostID"], 1001);
        assert_eq!(text.replace("1000", "7").replace("1001", "8"), template(Some((7, 8))));
        assert!(text.ends_with("\t}\n}\n") && !text.contains("  ") && !text.contains('@'));
    }
}
