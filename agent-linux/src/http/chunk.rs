//! Bodies in chunks (RFC 9112, section 7.1): bytes in, the body's bytes out.
//!
//! Strict, as whoever reads the ends of chunks in another way sees other requests: every line ends
//! with both carriage return and line feed, a size is at most 16 hexadecimal digits. Extensions
//! and trailers are read over, up to [`EXTRA_BYTES_MAX`] of them.

/// Most bytes of extensions and trailers of a body.
const EXTRA_BYTES_MAX: usize = 16 * 1024;

/// Most digits of a size.
const DIGITS_MAX: u8 = 16;

/// A body that is no chunks, or has too much beside them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Broken;

/// Where the next byte belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To a size; so many digits have come.
    Size(u8),
    /// To an extension.
    Extension,
    /// It ends the line of a size.
    SizeEnd,
    /// To the chunk.
    Data,
    /// It is the carriage return after a chunk.
    DataReturn,
    /// It is the line feed after a chunk.
    DataEnd,
    /// It starts a line of the trailer, or ends it.
    Trailer,
    /// To a line of the trailer.
    TrailerLine,
    /// It ends a line of the trailer.
    TrailerLineEnd,
    /// It ends the body.
    LastEnd,
    /// To whatever follows the body.
    Done,
}

/// A body that comes in chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    state: State,
    /// Bytes left of the chunk, or its size so far.
    left: u64,
    /// Bytes of extensions and trailers.
    extra: usize,
}

impl Chunks {
    /// Starts before the first chunk.
    pub(super) fn new() -> Self {
        Self { state: State::Size(0), left: 0, extra: 0 }
    }

    /// Tells whether the body has ended.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Appends to `out` what `bytes` hold of the body; answers how many of them belong to it.
    ///
    /// # Errors
    ///
    /// [`Broken`]; `out` may have grown.
    pub(super) fn decode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, Broken> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if self.state == State::Data {
                let rest = &bytes[at..];
                let count = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                out.extend_from_slice(&rest[..count]);
                at += count;
                self.left -= count as u64;
                if self.left == 0 {
                    self.state = State::DataReturn;
                }
                continue;
            }
            self.state = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    /// Takes a byte that is not of a chunk.
    fn step(&mut self, byte: u8) -> Result<State, Broken> {
        Ok(match (self.state, byte) {
            (State::Size(DIGITS_MAX), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                return Err(Broken);
            }
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).expect("it is one");
                self.left = self.left << 4 | u64::from(digit);
                State::Size(digits + 1)
            }
            (State::Size(1..), b';' | b' ' | b'\t') => self.extra(State::Extension)?,
            (State::Size(1..) | State::Extension, b'\r') => State::SizeEnd,
            (State::Extension, b'\n' | 0) => return Err(Broken),
            (State::Extension, _) => self.extra(State::Extension)?,
            (State::SizeEnd, b'\n') if self.left == 0 => State::Trailer,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataReturn, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size(0),
            (State::Trailer, b'\r') => State::LastEnd,
            (State::TrailerLine, b'\r') => State::TrailerLineEnd,
            (State::Trailer | State::TrailerLine, b'\n' | 0) => return Err(Broken),
            (State::Trailer | State::TrailerLine, _) => self.extra(State::TrailerLine)?,
            (State::TrailerLineEnd, b'\n') => State::Trailer,
            (State::LastEnd, b'\n') => State::Done,
            (
                State::Size(_)
                | State::SizeEnd
                | State::Data
                | State::DataReturn
                | State::DataEnd
                | State::TrailerLineEnd
                | State::LastEnd
                | State::Done,
                _,
            ) => return Err(Broken),
        })
    }

    /// Counts a byte that is read over.
    fn extra(&mut self, next: State) -> Result<State, Broken> {
        self.extra += 1;
        if self.extra > EXTRA_BYTES_MAX { Err(Broken) } else { Ok(next) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a text whole and in pieces of each length; both must say the same.
    fn decoded(text: &str) -> Result<(String, usize, bool), Broken> {
        let run = |step: usize| {
            let (mut chunks, mut out, mut used) = (Chunks::new(), Vec::new(), 0);
            for piece in text.as_bytes().chunks(step) {
                used += chunks.decode(piece, &mut out)?;
            }
            Ok((String::from_utf8(out).expect("text"), used, chunks.is_done()))
        };
        let whole = run(text.len());
        for step in 1..text.len().min(40) {
            assert_eq!(run(step), whole, "{text:?} by {step}");
        }
        whole
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let done = |body: &str, used| Ok((body.to_owned(), used, true));
        assert_eq!(
            decoded("3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\nGET"),
            done("abc0123456789", 29)
        );
        assert_eq!(decoded("0\r\n\r\n"), done("", 5));
        assert_eq!(decoded("1;a=b\r\nx\r\n0 \r\nA: b\r\n\r\n"), done("x", 22));
        assert_eq!(decoded("3\r\nab"), Ok(("ab".to_owned(), 5, false)));
    }

    #[test]
    fn other_ends_of_lines_and_other_sizes_are_refused() {
        for text in [
            "3\nabc\r\n0\r\n\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3\r\nabcd\r\n0\r\n\r\n",
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "0x3\r\nabc\r\n",
            "+3\r\nabc\r\n",
            ";a\r\n",
            "00000000000000001\r\na\r\n",
            "1;a\nb\r\nx\r\n",
            "3\rabc\r\n",
            "0\r\nA: b\n\r\n",
            "0\r\n\rx",
        ] {
            assert_eq!(decoded(text), Err(Broken), "{text:?}");
        }
    }

    #[test]
    fn there_is_only_so_much_beside_the_chunks() {
        let with = |count: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(count));
        assert!(decoded(&with(EXTRA_BYTES_MAX - 1)).is_ok());
        assert_eq!(decoded(&with(EXTRA_BYTES_MAX)), Err(Broken));
        let trailer = format!("0\r\nA: {}\r\n\r\n", "b".repeat(EXTRA_BYTES_MAX));
        assert_eq!(decoded(&trailer), Err(Broken));
    }
}
