//! A number of bytes as people write it: `512m`, `1.5GiB`, `-1` for no limit. Multiples are of 1024, as in runc.

/// Reads it. -1 stays what it is.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("expected a number of bytes like 512m, or -1 for no limit, got {text:?}");
    if text == "-1" {
        return Ok(-1);
    }
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let part = part.trim_end_matches('0');
    if whole.is_empty() || part.contains('.') || part.len() > 9 {
        return Err(wrong());
    }
    let whole: i64 = whole.parse().map_err(|_| wrong())?;
    let part: i64 = if part.is_empty() { 0 } else { format!("{part:0<9}").parse().map_err(|_| wrong())? };
    let bytes = i128::from(whole) * (1 << shift) + i128::from(part) * (1 << shift) / 1_000_000_000;
    i64::try_from(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, want) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("4096", Some(4096)),
            ("512m", Some(512 << 20)),
            ("512MB", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("2 GiB", Some(2 << 30)),
            ("10.0k", Some(10 << 10)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("9000p", None),
            ("-2", None),
            ("1..5g", None),
            (".5g", None),
            ("m", None),
            ("", None),
            ("12x", None),
        ] {
            assert_eq!(parse(text).ok(), want, "{text}");
        }
    }
}
