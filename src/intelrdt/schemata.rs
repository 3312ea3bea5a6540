//! Lines of a `schemata` file: `L3:0=ff;1=3`, `MB:0=70`. Merging what a config says, comparing it with what a group has. Pure.

/// The resource that a line is about.
fn resource(line: &str) -> &str {
    line.split(':').next().unwrap_or_default().trim()
}

/// What is to be written: of `l3CacheSchema` the lines for what `memBwSchema` does not set, then that, each only where
/// `schemata` has no line for its resource; then `schemata`. The kernel refuses a resource that is named twice.
pub fn merge(l3: Option<&str>, memory: Option<&str>, schemata: &[String]) -> Vec<String> {
    let memory: Vec<&str> = memory.into_iter().flat_map(str::lines).filter(|line| !line.trim().is_empty()).collect();
    let caches = l3.into_iter().flat_map(str::lines).filter(|line| !line.trim().is_empty());
    let caches = caches.filter(|line| memory.is_empty() || resource(line) != "MB");
    let overruled = |line: &&str| schemata.iter().any(|own| resource(own) == resource(line));
    let merged =
        caches.chain(memory.iter().copied()).filter(|line| !overruled(line)).map(|line| line.trim().to_owned());
    merged.chain(schemata.iter().map(|line| line.trim().to_owned())).collect()
}

/// Of what a group has, the lines for those resources that `lines` are about.
pub fn same_resources(lines: &[String], has: &str) -> Vec<String> {
    let about = |own: &&str| lines.iter().any(|line| resource(line) == resource(own));
    has.lines().filter(about).map(|own| own.trim().to_owned()).collect()
}

/// Whether a group whose schemata file says `has` gives what `line` asks for, domain by domain. `step` is the step of
/// the memory bandwidth in percent: the kernel rounds up to it. If not: what the group has instead.
pub fn agrees(line: &str, has: &str, step: u64) -> Result<(), String> {
    let Some(own) = has.lines().find(|own| resource(own) == resource(line)) else {
        return Err(format!("has no {}", resource(line)));
    };
    let domains = |line: &str| -> Vec<(String, String)> {
        let (_, list) = line.split_once(':').unwrap_or_default();
        let pairs = list.split(';').filter_map(|pair| pair.split_once('='));
        pairs.map(|(domain, value)| (domain.trim().to_owned(), value.trim().to_owned())).collect()
    };
    let has = domains(own);
    let bandwidth = resource(line) == "MB";
    let same = |asked: &str, has: &str| {
        if !bandwidth {
            return u128::from_str_radix(asked, 16).is_ok_and(|a| u128::from_str_radix(has, 16) == Ok(a));
        }
        let (Ok(asked), Ok(has)) = (asked.parse::<u64>(), has.parse::<u64>()) else { return false };
        has == asked || has == asked.next_multiple_of(step.max(1))
    };
    let as_asked = domains(line).iter().all(|(domain, value)| has.iter().any(|(d, v)| d == domain && same(value, v)));
    if as_asked { Ok(()) } else { Err(format!("has {}", own.trim())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemata_overrule_the_older_properties() {
        let merged = |l3, mb, schemata: &[&str]| {
            let schemata: Vec<String> = schemata.iter().map(|s| (*s).to_owned()).collect();
            merge(l3, mb, &schemata)
        };
        assert_eq!(merged(None, None, &[]), Vec::<String>::new());
        assert_eq!(merged(Some("L3:0=ff"), Some("MB:0=70"), &[]), ["L3:0=ff", "MB:0=70"]);
        assert_eq!(merged(Some("L3:0=ff\nMB:0=10\n"), Some("MB:0=70"), &[]), ["L3:0=ff", "MB:0=70"]);
        assert_eq!(merged(Some("L3:0=ff\nMB:0=10\n"), None, &[]), ["L3:0=ff", "MB:0=10"]);
        assert_eq!(merged(Some("L3:0=ff"), Some("MB:0=70"), &["L3:0=1", "L2:0=3"]), ["MB:0=70", "L3:0=1", "L2:0=3"]);
    }

    #[test]
    fn a_group_agrees_by_value_not_by_spelling() {
        let has = "    L3:0=0000f;1=fffff\n    MB:0= 80;1=100\n";
        for (line, step, fine) in [
            ("L3:0=f", 10, true),
            ("L3:1=FFFFF;0=0f", 10, true),
            ("L3:0=ff", 10, false),
            ("L3:2=f", 10, false),
            ("L2:0=f", 10, false),
            ("MB:0=80", 10, true),
            ("MB:0=75", 10, true),
            ("MB:0=75", 1, false),
            ("MB:0=70", 10, false),
            ("MB:1=100", 0, true),
        ] {
            assert_eq!(agrees(line, has, step).is_ok(), fine, "{line}");
        }
        assert_eq!(agrees("L3:0=ff", has, 10), Err("has L3:0=0000f;1=fffff".into()));
        assert_eq!(agrees("L2:0=f", has, 10), Err("has no L2".into()));
    }
}
