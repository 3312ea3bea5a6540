//! `UID[:GID]`, by numbers only. Names are for those who have a passwd file that they trust; the image's is not one.
//!
//! The grammar is exact: what is not in it is an error, never user 0 (CVE-2026-30892, CVE-2024-40635, CVE-2016-3697).

use std::fmt;
use std::str::FromStr;

/// A user, and a group if one was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's id.
    pub uid: u32,
    /// The group's id.
    pub gid: Option<u32>,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (uid, gid) = match text.split_once(':') {
            Some((uid, gid)) => (uid, Some(gid)),
            None => (text, None),
        };
        Ok(Self { uid: id(uid)?, gid: gid.map(id).transpose()? })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gid {
            Some(gid) => write!(f, "{}:{gid}", self.uid),
            None => self.uid.fmt(f),
        }
    }
}

/// One id: decimal digits without a leading zero, and below 4294967295, which means no id at all.
pub(super) fn id(text: &str) -> Result<u32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let zeros = text.len() > 1 && text.starts_with('0');
    let number = if digits && !zeros { text.parse().ok() } else { None };
    number.filter(|id| *id != u32::MAX).ok_or_else(|| format!("expected a number from 0 to 4294967294, got {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The strings that have made somebody root by mistake, and what they mean here.
    #[test]
    fn nothing_outside_of_the_grammar_is_a_user() {
        let forty = "1".repeat(40);
        for (text, want) in [
            ("1", Some((1, None))),
            ("0", Some((0, None))),
            ("1:2", Some((1, Some(2)))),
            ("0:0", Some((0, Some(0)))),
            ("2147483648", Some((2_147_483_648, None))),
            ("4294967294:4294967294", Some((4_294_967_294, Some(4_294_967_294)))),
            ("1:", None),
            (":1", None),
            (":", None),
            ("1:2:3", None),
            ("4294967295", None),
            ("4294967296", None),
            ("4294967297", None),
            ("-1", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1\n", None),
            ("0x1", None),
            ("01", None),
            ("00", None),
            ("1e3", None),
            ("1.0", None),
            ("٣", None),
            ("１", None),
            (&forty, None),
            ("user", None),
            ("root", None),
            ("user:1", None),
            ("1:group", None),
            ("", None),
        ] {
            let got = User::from_str(text).ok().map(|u| (u.uid, u.gid));
            assert_eq!(got, want, "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let mut uid = 1u32;
        for step in 0..100_000u32 {
            // A multiplier with full period: the ids are spread over all of them.
            uid = uid.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let user = User { uid: uid.min(u32::MAX - 1), gid: (step % 2 == 0).then_some(uid.rotate_left(7) / 2) };
            assert_eq!(user.to_string().parse(), Ok(user));
        }
    }
}
