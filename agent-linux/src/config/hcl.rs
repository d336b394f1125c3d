//! Reads HCL version 1, the language of Consul's configuration files, into a JSON value.
//!
//! A block becomes an object, a labelled block nested objects, a repeated block a list of objects;
//! a repeated attribute keeps its last value. Interpolations (`${..}`) stay as written, as Consul
//! does not evaluate them. HCL 2 readers refuse two attributes on one line and evaluate templates,
//! both of which break files that Consul takes; hence this small one.
//!
//! Source: <https://github.com/hashicorp/hcl/tree/hcl1#syntax>.

use std::fmt;

use serde_json::{Map, Number, Value};

/// Blocks and lists within one another, at most: far above any real file, far below the stack.
const DEPTH_MAX: usize = 64;

/// Where and why a text is not HCL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Error {
    /// Line, from 1.
    pub(super) line: usize,
    /// What was found or wanted.
    pub(super) what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Error {}

/// Reads a whole text.
///
/// # Errors
///
/// [`Error`] at the first place that is not HCL.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    let mut reader = Reader { rest: text, text, depth: 0 };
    let map = reader.body(None)?;
    Ok(Value::Object(map))
}

/// A place in the text.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    /// Makes an error at the present place.
    fn fault<T>(&self, what: impl Into<String>) -> Result<T, Error> {
        let read = self.text.len() - self.rest.len();
        let line = 1 + self.text[..read].matches('\n').count();
        Err(Error { line, what: what.into() })
    }

    /// Looks at the next character.
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Skips `len` bytes.
    fn skip(&mut self, len: usize) {
        self.rest = &self.rest[len..];
    }

    /// Takes `token` if it is next.
    fn take(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips white space and comments.
    fn space(&mut self) -> Result<(), Error> {
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                match self.rest.find("*/") {
                    Some(end) => self.skip(end + 2),
                    None => return self.fault("comment is not closed"),
                }
            } else {
                return Ok(());
            }
        }
    }

    /// Enters one level, refusing to go too deep.
    fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.fault("nested too deeply") } else { Ok(()) }
    }

    /// Reads attributes and blocks up to `end`, or to the end of the text.
    fn body(&mut self, end: Option<char>) -> Result<Map<String, Value>, Error> {
        self.enter()?;
        let mut map = Map::new();
        loop {
            self.space()?;
            match self.peek() {
                None if end.is_none() => break,
                None => return self.fault("object is not closed: expected '}'"),
                next if next == end => {
                    self.skip(1);
                    break;
                }
                Some(',') => self.skip(1),
                Some(_) => self.item(&mut map)?,
            }
        }
        self.depth -= 1;
        Ok(map)
    }

    /// Reads `key = value`, `key { .. }` or `key "label" { .. }` into `map`.
    fn item(&mut self, map: &mut Map<String, Value>) -> Result<(), Error> {
        let key = self.key()?;
        let mut labels = Vec::new();
        loop {
            self.space()?;
            match self.peek() {
                Some('=' | ':') if labels.is_empty() => {
                    self.skip(1);
                    let value = self.value()?;
                    add(map, key, value);
                    return Ok(());
                }
                Some('{') => {
                    self.skip(1);
                    let mut value = Value::Object(self.body(Some('}'))?);
                    for label in labels.into_iter().rev() {
                        value = Value::Object(Map::from_iter([(label, value)]));
                    }
                    add(map, key, value);
                    return Ok(());
                }
                Some('"') => labels.push(self.string()?),
                _ => return self.fault(format!("expected '=' or '{{' after '{key}'")),
            }
        }
    }

    /// Reads a name, bare or quoted.
    fn key(&mut self) -> Result<String, Error> {
        if self.rest.starts_with('"') {
            return self.string();
        }
        let named = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let len = self.rest.find(|c| !named(c)).unwrap_or(self.rest.len());
        if len == 0 {
            return self.fault(format!("unexpected {:?}", self.peek().unwrap_or(' ')));
        }
        let key = self.rest[..len].to_owned();
        self.skip(len);
        Ok(key)
    }

    /// Reads any value.
    fn value(&mut self) -> Result<Value, Error> {
        self.space()?;
        match self.peek() {
            Some('"') => Ok(Value::String(self.string()?)),
            Some('{') => {
                self.skip(1);
                Ok(Value::Object(self.body(Some('}'))?))
            }
            Some('[') => {
                self.skip(1);
                self.list()
            }
            Some('<') => Ok(Value::String(self.heredoc()?)),
            Some(_) => self.word(),
            None => self.fault("expected a value"),
        }
    }

    /// Reads a list's items up to `]`.
    fn list(&mut self) -> Result<Value, Error> {
        self.enter()?;
        let mut items = Vec::new();
        loop {
            self.space()?;
            if self.take("]") {
                break;
            }
            items.push(self.value()?);
            self.space()?;
            if !self.take(",") && !self.rest.starts_with(']') {
                return self.fault("expected ',' or ']' in a list");
            }
        }
        self.depth -= 1;
        Ok(Value::Array(items))
    }

    /// Reads `true`, `false` or a number.
    fn word(&mut self) -> Result<Value, Error> {
        let part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.');
        let len = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..len];
        let value = match word {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => number(word),
        };
        match value {
            Some(value) => {
                self.skip(len);
                Ok(value)
            }
            None => {
                let found: String = self.rest.chars().take(len.max(1)).collect();
                self.fault(format!("expected a value, found {found:?}"))
            }
        }
    }

    /// Reads a quoted string; what stands in `${..}` is kept as written.
    fn string(&mut self) -> Result<String, Error> {
        self.skip(1);
        let mut out = String::new();
        let mut braces = 0_usize;
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' if braces == 0 => {
                    self.skip(at + 1);
                    return Ok(out);
                }
                '\n' if braces == 0 => break,
                '$' if self.rest[at..].starts_with("${") => {
                    out.push('$');
                    chars.next();
                    out.push('{');
                    braces += 1;
                }
                '{' if braces > 0 => {
                    out.push(c);
                    braces += 1;
                }
                '}' if braces > 0 => {
                    out.push(c);
                    braces -= 1;
                }
                '\\' if braces == 0 => match escape(&mut chars) {
                    Some(c) => out.push(c),
                    None => return self.fault("unknown escape in a string"),
                },
                c => out.push(c),
            }
        }
        self.fault("string is not closed")
    }

    /// Reads `<<NAME` or `<<-NAME`, whose lines end at a line that is NAME alone.
    fn heredoc(&mut self) -> Result<String, Error> {
        if !self.take("<<") {
            return self.fault("expected a value, found '<'");
        }
        let indented = self.take("-");
        let Some((name, body)) = self.rest.split_once('\n') else {
            return self.fault("heredoc is not closed");
        };
        let name = name.trim();
        if name.is_empty() {
            return self.fault("heredoc has no name");
        }
        let mut lines = Vec::new();
        let mut read = 0;
        for line in body.split_inclusive('\n') {
            read += line.len();
            if line.trim() == name {
                self.rest = &body[read..];
                let margin = if indented { margin(&lines) } else { 0 };
                return Ok(lines.iter().map(|line| line.get(margin..).unwrap_or("\n")).collect());
            }
            lines.push(line);
        }
        self.fault(format!("heredoc is not closed: no line '{name}'"))
    }
}

/// Counts the white space that all lines begin with.
fn margin(lines: &[&str]) -> usize {
    let indents = lines.iter().filter(|line| !line.trim().is_empty());
    indents.map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0)
}

/// Reads what follows a backslash.
fn escape(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let (_, c) = chars.next()?;
    let digits = match c {
        'n' => return Some('\n'),
        't' => return Some('\t'),
        'r' => return Some('\r'),
        '"' | '\\' => return Some(c),
        'u' => 4,
        'U' => 8,
        _ => return None,
    };
    let mut code = 0;
    for _ in 0..digits {
        code = code * 16 + chars.next()?.1.to_digit(16)?;
    }
    char::from_u32(code)
}

/// Reads a decimal or hexadecimal number.
fn number(word: &str) -> Option<Value> {
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word),
    };
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return i64::from_str_radix(hex, 16).ok().map(|n| Value::from(sign * n));
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    match word.parse::<i64>() {
        Ok(whole) => Some(Value::from(whole)),
        Err(_) => Number::from_f64(word.parse().ok()?).map(Value::Number),
    }
}

/// Adds a key; objects under one key become a list, anything else is replaced.
fn add(map: &mut Map<String, Value>, key: String, value: Value) {
    match map.get_mut(&key) {
        Some(old) if old.is_object() && value.is_object() => {
            let first = old.take();
            *old = Value::Array(vec![first, value]);
        }
        Some(Value::Array(items))
            if value.is_object() && !items.is_empty() && items.iter().all(Value::is_object) =>
        {
            items.push(value);
        }
        Some(old) => *old = value,
        None => {
            map.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn consuls_forms_are_read() {
        for (text, want) in [
            ("", json!({})),
            (
                "a = 1 // x\nb=\"y\" # z\n/* c */ c = [\"d\", 2,]",
                json!({"a":1,"b":"y","c":["d",2]}),
            ),
            (
                r#"service { name = "a" port = 80 check { ttl = "5s" } }"#,
                json!({"service":{"name":"a","port":80,"check":{"ttl":"5s"}}}),
            ),
            ("s { a = 1 }\ns { a = 2 }\ns { a = 3 }", json!({"s":[{"a":1},{"a":2},{"a":3}]})),
            (r#"service "web" { port = 80 }"#, json!({"service":{"web":{"port":80}}})),
            (r#""quoted key" = true, b = -1.5"#, json!({"quoted key":true,"b":-1.5})),
            ("a = <<EOF\nx\n y\nEOF\nb = 1", json!({"a":"x\n y\n","b":1})),
            ("a = <<-EOF\n  x\n   y\n  EOF\n", json!({"a":"x\n y\n"})),
            (
                r#"a = "{{ GetInterfaceIP \"eth0\" }}" b = "${foo("x")}""#,
                json!({"a":"{{ GetInterfaceIP \"eth0\" }}","b":"${foo(\"x\")}"}),
            ),
            ("a = 0x10 b = 1e3", json!({"a":16,"b":1000.0})),
        ] {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn faults_name_their_line() {
        for (text, line) in [
            ("a = 1\nb = ", 2),
            ("a = \"x", 1),
            ("a {\n b = 1\n", 3),
            ("a\nb = 1", 2),
            ("a = [1 2]", 1),
            ("= 1", 1),
            ("a = <<EOF\nx", 1),
            ("/* x", 1),
            ("a = nope", 1),
            ("a = \"\\q\"", 1),
        ] {
            assert_eq!(parse(text).map_err(|e| e.line), Err(line), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"a {".repeat(10_000)).is_err());
        assert!(parse(&format!("a = {}", "[".repeat(10_000))).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r#"[a-z={}\[\]",\\$<>#/*\n 0-9-]{0,64}"#) {
            let _ = parse(&text);
        }
    }
}
