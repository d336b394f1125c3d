//! Members of a tar archive: POSIX ustar, plain files with short names.
//!
//! Source: <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html> (ustar).

use std::io::{Error, ErrorKind, Read, Result};

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// Empty blocks at the end of an archive.
pub(super) const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Most bytes after the end: writers pad to records of 20 blocks, some to larger ones.
const PADDING_BYTES_MAX: usize = 1 << 20;

/// Where the numbers of a head are.
const MODE: usize = 100;
const SIZE: usize = 124;
const TIME: usize = 136;
const SUM: usize = 148;
const KIND: usize = 156;
const MAGIC: usize = 257;

/// Writes the head of a plain file that only its owner may read.
pub(super) fn head(name: &str, size: u64, unix_seconds: u64) -> [u8; BLOCK] {
    let mut head = [0; BLOCK];
    head[..name.len()].copy_from_slice(name.as_bytes());
    let mut number = |at: usize, digits: usize, value: u64| {
        let text = format!("{value:0digits$o}");
        head[at..at + digits].copy_from_slice(text.as_bytes());
    };
    number(MODE, 7, 0o600);
    number(108, 7, 0);
    number(116, 7, 0);
    number(SIZE, 11, size);
    number(TIME, 11, unix_seconds);
    head[KIND] = b'0';
    head[MAGIC..MAGIC + 8].copy_from_slice(b"ustar\x0000");
    let sum = format!("{:06o}\0 ", sum(&head));
    head[SUM..SUM + 8].copy_from_slice(sum.as_bytes());
    head
}

/// Tells the bytes that fill the last block of a file.
pub(super) fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).expect("less than a block");
    (BLOCK - over) % BLOCK
}

/// Reads the next head: a file's name and size, nothing at the end of the archive.
///
/// # Errors
///
/// `InvalidData` for what is no head of a plain file.
pub(super) fn next(from: &mut dyn Read) -> Result<Option<(String, u64)>> {
    let mut head = [0; BLOCK];
    if !fill(from, &mut head)? {
        return Ok(None);
    }
    if head == [0; BLOCK] {
        return end(from).map(|()| None);
    }
    let octal = |at: usize, length: usize| {
        let text = std::str::from_utf8(&head[at..at + length]).ok()?;
        u64::from_str_radix(text.trim_matches(['\0', ' ']), 8).ok()
    };
    let is_plain = matches!(head[KIND], b'0' | 0) && head[MAGIC..].starts_with(b"ustar");
    let is_whole = octal(SUM, 8) == Some(sum(&head).into());
    let name = head[..MODE].split(|byte| *byte == 0).next().unwrap_or_default();
    match (octal(SIZE, 12), std::str::from_utf8(name)) {
        (Some(size), Ok(name)) if is_plain && is_whole => Ok(Some((name.to_owned(), size))),
        _ => Err(Error::new(ErrorKind::InvalidData, "archive/tar: invalid tar header")),
    }
}

/// Reads what fills the last block of a file.
pub(super) fn skip_padding(from: &mut dyn Read, size: u64) -> Result<()> {
    let mut rest = [0; BLOCK];
    from.read_exact(&mut rest[..padding(size)])
}

/// Reads to the end of the stream, which holds nothing more.
fn end(from: &mut dyn Read) -> Result<()> {
    let (mut block, mut bytes) = ([0; BLOCK], 0);
    loop {
        let count = from.read(&mut block)?;
        if count == 0 {
            return Ok(());
        }
        bytes += count;
        if bytes > PADDING_BYTES_MAX || block[..count].iter().any(|byte| *byte != 0) {
            return Err(Error::new(ErrorKind::InvalidData, "archive/tar: data after the end"));
        }
    }
}

/// Fills a block; tells whether there was anything.
fn fill(from: &mut dyn Read, block: &mut [u8; BLOCK]) -> Result<bool> {
    let mut have = 0;
    while have < BLOCK {
        match from.read(&mut block[have..])? {
            0 if have == 0 => return Ok(false),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => have += count,
        }
    }
    Ok(true)
}

/// Sums up the bytes of a head, its sum taken for blanks.
fn sum(head: &[u8; BLOCK]) -> u32 {
    let place = SUM..SUM + 8;
    let byte = |(at, byte): (usize, &u8)| if place.contains(&at) { b' ' } else { *byte };
    head.iter().enumerate().map(byte).map(u32::from).sum()
}
