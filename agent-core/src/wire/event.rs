//! A user event as it rides in gossip: check -> parse -> emit, bounded, without an allocator.
//!
//! ```text
//! event     = time:u64 id:16 name:text node:text service:text tag:text payload:bytes
//! text      = len:u16 utf8[len]
//! ```
//!
//! Integers are big-endian. The payload is whatever is left. Node, service and tag are regular
//! expressions that receivers match themselves against, empty where anybody is meant.

use core::fmt;

/// Largest event in bytes, Serf's limit (`UserEventSizeLimit`): one fits any datagram.
pub const EVENT_BYTES_MAX: usize = 512;

/// Bytes of an event without its texts and its payload.
pub const HEAD_BYTES: usize = 8 + 16 + 4 * 2;

/// The event is longer than [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooBig;

impl fmt::Display for TooBig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user event exceeds configured limit of {EVENT_BYTES_MAX} bytes before encoding")
    }
}

impl core::error::Error for TooBig {}

/// One event, in lent memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Event<'a> {
    /// Lamport time: above that of every event its sender had heard of.
    pub time: u64,
    /// A UUID: two events of one time are told apart by it.
    pub id: [u8; 16],
    /// What happened; not empty.
    pub name: &'a str,
    /// Which nodes are meant, by name.
    pub node: &'a str,
    /// Which nodes are meant, by the ids of their services.
    pub service: &'a str,
    /// Which of these services, by tag.
    pub tag: &'a str,
    /// Anything.
    pub payload: &'a [u8],
}

impl<'a> Event<'a> {
    /// Parses a whole event; nothing if it is too long, cut off, unnamed, or not UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > EVENT_BYTES_MAX {
            return None;
        }
        let (time, rest) = bytes.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<16>()?;
        let (name, rest) = split_text(rest)?;
        let (node, rest) = split_text(rest)?;
        let (service, rest) = split_text(rest)?;
        let (tag, payload) = split_text(rest)?;
        let event =
            Self { time: u64::from_be_bytes(*time), id: *id, name, node, service, tag, payload };
        (!name.is_empty()).then_some(event)
    }

    /// Emits the event; answers its length.
    ///
    /// # Errors
    ///
    /// [`TooBig`], also for an `out` that is too short; `out` then holds a part of it.
    pub fn emit(&self, out: &mut [u8]) -> Result<usize, TooBig> {
        let end = out.len().min(EVENT_BYTES_MAX);
        let mut writer = Writer { out: &mut out[..end], len: 0 };
        writer.put(&self.time.to_be_bytes())?;
        writer.put(&self.id)?;
        for text in [self.name, self.node, self.service, self.tag] {
            let len = u16::try_from(text.len()).map_err(|_| TooBig)?;
            writer.put(&len.to_be_bytes())?;
            writer.put(text.as_bytes())?;
        }
        writer.put(self.payload)?;
        Ok(writer.len)
    }
}

/// Takes one text off the front.
fn split_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
    Some((core::str::from_utf8(text).ok()?, rest))
}

/// Writes to the front of a slice.
struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), TooBig> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end).ok_or(TooBig)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event<'static> {
        Event {
            time: 0x0102,
            id: *b"0123456789abcdef",
            name: "deploy",
            node: "n",
            service: "",
            tag: "t\u{e9}",
            payload: b"\x00\xff",
        }
    }

    #[test]
    fn an_event_has_these_bytes() {
        let golden = b"\0\0\0\0\0\0\x01\x020123456789abcdef\0\x06deploy\0\x01n\0\0\0\x03t\xc3\xa9\
                       \x00\xff";
        let mut bytes = [0; EVENT_BYTES_MAX];
        let len = event().emit(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], golden);
        assert_eq!(Event::parse(golden), Some(event()));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let mut bytes = [0; EVENT_BYTES_MAX + 1];
        let len = event().emit(&mut bytes).unwrap();
        for cut in 0..len - event().payload.len() {
            assert_eq!(Event::parse(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(Event::parse(&[1; EVENT_BYTES_MAX + 1]), None);
        assert_eq!(Event::parse(&[0; HEAD_BYTES]), None, "no name");
        let len = Event { name: "\u{e9}", ..Event::default() }.emit(&mut bytes).unwrap();
        bytes[27] = 0;
        assert_eq!(Event::parse(&bytes[..len]), None, "not UTF-8");
    }

    #[test]
    fn an_event_ends_at_its_limit() {
        let payload = [7; EVENT_BYTES_MAX];
        let mut bytes = [0; 2 * EVENT_BYTES_MAX];
        let room = EVENT_BYTES_MAX - HEAD_BYTES - 1;
        let fits = Event { name: "a", payload: &payload[..room], ..Event::default() };
        assert_eq!(fits.emit(&mut bytes), Ok(EVENT_BYTES_MAX));
        let longer = Event { payload: &payload[..=room], ..fits };
        assert_eq!(longer.emit(&mut bytes), Err(TooBig));
        assert_eq!(event().emit(&mut bytes[..20]), Err(TooBig));
    }
}
