//! Source files as tidy reads them: raw, and with comments and strings blanked.

use std::path::{Path, PathBuf};

/// One Rust file of the repository.
pub struct Source {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// The text as it is.
    pub text: String,
    /// The text with comments as spaces and string contents as `_`: same lines, same columns.
    pub code: String,
    /// Lines before the `#[cfg(test)] mod tests` at the foot; 0 in a file that is a test itself.
    pub production: usize,
}

/// One function: where it starts, what it takes and how long it is.
pub struct Function {
    pub name: String,
    /// Line of the `fn` keyword, from 1.
    pub line: usize,
    /// Text between the parentheses.
    pub parameters: String,
    /// Lines of the body that hold code.
    pub length: usize,
}

impl Source {
    pub fn new(path: String, text: String) -> Source {
        let code = blank(&text);
        let production = if is_test(&path) { 0 } else { production(&code) };
        Source { path, text, code, production }
    }

    /// Answers the code before the tests at the foot.
    pub fn production_code(&self) -> String {
        self.code.lines().take(self.production).fold(String::new(), |all, line| all + line + "\n")
    }

    /// Lists the functions that have a body.
    pub fn functions(&self) -> Vec<Function> {
        let bytes = self.code.as_bytes();
        words(&self.code, "fn").filter_map(|at| function(&self.code, bytes, at)).collect()
    }
}

/// Tells whether a path holds tests only.
pub fn is_test(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "fuzz" | "tests.rs" | "benches"))
}

/// Reads every Rust file below `root`, sorted by path; build folders and hidden ones are left out.
pub fn walk(root: &Path) -> Vec<Source> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("folder is readable") {
            let path: PathBuf = entry.expect("entry is readable").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                let path = path.strip_prefix(root).expect("below the root");
                found.push(Source::new(path.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Finds `word` where it stands alone; answers byte offsets.
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let bytes = text.as_bytes();
        (at == 0 || !part(bytes.get(at - 1))) && !part(bytes.get(at + word.len()))
    })
}

/// Answers the line of a byte offset, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1
}

fn production(code: &str) -> usize {
    let lines: Vec<&str> = code.lines().collect();
    let tests = lines.windows(2).position(|pair| {
        pair[0].trim() == "#[cfg(test)]"
            && pair[1].trim().trim_start_matches("pub ") == "mod tests {"
    });
    tests.unwrap_or(lines.len())
}

fn function(code: &str, bytes: &[u8], at: usize) -> Option<Function> {
    let rest = code[at + 2..].trim_start();
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    if end == 0 {
        return None; // `fn(..)`: a type, not a function
    }
    let (mut depth, mut open, mut close, mut body) = (0usize, None, None, None);
    for (offset, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => {
                open = open.or((*byte == b'(').then_some(offset + 1));
                depth += 1;
            }
            b')' | b']' => {
                depth -= 1;
                close = close.or((depth == 0 && *byte == b')').then_some(offset));
            }
            b'{' if depth == 0 => {
                body = Some(offset);
                break;
            }
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    let body = body?;
    let inside = &code[body + 1..matching(bytes, body)?];
    Some(Function {
        name: rest[..end].to_string(),
        line: line_of(code, at),
        parameters: code[open?..close?].to_string(),
        length: inside.lines().filter(|line| !line.trim().is_empty()).count(),
    })
}

fn matching(bytes: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (offset, byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(offset);
        }
    }
    None
}

/// Blanks comments to spaces and the contents of strings and characters to `_`.
fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let (end, fill) = token(&chars, at);
        for c in &chars[at..end] {
            out.push(match (c, fill) {
                ('\n', _) => '\n',
                (_, Some(fill)) => fill,
                (c, None) if c.is_ascii() => *c,
                _ => '_',
            });
        }
        at = end;
    }
    out
}

/// Answers where the token at `at` ends and what to fill it with; `None` keeps it.
fn token(chars: &[char], at: usize) -> (usize, Option<char>) {
    let next = chars.get(at + 1).copied().unwrap_or(' ');
    let before = at.checked_sub(1).map_or(' ', |before| chars[before]);
    match chars[at] {
        '/' if next == '/' => (until(chars, at, &['\n']), Some(' ')),
        '/' if next == '*' => (comment_end(chars, at), Some(' ')),
        '"' => (string_end(chars, at), Some('_')),
        'r' if matches!(next, '"' | '#') && !(before.is_alphanumeric() && before != 'b') => {
            match raw_end(chars, at) {
                Some(end) => (end, Some('_')),
                None => (at + 1, None),
            }
        }
        '\'' => match char_end(chars, at) {
            Some(end) => (end, Some('_')),
            None => (at + 1, None),
        },
        _ => (at + 1, None),
    }
}

fn until(chars: &[char], from: usize, stops: &[char]) -> usize {
    (from..chars.len()).find(|&at| stops.contains(&chars[at])).unwrap_or(chars.len())
}

fn comment_end(chars: &[char], from: usize) -> usize {
    let (mut depth, mut at) = (0usize, from);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string_end(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

fn raw_end(chars: &[char], from: usize) -> Option<usize> {
    let quote = (from + 1..chars.len()).find(|&at| chars[at] != '#')?;
    if chars[quote] != '"' {
        return None; // `r#name`
    }
    let hashes = quote - from - 1;
    let closes = |at: usize| {
        chars[at] == '"'
            && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    Some((quote + 1..chars.len()).find(|&at| closes(at)).map_or(chars.len(), |at| at + 1 + hashes))
}

/// A character literal ends with a quote soon; a lifetime does not.
fn char_end(chars: &[char], from: usize) -> Option<usize> {
    match chars.get(from + 1)? {
        '\\' => Some(until(chars, from + 3, &['\'']) + 1),
        _ => (chars.get(from + 2) == Some(&'\'')).then_some(from + 3),
    }
}
