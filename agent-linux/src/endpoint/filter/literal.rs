//! Go's literals: escapes in strings, integers, truth values, as `strconv` reads them.

use std::str::Chars;

/// Why `strconv` refuses a text.
pub(super) const SYNTAX: &str = "invalid syntax";
/// Why it refuses a number that its type cannot hold.
const RANGE: &str = "value out of range";

/// Resolves Go's escapes; `None` for one that Go does not know, or a bare line break. Bytes that
/// are no UTF-8 become U+FFFD: no row holds such bytes.
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match next {
            '\n' => return None,
            '\\' => escape(&mut chars, &mut plain)?,
            other => push(&mut plain, other),
        }
    }
    Some(String::from_utf8_lossy(&plain).into_owned())
}

/// Reads what follows a backslash.
fn escape(chars: &mut Chars<'_>, plain: &mut Vec<u8>) -> Option<()> {
    let byte = match chars.next()? {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        'x' => u8::try_from(digits(chars, 16, 2)?).ok()?,
        octal @ '0'..='7' => {
            let high = octal.to_digit(8)? * 64;
            u8::try_from(high + digits(chars, 8, 2)?).ok()?
        }
        'u' => return point(digits(chars, 16, 4)?, plain),
        'U' => return point(digits(chars, 16, 8)?, plain),
        _ => return None,
    };
    plain.push(byte);
    Some(())
}

fn digits(chars: &mut Chars<'_>, radix: u32, count: u32) -> Option<u32> {
    (0..count).try_fold(0, |value, _| Some(value * radix + chars.next()?.to_digit(radix)?))
}

/// Writes a code point; halves of surrogate pairs are written as U+FFFD.
fn point(value: u32, plain: &mut Vec<u8>) -> Option<()> {
    let half = (0xd800..0xe000).contains(&value);
    let char = if half { char::REPLACEMENT_CHARACTER } else { char::from_u32(value)? };
    push(plain, char);
    Some(())
}

fn push(plain: &mut Vec<u8>, char: char) {
    plain.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads an integer in the base that its prefix tells (`0x`, `0o` or `0`, `0b`), with underscores
/// between digits.
pub(super) fn integer(text: &str) -> Result<i64, &'static str> {
    let (sign, magnitude) = match text.split_at_checked(1) {
        Some((sign @ ("+" | "-"), rest)) => (sign, rest),
        Some(_) | None => ("+", text),
    };
    let lower = magnitude.to_ascii_lowercase();
    let prefixes = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)];
    let prefixed = prefixes.iter().find_map(|(prefix, radix)| {
        let digits = lower.strip_prefix(prefix)?;
        (!digits.is_empty()).then_some((digits, *radix))
    });
    let (digits, radix) = prefixed.unwrap_or((&lower, 10));
    // An underscore stands between digits, or between a prefix and its digits.
    let digits =
        if prefixed.is_some() { digits.strip_prefix('_').unwrap_or(digits) } else { digits };
    let fits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_digit(radix));
    if !digits.split('_').all(fits) {
        return Err(SYNTAX);
    }
    let number = format!("{sign}{}", digits.replace('_', ""));
    i64::from_str_radix(&number, radix).map_err(|_| RANGE)
}

/// Reads a truth value.
pub(super) fn flag(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(SYNTAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_go_reads_them() {
        for (text, want) in [
            ("80", Ok(80)),
            ("-80", Ok(-80)),
            ("+80", Ok(80)),
            ("0x50", Ok(80)),
            ("0X5f", Ok(95)),
            ("0120", Ok(80)),
            ("0o120", Ok(80)),
            ("0b101", Ok(5)),
            ("1_0", Ok(10)),
            ("0_7", Ok(7)),
            ("0x_5", Ok(5)),
            ("0", Ok(0)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(RANGE)),
            ("", Err(SYNTAX)),
            ("-", Err(SYNTAX)),
            ("0x", Err(SYNTAX)),
            ("08", Err(SYNTAX)),
            ("_1", Err(SYNTAX)),
            ("1_", Err(SYNTAX)),
            ("1__0", Err(SYNTAX)),
            ("--1", Err(SYNTAX)),
            ("1.0", Err(SYNTAX)),
            ("é", Err(SYNTAX)),
        ] {
            assert_eq!(integer(text), want, "{text}");
        }
    }

    #[test]
    fn escapes_are_read_as_go_reads_them() {
        for (text, want) in [
            ("a\\n\\\\", Some("a\n\\")),
            ("\\x65\\145\\u0065\\U00000065", Some("eeee")),
            ("\\xc3\\xa9", Some("é")),
            ("\\ud800", Some("\u{fffd}")),
            ("\\400", None),
            ("\\18", None),
            ("\\'", None),
            ("\\xf", None),
            ("\\U00110000", None),
            ("a\nb", None),
            ("\\", None),
        ] {
            assert_eq!(unescape(text).as_deref(), want, "{text}");
        }
    }
}
