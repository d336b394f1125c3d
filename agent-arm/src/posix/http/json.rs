//! As much JSON as the local interface needs: writes objects, reads an object of texts. Pure.

use std::format;
use std::string::String;
use std::vec::Vec;

/// Writes a text.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Writes an object of values that are written already.
pub(super) fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(key, value)| format!("{}:{value}", quote(key))).collect();
    format!("{{{}}}", fields.join(","))
}

/// Writes a UUID.
pub(super) fn uuid(id: [u8; 16]) -> String {
    let digits = format!("{:032x}", u128::from_be_bytes(id));
    let groups = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    groups.join("-")
}

/// Reads an object whose values are texts; nothing for anything else.
pub(super) fn strings(text: &str) -> Option<Vec<(String, String)>> {
    let mut rest = text.trim().strip_prefix('{')?.trim_start();
    let mut fields = Vec::new();
    if let Some(after) = rest.strip_prefix('}') {
        return after.is_empty().then_some(fields);
    }
    loop {
        let (key, after) = string(rest)?;
        let (value, after) = string(after.trim_start().strip_prefix(':')?.trim_start())?;
        fields.push((key, value));
        let after = after.trim_start();
        if let Some(after) = after.strip_prefix('}') {
            return after.is_empty().then_some(fields);
        }
        rest = after.strip_prefix(',')?.trim_start();
    }
}

/// Reads a text off the front.
fn string(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.strip_prefix('"')?.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 2..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                c @ ('"' | '\\' | '/') => out.push(c),
                'u' => {
                    let mut code = 0;
                    for _ in 0..4 {
                        code = code * 16 + chars.next()?.1.to_digit(16)?;
                    }
                    out.push(char::from_u32(code)?);
                }
                _ => return None,
            },
            c => out.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_as_they_went() {
        for text in ["", "a\"b\\c\n\u{1}\u{e9}", "/"] {
            let written = object(&[("k", quote(text))]);
            assert_eq!(strings(&written), Some(std::vec![("k".into(), text.into())]));
        }
        for text in ["", "{", "{}x", "{\"a\"}", "{\"a\":1}", "{\"a\":\"\\q\"}", "{\"a\":\"b\",}"] {
            assert_eq!(strings(text), None, "{text:?}");
        }
        assert_eq!(strings(" {} "), Some(Vec::new()));
    }
}
