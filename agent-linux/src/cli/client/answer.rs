//! Answers as they come over HTTP/1.1.

use super::HEAD_BYTES_MAX;

/// An answer, whatever its status.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) code: u16,
    /// What a blocking query goes on from; 0 if the answer has none.
    pub(in crate::cli) index: u64,
    pub(in crate::cli) body: Vec<u8>,
}

/// Parses a whole answer.
pub(super) fn parse(bytes: &[u8]) -> Option<Answer> {
    let bound = bytes.len().min(HEAD_BYTES_MAX);
    let end = bytes[..bound].windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let body = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?;
    let code: u16 = status.get(2..5)?.parse().ok()?;
    if code == 100 {
        return parse(body);
    }
    let (mut length, mut index) = (None, 0);
    let mut chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = Some(value.trim().parse::<usize>().ok()?),
            "x-consul-index" => index = value.trim().parse().unwrap_or_default(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = match (chunked, length) {
        (true, _) => unchunk(body)?,
        (false, Some(length)) => body.get(..length)?.to_vec(),
        (false, None) => body.to_vec(),
    };
    Some(Answer { code, index, body })
}

/// Joins the chunks of a body (RFC 9112, section 7.1).
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n")?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_in_all_framings() {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhi",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nhi",
        ] {
            let answer = parse(text.as_bytes()).unwrap();
            assert_eq!((answer.code, answer.body.as_slice()), (200, b"hi".as_slice()), "{text}");
        }
        for text in ["", "x", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", "HTTP/2 x\r\n\r\n"]
        {
            assert!(parse(text.as_bytes()).is_none(), "{text}");
        }
    }
}
