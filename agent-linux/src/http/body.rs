//! What clients send: bounded intake, JSON as Go's decoder reads it.

use super::BODY_READ_MAX;
use super::reply::Refusal;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use serde_json::Value;

/// Why a body was not taken.
pub(super) enum Error {
    /// More bytes than allowed: how many were announced or read.
    TooLarge(u64),
    /// The client was too slow or went away.
    Gone,
}

/// Takes a whole body of at most `bytes_max`, in at most [`BODY_READ_MAX`].
///
/// # Errors
///
/// [`Error`]; the connection is of no more use then.
pub(super) async fn take(body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(Error::TooLarge(announced));
    }
    if body.is_end_stream() {
        return Ok(Vec::new());
    }
    let taken = tokio::time::timeout(BODY_READ_MAX, read(body, bytes_max)).await;
    taken.unwrap_or(Err(Error::Gone))
}

/// Reads frames until the end.
async fn read(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(announced.min(bytes_max));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Error::Gone)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > bytes_max {
                return Err(Error::TooLarge((bytes.len() + data.len()) as u64));
            }
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

/// Reads the first JSON value of a body, as Go's decoder does; what follows it is ignored.
///
/// # Errors
///
/// A refusal with `Request decode failed: ` and Go's words.
pub(super) fn json(body: &[u8]) -> Result<Value, Refusal> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(decode_failed(syntax(body, &error))),
        None => Err(decode_failed("EOF")),
    }
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
    let shown = match at {
        b'\'' => "\\'".to_owned(),
        0x20..=0x7e => char::from(at).to_string(),
        b'\n' => "\\n".to_owned(),
        other => format!("\\x{other:02x}"),
    };
    format!("invalid character '{shown}' {place}")
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
