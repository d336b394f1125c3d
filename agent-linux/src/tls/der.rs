//! DER (X.690), as much as certificates of one's own need: values written, and a certificate's
//! parts found. Pure.

/// Tags.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The tag `[n]` of something simple.
pub(super) const fn context(n: u8) -> u8 {
    0x80 | n
}

/// The tag `[n]` of something that holds other values.
pub(super) const fn holder(n: u8) -> u8 {
    0xa0 | n
}

/// Writes a value.
pub(super) fn value(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(body.len()) {
        Ok(short @ ..0x80) => out.push(short),
        Ok(_) | Err(_) => {
            let length = body.len().to_be_bytes();
            let zeros = length.iter().take_while(|byte| **byte == 0).count();
            let count = u8::try_from(length.len() - zeros).expect("a length has eight bytes");
            out.push(0x80 | count);
            out.extend_from_slice(&length[zeros..]);
        }
    }
    out.extend_from_slice(body);
    out
}

/// Writes values one after another as one.
pub(super) fn list(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    value(tag, &parts.concat())
}

/// Writes an object identifier whose body is known.
pub(super) fn oid(body: &[u8]) -> Vec<u8> {
    value(OID, body)
}

/// Writes a number that is not negative.
pub(super) fn integer(number: &[u8]) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let digits = &number[zeros.min(number.len().saturating_sub(1))..];
    match digits.first() {
        // The first bit is the sign.
        Some(0x80..) => value(INTEGER, &[&[0], digits].concat()),
        Some(_) => value(INTEGER, digits),
        None => value(INTEGER, &[0]),
    }
}

/// Writes whole bytes as bits.
pub(super) fn bits(bytes: &[u8]) -> Vec<u8> {
    value(BIT_STRING, &[&[0], bytes].concat())
}

/// Writes a name of one attribute: its common name.
pub(super) fn common_name(text: &str) -> Vec<u8> {
    const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    let plain = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c);
    let tag = if text.chars().all(plain) { PRINTABLE_STRING } else { UTF8_STRING };
    let attribute = list(SEQUENCE, &[oid(COMMON_NAME), value(tag, text.as_bytes())]);
    list(SEQUENCE, &[value(SET, &attribute)])
}

/// A value: its tag, its body, all of its bytes.
type Value<'a> = (u8, &'a [u8], &'a [u8]);

/// Takes the first value off; answers it and what follows it.
///
/// Lengths of more than four bytes are none that a certificate has.
fn take(bytes: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let (&tag, &first) = (bytes.first()?, bytes.get(1)?);
    let (from, length) = match first {
        0x80 | 0x85.. => return None,
        0x81.. => {
            let from = 2 + usize::from(first & 0x7f);
            let digits = bytes.get(2..from)?;
            (from, digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))
        }
        short => (2, usize::from(short)),
    };
    let to = from.checked_add(length)?;
    Some(((tag, bytes.get(from..to)?, bytes.get(..to)?), bytes.get(to..)?))
}

/// The body of the first value, if it has a tag.
pub(super) fn inside(tag: u8, bytes: &[u8]) -> Option<&[u8]> {
    let ((found, body, _), _) = take(bytes)?;
    (found == tag).then_some(body)
}

/// Lists the values of a body, up to the first that is none.
pub(super) fn values(body: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (value, after) = take(rest)?;
        rest = after;
        Some(value)
    })
}

/// What a certificate says of who it is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subject<'a> {
    /// Its name, whole.
    pub name: &'a [u8],
    /// Its public key with the algorithm, whole.
    pub key: &'a [u8],
    /// The identifier of its key, if it has one.
    pub key_id: Option<&'a [u8]>,
}

/// Finds whom a certificate is for (RFC 5280, section 4.1); nothing for what is none.
pub fn subject(certificate: &[u8]) -> Option<Subject<'_>> {
    const KEY_ID: &[u8] = &[0x55, 0x1d, 0x0e];
    let body = inside(SEQUENCE, inside(SEQUENCE, certificate)?)?;
    // A version, in a holder of its own, may come first.
    let mut parts = values(body).skip_while(|(tag, ..)| *tag == holder(0));
    // Serial number, algorithm, issuer, times.
    let (_, _, name) = parts.nth(4)?;
    let (_, _, key) = parts.next()?;
    let extensions = parts.find(|(tag, ..)| *tag == holder(3)).map_or(&[][..], |(_, body, _)| body);
    let extensions = inside(SEQUENCE, extensions).unwrap_or_default();
    let key_id = values(extensions).find_map(|(_, extension, _)| {
        let (_, id, _) = values(extension).next()?;
        let (_, wrapped, _) = values(extension).last()?;
        if id == KEY_ID { inside(OCTET_STRING, wrapped) } else { None }
    });
    Some(Subject { name, key, key_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_numbers_are_as_short_as_can_be() {
        assert_eq!(value(OCTET_STRING, &[7; 3]), [4, 3, 7, 7, 7]);
        assert_eq!(value(OCTET_STRING, &[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(value(OCTET_STRING, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(value(OCTET_STRING, &[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
        assert_eq!(integer(&[0, 0, 0x7f]), [2, 1, 0x7f]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }

    #[test]
    fn what_was_written_is_read_and_anything_less_is_nothing() {
        let long = value(OCTET_STRING, &[9; 300]);
        let all = list(SEQUENCE, &[integer(&[1]), long.clone()]);
        let body = inside(SEQUENCE, &all).unwrap();
        let found: Vec<_> = values(body).map(|(tag, _, whole)| (tag, whole)).collect();
        assert_eq!(found, [(INTEGER, &[2, 1, 1][..]), (OCTET_STRING, &long[..])]);
        for length in 0..all.len() {
            assert_eq!(inside(SEQUENCE, &all[..length]), None);
            assert_eq!(subject(&all[..length]), None);
        }
        for bytes in [&[0x30, 0x80, 0, 0][..], &[0x30, 0x85, 1, 1, 1, 1, 1], &[0x30, 0xff]] {
            assert_eq!(inside(SEQUENCE, bytes), None);
        }
    }
}
