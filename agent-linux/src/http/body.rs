//! What clients send: JSON as Go's decoder reads it.

use super::reply::Refusal;
use serde_json::Value;

/// Reads the first JSON value of a body, as Go's decoder does; what follows it is ignored.
///
/// # Errors
///
/// Go's words.
pub(super) fn value(body: &[u8]) -> Result<Value, String> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(syntax(body, &error)),
        None => Err("EOF".to_owned()),
    }
}

/// Reads the first JSON value of a body.
///
/// # Errors
///
/// A refusal with `Request decode failed: ` and Go's words.
pub(super) fn json(body: &[u8]) -> Result<Value, Refusal> {
    value(body).map_err(decode_failed)
}

/// Refuses a body with the reason why it could not be read.
pub(super) fn decode_failed(why: impl std::fmt::Display) -> Refusal {
    Refusal::bad(format!("Request decode failed: {why}"))
}

/// Says what Go's decoder says about broken JSON, as far as the reader's own words tell.
fn syntax(body: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected EOF".to_owned();
    }
    let told = error.to_string();
    let lines = body.split(|byte| *byte == b'\n').take(error.line().saturating_sub(1));
    let start: usize = lines.map(|line| line.len() + 1).sum();
    let at = body.get(start + error.column().saturating_sub(1)).copied().unwrap_or(b' ');
    if told.starts_with("expected ident")
        && let Some(place) = literal(&body[..body.len().min(start + error.column() - 1)])
    {
        return format!("invalid character '{}' {place}", shown(at));
    }
    let place = if told.starts_with("key must be a string") || told.starts_with("trailing comma") {
        "looking for beginning of object key string"
    } else if told.contains("`,` or `}`") {
        "after object key:value pair"
    } else if told.contains("`,` or `]`") {
        "after array element"
    } else if told.contains("expected `:`") {
        "after object key"
    } else if told.contains("control character") {
        "in string literal"
    } else {
        "looking for beginning of value"
    };
    format!("invalid character '{}' {place}", shown(at))
}

/// Says which of JSON's three words the end of `read` begins, and how it would go on.
fn literal(read: &[u8]) -> Option<String> {
    let known = read.iter().rev().take_while(|byte| byte.is_ascii_lowercase()).count();
    let begun = &read[read.len() - known..];
    let word = ["null", "true", "false"].into_iter().find(|w| w.as_bytes().starts_with(begun))?;
    let next = word.as_bytes().get(known).filter(|_| known > 0)?;
    Some(format!("in literal {word} (expecting '{}')", char::from(*next)))
}

fn shown(byte: u8) -> String {
    match byte {
        b'\'' => "\\'".to_owned(),
        0x20..=0x7e => char::from(byte).to_string(),
        b'\n' => "\\n".to_owned(),
        other => format!("\\x{other:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_json_is_told_in_gos_words() {
        for (text, want) in [
            ("", "EOF"),
            ("  ", "EOF"),
            ("zz", "invalid character 'z' looking for beginning of value"),
            ("nope", "invalid character 'o' in literal null (expecting 'u')"),
            ("[tru1]", "invalid character '1' in literal true (expecting 'e')"),
            (r#"{"a":falsy}"#, "invalid character 'y' in literal false (expecting 'e')"),
            ("\0", "invalid character '\\x00' looking for beginning of value"),
            (r#"{"Node":"a"#, "unexpected EOF"),
            (
                r#"{"Node":"a",}"#,
                "invalid character '}' looking for beginning of object key string",
            ),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 2}"#, "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
        ] {
            let refusal = json(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.text, format!("Request decode failed: {want}"), "{text}");
        }
    }

    #[test]
    fn what_follows_the_first_value_is_ignored() {
        assert!(json(br#"{"Node":"a"} x"#).unwrap().is_object());
    }
}
