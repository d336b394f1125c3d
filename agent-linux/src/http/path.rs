//! Request paths: percent-decoding, and cleaning as Go's `ServeMux` does.

use std::borrow::Cow;

/// What a request path comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Path<'a> {
    /// Decoded and clean.
    Clean(Cow<'a, str>),
    /// Clean only elsewhere: the client is sent to this path, encoded.
    Moved(String),
    /// Not a path: a broken escape, no UTF-8.
    Broken,
    /// Holds characters that do not print.
    Unprintable,
}

/// Reads a path as it stands in the request line; what does not print is told apart if asked for.
pub(super) fn read(raw: &str, printable_only: bool) -> Path<'_> {
    if !raw.starts_with('/') {
        return Path::Broken;
    }
    if is_plain(raw.as_bytes()) {
        return Path::Clean(Cow::Borrowed(raw));
    }
    let Some(decoded) = decode(raw, Plus::Literal) else { return Path::Broken };
    if printable_only && !decoded.chars().all(prints) {
        return Path::Unprintable;
    }
    let cleaned = clean(&decoded);
    if cleaned == decoded { Path::Clean(decoded) } else { Path::Moved(encode(&cleaned)) }
}

/// Tells whether a character prints: every letter, mark, number, sign, and the plain space.
fn prints(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // Of what follows a letter only that is escaped which does not print.
    let pair: String = ['a', c].iter().collect();
    !pair.escape_debug().any(|shown| shown == '\\')
}

/// Tells whether a path needs neither decoding nor cleaning.
fn is_plain(raw: &[u8]) -> bool {
    let mut before = 0;
    for &byte in raw {
        let dots = before == b'/' && (byte == b'/' || byte == b'.');
        if dots || byte == b'%' || !(b' '..=b'~').contains(&byte) {
            return false;
        }
        before = byte;
    }
    true
}

/// What `+` stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself, as in paths.
    Literal,
    /// A space, as in query strings.
    Space,
}

/// Decodes `%xx`; nothing for a broken escape or what is not UTF-8.
pub(super) fn decode(text: &str, plus: Plus) -> Option<Cow<'_, str>> {
    let spaced = plus == Plus::Space && text.contains('+');
    if !spaced && !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push(u8::try_from(high * 16 + low).expect("two hex digits make a byte"));
            }
            b'+' if spaced => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// Removes empty, `.` and `..` segments; a slash at the end stays.
fn clean(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if kept.is_empty() || path.ends_with('/') {
        out.push('/');
    }
    out
}

/// Encodes a path as Go's `URL.EscapedPath` does.
pub(super) fn encode(path: &str) -> String {
    escape(path, b"-_.~$&+,/:;=@")
}

/// Encodes a query parameter as Go's `url.QueryEscape` does.
pub(super) fn encode_param(text: &str) -> String {
    escape(text, b"-_.~ ").replace(' ', "+")
}

/// Escapes all but letters, digits and the bytes to keep.
fn escape(text: &str, keep: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || keep.contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes any text");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_are_borrowed() {
        for path in ["/", "/v1/kv/a/b/", "/v1/kv/a.b/x..y", "/v1/kv/a b"] {
            assert_eq!(read(path, true), Path::Clean(Cow::Borrowed(path)));
        }
    }

    #[test]
    fn escapes_are_decoded_even_slashes() {
        assert_eq!(read("/v1/kv/a%2Fb%20c", true), Path::Clean("/v1/kv/a/b c".into()));
        assert_eq!(read("/v1/kv/h%3Cx%3E%26+", true), Path::Clean("/v1/kv/h<x>&+".into()));
    }

    #[test]
    fn unclean_paths_are_sent_on() {
        for (from, to) in [
            ("/v1/kv//a/b", "/v1/kv/a/b"),
            ("/v1/kv/a/../b", "/v1/kv/b"),
            ("/v1/kv/..", "/v1"),
            ("/v1/kv/./a%20<b/", "/v1/kv/a%20%3Cb/"),
            ("/..", "/"),
        ] {
            assert_eq!(read(from, true), Path::Moved(to.into()), "{from}");
        }
        assert_eq!(read("/v1/kv/.hidden", true), Path::Clean("/v1/kv/.hidden".into()));
    }

    #[test]
    fn broken_paths_are_told_apart_from_unprintable_ones() {
        for raw in ["/a%zz", "/a%f", "/%ff%fe", "*", ""] {
            assert_eq!(read(raw, true), Path::Broken, "{raw}");
        }
        for raw in ["/a%01", "/a%0A", "/a%7f", "/%C2%A0", "/%E2%80%8B", "/%EE%80%80"] {
            assert_eq!(read(raw, true), Path::Unprintable, "{raw}");
            assert!(matches!(read(raw, false), Path::Clean(_)), "{raw}");
        }
        for text in ["/\u{e4}", "/a\u{301}", "/\u{301}", "/\u{20ac}", "/\u{65e5}'\"\\"] {
            assert_eq!(read(&encode(text), true), Path::Clean(text.into()), "{text}");
        }
    }
}
