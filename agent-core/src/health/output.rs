//! The last bytes of what a check said.

/// Keeps the last bytes written, in lent memory; counts all of them.
#[derive(Clone, Debug)]
pub struct Tail<B> {
    storage: B,
    written: u64,
}

impl<B: AsRef<[u8]> + AsMut<[u8]>> Tail<B> {
    /// Starts empty; keeps as many bytes as `storage` holds.
    pub fn new(storage: B) -> Self {
        Self { storage, written: 0 }
    }

    /// Takes more output; what no longer fits is dropped from the front.
    pub fn push(&mut self, bytes: &[u8]) {
        let storage = self.storage.as_mut();
        let size = storage.len();
        if size > 0 {
            let keep = &bytes[bytes.len().saturating_sub(size)..];
            let skipped = (bytes.len() - keep.len()) as u64;
            let start = ((self.written + skipped) % size as u64) as usize;
            let first = keep.len().min(size - start);
            storage[start..start + first].copy_from_slice(&keep[..first]);
            storage[..keep.len() - first].copy_from_slice(&keep[first..]);
        }
        self.written += bytes.len() as u64;
    }

    /// Tells how many bytes were pushed, kept or not.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Tells whether bytes were dropped.
    pub fn overflowed(&self) -> bool {
        self.written > self.storage.as_ref().len() as u64
    }

    /// Shows what is kept, oldest first, in two pieces.
    pub fn pieces(&self) -> (&[u8], &[u8]) {
        let storage = self.storage.as_ref();
        if self.overflowed() && !storage.is_empty() {
            let start = (self.written % storage.len() as u64) as usize;
            (&storage[start..], &storage[..start])
        } else {
            (&storage[..storage.len().min(self.written as usize)], &[])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn kept(tail: &Tail<[u8; 4]>) -> Vec<u8> {
        let (front, back) = tail.pieces();
        [front, back].concat()
    }

    #[test]
    fn the_last_bytes_are_kept_in_order() {
        let mut tail = Tail::new([0; 4]);
        assert_eq!(kept(&tail), b"");
        tail.push(b"abc");
        assert_eq!((kept(&tail).as_slice(), tail.overflowed()), (&b"abc"[..], false));
        tail.push(b"de");
        assert_eq!((kept(&tail).as_slice(), tail.overflowed()), (&b"bcde"[..], true));
        tail.push(b"0123456789");
        assert_eq!(kept(&tail), b"6789");
        assert_eq!(tail.written(), 15);
    }

    #[test]
    fn every_split_of_the_input_keeps_the_same() {
        let text = b"the quick brown fox";
        for split in 0..text.len() {
            let mut tail = Tail::new([0; 4]);
            tail.push(&text[..split]);
            tail.push(&text[split..]);
            assert_eq!(kept(&tail), b" fox", "split at {split}");
        }
    }
}
