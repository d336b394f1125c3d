//! Heads of answers (RFC 9112, section 4).

use super::head::Refused;
use agent_core::time::Civil;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::{StatusCode, Version};
use std::cell::Cell;
use std::io::Write;
use std::time::SystemTime;

/// How the body of an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// After so many bytes.
    Length(usize),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    Close,
    /// There is none and can be none.
    Bodiless,
}

/// Appends the head of an answer. What says how the body ends and whether the connection stays is
/// said here, whatever `fields` hold.
pub(super) fn head(
    out: &mut Vec<u8>,
    version: Version,
    status: StatusCode,
    fields: &HeaderMap,
    ending: Ending,
    keeps: bool,
) {
    line(out, version, status);
    let mut is_dated = false;
    for (name, value) in fields {
        if *name == CONNECTION || *name == CONTENT_LENGTH || *name == TRANSFER_ENCODING {
            continue;
        }
        is_dated |= *name == DATE;
        field(out, name, value);
    }
    if !is_dated {
        out.extend_from_slice(b"Date: ");
        out.extend_from_slice(&date());
        out.extend_from_slice(b"\r\n");
    }
    match ending {
        Ending::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, length);
            out.extend_from_slice(b"\r\n");
        }
        Ending::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Ending::Close | Ending::Bodiless => {}
    }
    if !keeps {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if version == Version::HTTP_10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Answers a request that was not understood, in Go's words; the connection ends after it.
pub(super) fn refusal(refused: Refused) -> Vec<u8> {
    let Refused { status, why } = refused;
    let colon = if why.is_empty() { "" } else { ": " };
    format!(
        "HTTP/1.1 {status}{colon}{why}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Connection: close\r\n\r\n{status}{colon}{why}"
    )
    .into_bytes()
}

/// Appends the size of a chunk.
pub(super) fn chunk_size(out: &mut Vec<u8>, length: usize) {
    write!(out, "{length:x}\r\n").expect("a vector takes everything");
}

/// Appends the status line.
fn line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    let version: &[u8] = match version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    };
    out.extend_from_slice(version);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a field, its name as Go writes it: `X-Consul-Index`.
fn field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let start = out.len();
    out.extend_from_slice(name.as_str().as_bytes());
    let mut starts_word = true;
    for byte in &mut out[start..] {
        if starts_word {
            byte.make_ascii_uppercase();
        }
        starts_word = *byte == b'-';
    }
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends a number.
fn decimal(out: &mut Vec<u8>, number: usize) {
    write!(out, "{number}").expect("a vector takes everything");
}

/// Bytes of a date.
const DATE_BYTES: usize = 29;

thread_local! {
    /// The last date written, and its second since 1970.
    static LAST: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [0; DATE_BYTES])) };
}

/// Tells the date, made anew once a second.
fn date() -> [u8; DATE_BYTES] {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let second = since.as_secs();
    let (last, text) = LAST.get();
    if last == second {
        return text;
    }
    let text = date_of(second);
    LAST.set((second, text));
    text
}

/// Writes a date as HTTP has it (RFC 9110, section 5.6.7), from seconds since 1970.
fn date_of(second: u64) -> [u8; DATE_BYTES] {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let Civil { year, month, day, hour, minute, second: in_minute } = Civil::of(second);
    let weekday = second / 86_400 % 7;
    let mut text = [b' '; DATE_BYTES];
    let written = write!(
        &mut text[..],
        "{}, {day:02} {} {year:04} {hour:02}:{minute:02}:{in_minute:02} GMT",
        DAYS[usize::try_from(weekday).unwrap_or(0)],
        MONTHS[usize::from(month - 1)],
    );
    debug_assert!(written.is_ok(), "a year has four digits");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(version: Version, fields: &HeaderMap, ending: Ending, keeps: bool) -> String {
        let mut out = Vec::new();
        head(&mut out, version, StatusCode::OK, fields, ending, keeps);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn dates_are_written_as_http_has_them() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(String::from_utf8(date_of(second).to_vec()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_head_says_how_the_body_ends() {
        let mut fields = HeaderMap::new();
        fields.insert("x-consul-index", HeaderValue::from(7));
        fields.insert(DATE, HeaderValue::from_static("now"));
        fields.insert(CONTENT_LENGTH, HeaderValue::from(1_000_000));
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        assert_eq!(
            said(Version::HTTP_11, &fields, Ending::Length(12), true),
            "HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nDate: now\r\nContent-Length: 12\r\n\r\n"
        );
        let (start, end) = ("HTTP/1.0 200 OK\r\nX-Consul-Index: 7\r\nDate: now\r\n", "\r\n");
        for (ending, keeps, more) in [
            (Ending::Length(0), true, "Content-Length: 0\r\nConnection: keep-alive\r\n"),
            (Ending::Close, false, "Connection: close\r\n"),
            (Ending::Bodiless, true, "Connection: keep-alive\r\n"),
        ] {
            let want = format!("{start}{more}{end}");
            assert_eq!(said(Version::HTTP_10, &fields, ending, keeps), want);
        }
        let streamed = said(Version::HTTP_11, &HeaderMap::new(), Ending::Chunked, true);
        assert!(streamed.starts_with("HTTP/1.1 200 OK\r\nDate: ") && streamed.contains(" GMT\r\n"));
        assert!(streamed.ends_with("\r\nTransfer-Encoding: chunked\r\n\r\n"));
    }

    #[test]
    fn a_refusal_is_in_gos_words() {
        let (status, why) = (StatusCode::BAD_REQUEST, "missing required Host header");
        for (refused, said) in [
            (StatusCode::URI_TOO_LONG.into(), "414 URI Too Long"),
            (Refused { status, why }, "400 Bad Request: missing required Host header"),
        ] {
            let fields = "Content-Type: text/plain; charset=utf-8\r\nConnection: close";
            let text = format!("HTTP/1.1 {said}\r\n{fields}\r\n\r\n{said}");
            assert_eq!(String::from_utf8(refusal(refused)), Ok(text));
        }
    }
}
