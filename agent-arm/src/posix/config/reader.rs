//! The form of the file: entries with typed values, blocks, and where a mistake is.

use super::Error;
use agent_core::time::{Duration, parse_go};
use core::net::{IpAddr, SocketAddr};
use std::format;
use std::string::String;
use std::vec::Vec;

/// A value as written, and where.
#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Number(u64),
    List(Vec<String>),
}

/// One `name = value`.
pub(super) struct Entry {
    line: usize,
    pub(super) key: String,
    value: Value,
}

pub(super) fn fail<T>(line: usize, text: impl Into<String>) -> Result<T, Error> {
    Err(Error { line, text: text.into() })
}

impl Entry {
    pub(super) fn wrong<T>(&self, wanted: &str) -> Result<T, Error> {
        fail(self.line, format!("{}: {wanted}", self.key))
    }

    pub(super) fn text(&self) -> Result<String, Error> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            Value::Number(_) | Value::List(_) => self.wrong("a text is wanted"),
        }
    }

    pub(super) fn list(&self) -> Result<Vec<String>, Error> {
        match &self.value {
            Value::List(list) => Ok(list.clone()),
            Value::Text(_) | Value::Number(_) => self.wrong("a list of texts is wanted"),
        }
    }

    pub(super) fn port(&self) -> Result<u16, Error> {
        match self.value {
            Value::Number(number) => match u16::try_from(number) {
                Ok(port) => Ok(port),
                Err(_) => self.wrong("a port is at most 65535"),
            },
            Value::Text(_) | Value::List(_) => self.wrong("a number is wanted"),
        }
    }

    pub(super) fn duration(&self) -> Result<Duration, Error> {
        match parse_go(&self.text()?) {
            Ok(nanos) if nanos > 0 => Ok(Duration::from_micros(nanos.unsigned_abs() / 1_000)),
            Ok(_) | Err(_) => self.wrong("a duration such as \"10s\" is wanted"),
        }
    }

    pub(super) fn address(&self, text: &str, port: u16) -> Result<SocketAddr, Error> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(SocketAddr::new(ip, port)),
            Err(_) => self.wrong(&format!("{text:?} is no IP address, with or without a port")),
        }
    }

    pub(super) fn addresses(&self, port: u16) -> Result<Vec<SocketAddr>, Error> {
        self.list()?.iter().map(|text| self.address(text, port)).collect()
    }

    pub(super) fn unknown<T>(&self, block: &str) -> Result<T, Error> {
        fail(self.line, format!("{}: not a key of {block}", self.key))
    }
}

/// Reads the file's text.
pub(super) struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first line.
    pub(super) const fn new(text: &'a str) -> Self {
        Self { rest: text, line: 1 }
    }

    /// Skips blanks and comments.
    fn skip(&mut self) {
        loop {
            let trimmed = self.rest.trim_start();
            let skipped = &self.rest[..self.rest.len() - trimmed.len()];
            self.line += skipped.matches('\n').count();
            self.rest = trimmed;
            if !(trimmed.starts_with('#') || trimmed.starts_with("//")) {
                return;
            }
            let end = trimmed.find('\n').unwrap_or(trimmed.len());
            self.rest = &trimmed[end..];
        }
    }

    fn take(&mut self, token: char) -> bool {
        self.skip();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        self.skip();
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let end = self.rest.find(|c| !word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn key(&mut self) -> Result<String, Error> {
        self.skip();
        if self.rest.starts_with('"') {
            return self.text();
        }
        match self.word() {
            "" => fail(self.line, format!("a key is wanted, not {:?}", self.next())),
            word => Ok(word.into()),
        }
    }

    fn next(&self) -> String {
        self.rest.chars().take(1).collect()
    }

    fn text(&mut self) -> Result<String, Error> {
        let line = self.line;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, c @ ('"' | '\\'))) => text.push(c),
                    _ => return fail(line, "after \\ only n, \" and \\ are known"),
                },
                '\n' => return fail(line, "a text ends on its line"),
                c => text.push(c),
            }
        }
        fail(line, "a text without its end")
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.skip();
        if self.rest.starts_with('"') {
            return self.text().map(Value::Text);
        }
        if self.take('[') {
            let mut list = Vec::new();
            while !self.take(']') {
                self.skip();
                if !self.rest.starts_with('"') {
                    return fail(self.line, format!("a text is wanted, not {:?}", self.next()));
                }
                list.push(self.text()?);
                if !self.take(',') && !self.rest.trim_start().starts_with(']') {
                    return fail(self.line, "texts of a list are separated by ,");
                }
            }
            return Ok(Value::List(list));
        }
        let word = self.word();
        match word.parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => fail(self.line, format!("not a text, number or list: {word}{}", self.next())),
        }
    }

    /// Reads entries and hands blocks on, to the end of the file or of the block.
    pub(super) fn entries(
        &mut self,
        inner: bool,
        mut each: impl FnMut(&mut Self, Item) -> Result<(), Error>,
    ) -> Result<(), Error> {
        loop {
            if inner && self.take('}') {
                return Ok(());
            }
            self.skip();
            if self.rest.is_empty() {
                return if inner { fail(self.line, "a block without its }") } else { Ok(()) };
            }
            let line = self.line;
            let key = self.key()?;
            if self.take('{') {
                each(self, Item::Block(line, key))?;
            } else if self.take('=') {
                let value = self.value()?;
                each(self, Item::Entry(Entry { line, key, value }))?;
            } else {
                return fail(line, format!("{key}: = or {{ is wanted"));
            }
        }
    }
}

/// What a file or a block consists of.
pub(super) enum Item {
    Entry(Entry),
    Block(usize, String),
}
