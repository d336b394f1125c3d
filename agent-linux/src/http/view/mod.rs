//! JSON as Consul writes it: borrowed, serialise-only views of rows.
//!
//! - here: the writer (Go's escapes, Go's indentation) and lists
//! - `node` `service` `check` `kv` `session` `query` `coordinate` `member` `event`:
//!   one row each
//!
//! Field order, `null` against `[]` and `{}`, and what is left out when empty follow Consul 1.8.

pub(super) mod check;
pub(super) mod coordinate;
pub(super) mod event;
pub(super) mod kv;
pub(super) mod member;
pub(super) mod node;
pub(super) mod query;
pub(super) mod service;
pub(super) mod session;
pub(super) mod txn;

use serde::{Serialize, Serializer};
use serde_json::ser::{CharEscape, CompactFormatter, Formatter, PrettyFormatter};
use std::io::{self, Write};

/// Writes a value as `json.Marshal`, or as `json.MarshalIndent` with four spaces and a newline.
pub(super) fn to_bytes<T: Serialize + ?Sized>(value: &T, pretty: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    if pretty {
        let shape = Go(PrettyFormatter::with_indent(b"    "));
        write(value, &mut serde_json::Serializer::with_formatter(&mut out, shape));
        out.push(b'\n');
    } else {
        let shape = Go(CompactFormatter);
        write(value, &mut serde_json::Serializer::with_formatter(&mut out, shape));
    }
    out
}

/// Writes through a serializer that cannot fail.
fn write<T, F>(value: &T, serializer: &mut serde_json::Serializer<&mut Vec<u8>, F>)
where
    T: Serialize + ?Sized,
    F: Formatter,
{
    value.serialize(serializer).expect("a vector takes any value with text keys");
}

/// A formatter with Go's escapes: markup and line separators never stand in a string.
struct Go<F>(F);

impl<F: Formatter> Formatter for Go<F> {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        w: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let special = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
        let bytes = text.as_bytes();
        let mut from = 0;
        while let Some(at) = bytes[from..].iter().position(special).map(|at| at + from) {
            let (escape, length): (&[u8], usize) = match &bytes[at..] {
                [b'<', ..] => (b"\\u003c", 1),
                [b'>', ..] => (b"\\u003e", 1),
                [b'&', ..] => (b"\\u0026", 1),
                [0xe2, 0x80, 0xa8, ..] => (b"\\u2028", 3),
                [0xe2, 0x80, 0xa9, ..] => (b"\\u2029", 3),
                _ => (&bytes[at..=at], 1),
            };
            w.write_all(&bytes[from..at])?;
            w.write_all(escape)?;
            from = at + length;
        }
        w.write_all(&bytes[from..])
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, w: &mut W, c: CharEscape) -> io::Result<()> {
        match c {
            CharEscape::Backspace => w.write_all(b"\\u0008"),
            CharEscape::FormFeed => w.write_all(b"\\u000c"),
            other => self.0.write_char_escape(w, other),
        }
    }

    /// Go writes an exponent only far from one.
    fn write_f64<W: ?Sized + Write>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        match value.abs() {
            size if size != 0.0 && size < 1.0e-6 => write!(w, "{value:e}"),
            size if size >= 1.0e21 => {
                w.write_all(format!("{value:e}").replace('e', "e+").as_bytes())
            }
            _ => write!(w, "{value}"),
        }
    }

    fn begin_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_array(w)
    }

    fn end_array<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_array(w)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(w, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_array_value(w)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_object(w)
    }

    fn end_object<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_object(w)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(w, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.begin_object_value(w)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, w: &mut W) -> io::Result<()> {
        self.0.end_object_value(w)
    }
}

/// A list whose items are shown through a view.
pub(super) struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, F> Each<'a, T, F> {
    /// Shows `items`, each through `view`.
    pub(super) fn of<V>(items: &'a [T], view: F) -> Self
    where
        F: Fn(&'a T) -> V,
    {
        Self(items, view)
    }
}

impl<'a, T, V, F> Serialize for Each<'a, T, F>
where
    V: Serialize,
    F: Fn(&'a T) -> V,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(&self.1))
    }
}

/// An object whose entries are shown through a view.
pub(super) struct Entries<'a, T, F>(&'a [T], F);

impl<'a, T, F> Entries<'a, T, F> {
    /// Shows `items`, each as the key and value that `view` makes of it.
    pub(super) fn of<K, V>(items: &'a [T], view: F) -> Self
    where
        F: Fn(&'a T) -> (K, V),
    {
        Self(items, view)
    }
}

impl<'a, T, K, V, F> Serialize for Entries<'a, T, F>
where
    K: Serialize,
    V: Serialize,
    F: Fn(&'a T) -> (K, V),
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(&self.1))
    }
}

/// The id of what was just made.
#[derive(Serialize)]
pub(super) struct CreatedView<'a> {
    #[serde(rename = "ID")]
    pub id: &'a str,
}

/// An object in brackets with nothing in it.
#[derive(Serialize, Default)]
pub(super) struct Nothing {}

/// `null` where Go's nil map would be written.
pub(super) fn filled<T>(
    map: &std::collections::BTreeMap<String, T>,
) -> Option<&std::collections::BTreeMap<String, T>> {
    (!map.is_empty()).then_some(map)
}

/// `null` where Go's nil slice would be written.
pub(super) fn listed<T>(items: &[T]) -> Option<&[T]> {
    (!items.is_empty()).then_some(items)
}

/// Tells whether a field is left out for being false.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// Tells whether a field is left out for being zero.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
pub(super) fn is_zero(value: &u16) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        let text = "a<b>&\u{2028}\u{2029}\u{e2}\u{8}\u{c}\n\t\r\u{1}\"\\\u{20ac}/";
        let want = "\"a\\u003cb\\u003e\\u0026\\u2028\\u2029\u{e2}\\u0008\\u000c\\n\\t\\r\\u0001\
                    \\\"\\\\\u{20ac}/\"";
        assert_eq!(String::from_utf8(to_bytes(text, false)).unwrap(), want);
    }

    #[test]
    fn numbers_are_written_as_go_does() {
        for (value, want) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (0.000_037_055_620_169_877_126, "0.000037055620169877126"),
            (1.0e-7, "1e-7"),
            (-2.5e-9, "-2.5e-9"),
            (1.0e20, "100000000000000000000"),
            (1.5e21, "1.5e+21"),
        ] {
            assert_eq!(String::from_utf8(to_bytes(&value, false)).unwrap(), want);
        }
    }

    #[test]
    fn pretty_is_four_spaces_and_a_newline() {
        let value = serde_json::json!([{"a": [1, 2], "b": [], "c": {}}]);
        let want = "[\n    {\n        \"a\": [\n            1,\n            2\n        ],\n        \
                    \"b\": [],\n        \"c\": {}\n    }\n]\n";
        assert_eq!(String::from_utf8(to_bytes(&value, true)).unwrap(), want);
    }
}
