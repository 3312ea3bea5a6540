//! Lists like `0-3,7`, as the kernel writes sets of CPUs and memory nodes.
//!
//! Only says whether a list is well formed; it does not know how many CPUs there are.

use super::schema::quoted;

/// No machine has a CPU or node of this number.
const MOST: u32 = 65535;

/// Whether this is a list of numbers and rising ranges; otherwise what would be.
pub fn check(list: &str) -> Result<(), String> {
    let fault = |wanted: &str| Err(format!("expected a list like 0-3,7{wanted}, got {}", quoted(list)));
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first > last => return fault(" with rising ranges"),
            (Some(_), Some(last)) if last > MOST => return fault(&format!(" with numbers up to {MOST}")),
            (Some(_), Some(_)) => {}
            _ => return fault(""),
        }
    }
    Ok(())
}

fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for good in ["0", "0-3", "0-3,7", "1,0", "5-5", "65535"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", ",", "0,", "-1", "1-", "0-3-5", "a", "0 1", "+1", "65536", "3-1", "99999999999"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
