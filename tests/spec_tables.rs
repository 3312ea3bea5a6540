//! Subjects don't import each other, so what two of them know is held together here. Needs no root.

/// What the validator takes for a word of its own, and not for data, is what the mounts' lowering knows.
#[test]
fn validator_and_mounts_know_the_same_options() {
    assert!(rt::spec::GENERIC_OPTIONS.iter().copied().eq(rt::rootfs::options::names()));
}

/// The file that the validator lets through is the file that is written.
#[test]
fn validator_and_namespaces_read_sysctls_alike() {
    for key in [
        "net.ipv4.ip_forward",
        "net/ipv4/ip_forward",
        "net.ipv4.conf.eth0/1.rp_filter",
        "net/ipv4/conf/eth0.1/rp_filter",
    ] {
        assert_eq!(rt::spec::sysctl_path(key).unwrap(), rt::namespaces::lower::sysctl_path(key), "{key}");
    }
}
