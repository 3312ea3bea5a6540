//! The words of `mounts[].options` and what each means. One table: `lower` reads it, `rt features` prints it.
//! Unknown words are data for the filesystem. Never decides whether a combination makes sense; that is `lower`'s.

use crate::sys::mount::Attributes;

/// `MOUNT_ATTR_RDONLY` and its kin, see mount_setattr(2).
pub const RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const NOEXEC: u64 = 0x8;
/// `MOUNT_ATTR__ATIME`: all access-time values; cleared before one is set.
pub const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// What one word does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Sets bits of the mount.
    Set(u64),
    /// Clears bits of the mount.
    Clear(u64),
    /// Chooses how access times are kept.
    Atime(u64),
    /// The same three for the whole tree.
    TreeSet(u64),
    TreeClear(u64),
    TreeAtime(u64),
    /// Propagation, and whether for the whole tree.
    Propagate(u64, bool),
    /// A bind, and whether with everything below.
    Bind(bool),
    /// A flag of the filesystem itself, in fsconfig's words.
    Super(&'static str),
    Remount,
    Iversion(bool),
    CopyUp,
    Idmap(bool),
    /// Means nothing (any more), or is the default.
    Nothing,
}

use Effect::{Atime, Bind, Clear, CopyUp, Idmap, Iversion, Nothing, Propagate, Remount, Set, Super};
use Effect::{TreeAtime, TreeClear, TreeSet};

const SHARED: u64 = libc::MS_SHARED;
const SLAVE: u64 = libc::MS_SLAVE;
const PRIVATE: u64 = libc::MS_PRIVATE;
const UNBINDABLE: u64 = libc::MS_UNBINDABLE;

/// Sorted by name.
const TABLE: &[(&str, Effect)] = &[
    ("async", Super("async")),
    ("atime", Atime(0)),
    ("bind", Bind(false)),
    ("defaults", Nothing),
    ("dev", Clear(NODEV)),
    ("diratime", Clear(NODIRATIME)),
    ("dirsync", Super("dirsync")),
    ("exec", Clear(NOEXEC)),
    ("idmap", Idmap(false)),
    ("iversion", Iversion(true)),
    ("lazytime", Super("lazytime")),
    // `loud` and `silent` steer what the filesystem logs; the mount API has no such flag, it never logs to the console.
    ("loud", Nothing),
    // Mandatory locking left the kernel in 5.15.
    ("mand", Nothing),
    ("noatime", Atime(NOATIME)),
    ("nodev", Set(NODEV)),
    ("nodiratime", Set(NODIRATIME)),
    ("noexec", Set(NOEXEC)),
    ("noiversion", Iversion(false)),
    ("nolazytime", Super("nolazytime")),
    ("nomand", Nothing),
    // The kernel's default without noatime or strictatime is relatime: to take it away changes nothing.
    ("norelatime", Nothing),
    ("nostrictatime", Atime(0)),
    ("nosuid", Set(NOSUID)),
    ("nosymfollow", Set(NOSYMFOLLOW)),
    ("private", Propagate(PRIVATE, false)),
    ("ratime", TreeAtime(0)),
    ("rbind", Bind(true)),
    ("rdev", TreeClear(NODEV)),
    ("rdiratime", TreeClear(NODIRATIME)),
    ("relatime", Atime(0)),
    ("remount", Remount),
    ("rexec", TreeClear(NOEXEC)),
    ("ridmap", Idmap(true)),
    ("rnoatime", TreeAtime(NOATIME)),
    ("rnodev", TreeSet(NODEV)),
    ("rnodiratime", TreeSet(NODIRATIME)),
    ("rnoexec", TreeSet(NOEXEC)),
    ("rnorelatime", TreeAtime(0)),
    ("rnostrictatime", TreeAtime(0)),
    ("rnosuid", TreeSet(NOSUID)),
    ("rnosymfollow", TreeSet(NOSYMFOLLOW)),
    ("ro", Set(RDONLY)),
    ("rprivate", Propagate(PRIVATE, true)),
    ("rrelatime", TreeAtime(0)),
    ("rro", TreeSet(RDONLY)),
    ("rrw", TreeClear(RDONLY)),
    ("rshared", Propagate(SHARED, true)),
    ("rslave", Propagate(SLAVE, true)),
    ("rstrictatime", TreeAtime(STRICTATIME)),
    ("rsuid", TreeClear(NOSUID)),
    ("rsymfollow", TreeClear(NOSYMFOLLOW)),
    ("runbindable", Propagate(UNBINDABLE, true)),
    ("rw", Clear(RDONLY)),
    ("shared", Propagate(SHARED, false)),
    ("silent", Nothing),
    ("slave", Propagate(SLAVE, false)),
    ("strictatime", Atime(STRICTATIME)),
    ("suid", Clear(NOSUID)),
    ("symfollow", Clear(NOSYMFOLLOW)),
    ("sync", Super("sync")),
    ("tmpcopyup", CopyUp),
    ("unbindable", Propagate(UNBINDABLE, false)),
];

/// Every word we know, sorted: the `mountOptions` of `rt features`.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// What a list of options asks for. The last word on a matter wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// For the mount itself.
    pub own: Attributes,
    /// For the whole tree below it.
    pub tree: Attributes,
    /// In order: flag, whole tree.
    pub propagation: Vec<(u64, bool)>,
    /// `bind` (false) or `rbind` (true).
    pub bind: Option<bool>,
    /// Changes what is mounted there already.
    pub remount: bool,
    /// Flags of the filesystem.
    pub superblock: Vec<&'static str>,
    /// `iversion`: only mount(2) can say it.
    pub iversion: bool,
    /// A tmpfs that starts with what its directory held.
    pub copy_up: bool,
    /// `idmap` (false) or `ridmap` (true).
    pub idmap: Option<bool>,
    /// What stands behind `idmap=`: maps of its own, in crun's form.
    pub mapping: Option<String>,
    /// Everything else: `size=64k`, in order.
    pub data: Vec<String>,
}

fn set(attributes: &mut Attributes, bits: u64) {
    attributes.set |= bits;
    attributes.clear &= !bits;
}

fn clear(attributes: &mut Attributes, bits: u64) {
    attributes.set &= !bits;
    attributes.clear |= bits;
}

fn atime(attributes: &mut Attributes, value: u64) {
    attributes.set = attributes.set & !ATIME | value;
    attributes.clear |= ATIME;
}

/// Reads a list of options.
pub fn parse(words: &[String]) -> Options {
    let mut options = Options::default();
    for word in words {
        let Ok(found) = TABLE.binary_search_by(|(name, _)| (*name).cmp(word)) else {
            if let Some(("idmap" | "ridmap", maps)) = word.split_once('=') {
                options.idmap = Some(word.starts_with('r'));
                options.mapping = Some(maps.to_owned());
                continue;
            }
            options.data.extend(word.split(',').filter(|w| !w.is_empty()).map(str::to_owned));
            continue;
        };
        match TABLE[found].1 {
            Set(bits) => set(&mut options.own, bits),
            Clear(bits) => clear(&mut options.own, bits),
            Atime(value) => atime(&mut options.own, value),
            TreeSet(bits) => set(&mut options.tree, bits),
            TreeClear(bits) => clear(&mut options.tree, bits),
            TreeAtime(value) => atime(&mut options.tree, value),
            Propagate(flag, tree) => options.propagation.push((flag, tree)),
            Bind(tree) => options.bind = Some(tree),
            Super(flag) => options.superblock.push(flag),
            Remount => options.remount = true,
            Iversion(on) => options.iversion = on,
            CopyUp => options.copy_up = true,
            Idmap(tree) => options.idmap = Some(tree),
            Nothing => {}
        }
    }
    options
}

/// Attributes in the spec's words, for people: `ro, nosuid`.
pub fn words(attributes: Attributes, tree: bool) -> Vec<String> {
    let prefix = if tree { "r" } else { "" };
    let pairs = [
        (RDONLY, "ro", "rw"),
        (NOSUID, "nosuid", "suid"),
        (NODEV, "nodev", "dev"),
        (NOEXEC, "noexec", "exec"),
        (NODIRATIME, "nodiratime", "diratime"),
        (NOSYMFOLLOW, "nosymfollow", "symfollow"),
    ];
    let mut words = Vec::new();
    for (bit, on, off) in pairs {
        if attributes.set & bit != 0 {
            words.push(format!("{prefix}{on}"));
        } else if attributes.clear & bit != 0 {
            words.push(format!("{prefix}{off}"));
        }
    }
    if attributes.clear & ATIME != 0 {
        let kept = match attributes.set & ATIME {
            NOATIME => "noatime",
            STRICTATIME => "strictatime",
            _ => "relatime",
        };
        words.push(format!("{prefix}{kept}"));
    }
    words
}

/// A propagation flag in the spec's word.
pub fn propagation_word(flag: u64, tree: bool) -> String {
    let word = match flag {
        SHARED => "shared",
        SLAVE => "slave",
        PRIVATE => "private",
        _ => "unbindable",
    };
    format!("{}{word}", if tree { "r" } else { "" })
}

/// The flag of a `rootfsPropagation` word, and whether for the whole tree.
pub fn propagation(word: &str) -> Option<(u64, bool)> {
    match TABLE.binary_search_by(|(name, _)| (*name).cmp(word)).map(|found| TABLE[found].1) {
        Ok(Propagate(flag, tree)) => Some((flag, tree)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Options {
        parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_table_is_sorted_so_that_it_can_be_searched() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn the_last_word_on_a_matter_wins() {
        assert_eq!(parsed(&["ro", "rw"]).own, Attributes { set: 0, clear: RDONLY, propagation: 0 });
        assert_eq!(parsed(&["rw", "ro"]).own, Attributes { set: RDONLY, clear: 0, propagation: 0 });
        let strict = parsed(&["noatime", "strictatime"]).own;
        assert_eq!((strict.set, strict.clear), (STRICTATIME, ATIME));
    }

    #[test]
    fn unknown_words_are_data() {
        assert_eq!(parsed(&["nosuid", "mode=755", "size=1k,nr_inodes=3"]).data, ["mode=755", "size=1k", "nr_inodes=3"]);
    }

    #[test]
    fn words_say_what_was_parsed() {
        let options = parsed(&["rro", "nosuid", "dev", "strictatime"]);
        assert_eq!(words(options.own, false), ["nosuid", "dev", "strictatime"]);
        assert_eq!(words(options.tree, true), ["rro"]);
    }
}
