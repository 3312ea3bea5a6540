//! What the kernel below the tests is and has.

use std::fs;
use std::path::Path;

/// Whether the kernel is a program, user-mode Linux: some calls that CRIU needs fail there.
pub fn user_mode_linux() -> bool {
    fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("User Mode Linux"))
}

/// Whether it has set_mempolicy(2).
pub fn has_memory_policies() -> bool {
    Path::new("/proc/self/numa_maps").try_exists().expect("a look at /proc")
}

/// A size of huge pages that it has, as the config writes it.
pub fn huge_page_size() -> Option<String> {
    let entry = fs::read_dir("/sys/kernel/mm/hugepages").ok()?.flatten().next()?;
    let name = entry.file_name().to_string_lossy().into_owned();
    let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(if kilobytes >= 1 << 20 { format!("{}GB", kilobytes >> 20) } else { format!("{}MB", kilobytes >> 10) })
}

/// A whole disk of this machine.
pub fn disk() -> Option<(u64, u64)> {
    let names: Vec<_> = fs::read_dir("/sys/block").ok()?.flatten().map(|entry| entry.path()).collect();
    let disk = names.iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        ["vd", "sd", "nvme", "ubd"].iter().any(|kind| name.starts_with(kind))
    })?;
    let text = fs::read_to_string(disk.join("dev")).ok()?;
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
