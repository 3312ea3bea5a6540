//! A length of time as Go writes it: `500ms`, `5s`, `1m30s`, `1.5h`.

use std::time::Duration;

/// Reads it; nothing and zero are no length.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("expected a time like 500ms, 5s or 1m30s, got {text:?}");
    let mut seconds = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = &rest[unit..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_in_go() {
        for (text, milliseconds) in [
            ("5s", Some(5000)),
            ("500ms", Some(500)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("5", None),
            ("0s", None),
            ("-5s", None),
            ("s", None),
            ("5x", None),
            ("", None),
        ] {
            assert_eq!(parse(text).ok().map(|d| d.as_millis()), milliseconds, "{text}");
        }
    }
}
