//! Keys and the ring that holds them: one seals, all open.

use core::fmt;

use aes_gcm::AesGcm;
use aes_gcm::aead::AeadInOut;
use aes_gcm::aes::cipher::consts::{U1, U12, U16};
use aes_gcm::aes::cipher::inout::InOut;
use aes_gcm::aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
    ParBlocksSizeUser,
};
use aes_gcm::aes::{Aes128, Aes192, Aes256, Block};
use heapless::Vec;

use super::nonce::Nonce;
use super::{KEY_ID_BYTES, TAG_BYTES};

/// Bytes of the longest key.
const KEY_BYTES_MAX: usize = 32;

/// A key is not 16, 24 or 32 bytes long, or its text is not base64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("key size must be 16, 24 or 32 bytes")
    }
}

impl core::error::Error for KeyError {}

/// Why the ring did not change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingError {
    /// The key to be used is not in the ring.
    Absent,
    /// The key to be removed is the one that seals.
    Primary,
    /// The ring holds as many keys as it can.
    Full,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Requested key is not in the keyring",
            Self::Primary => "Removing the primary key is not allowed",
            Self::Full => "The keyring is full",
        })
    }
}

impl core::error::Error for RingError {}

/// A key for AES-128, AES-192 or AES-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; KEY_BYTES_MAX],
    len: u8,
    id: [u8; KEY_ID_BYTES],
}

/// Shows which key, never its bytes.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:08x})", u32::from_be_bytes(self.id))
    }
}

impl Key {
    /// Takes a key.
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn new(key: &[u8]) -> Result<Self, KeyError> {
        let aes = Aes::new(key).ok_or(KeyError)?;
        let mut bytes = [0; KEY_BYTES_MAX];
        bytes[..key.len()].copy_from_slice(key);
        // GCM counts its blocks from 1, so that no message ever shows the cipher's answer to this
        // one; the hash key is its answer to zeros.
        let mut block = Block::from([0xff; 16]);
        block[12..].fill(0);
        aes.encrypt_block(&mut block);
        let mut id = [0; KEY_ID_BYTES];
        id.copy_from_slice(&block[..KEY_ID_BYTES]);
        Ok(Self { bytes, len: key.len() as u8, id })
    }

    /// Takes a key as Consul's `encrypt` has it: in base64 (RFC 4648 section 4).
    ///
    /// # Errors
    ///
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim_end_matches('=');
        if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 {
            return Err(KeyError);
        }
        let mut key = Vec::<u8, KEY_BYTES_MAX>::new();
        let (mut bits, mut count) = (0_u32, 0);
        for digit in digits.bytes() {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return Err(KeyError),
            };
            (bits, count) = (bits << 6 | u32::from(value), count + 6);
            if count >= 8 {
                count -= 8;
                key.push((bits >> count) as u8).map_err(|_| KeyError)?;
            }
        }
        Self::new(&key)
    }

    /// Lends the key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Tells by what a message names its key.
    pub(super) const fn id(&self) -> [u8; KEY_ID_BYTES] {
        self.id
    }

    /// Sets the cipher up: some 500 bytes that are not kept, for a ring of small size.
    fn cipher(&self) -> Option<AesGcm<Aes, U12>> {
        Aes::new(self.as_bytes()).map(AesGcm::from)
    }

    /// Encrypts in place; answers the tag, nothing for a body over 64 GB.
    pub(super) fn encrypt(
        &self,
        nonce: &Nonce,
        bound: &[u8],
        body: &mut [u8],
    ) -> Option<[u8; TAG_BYTES]> {
        let tag = self.cipher()?.encrypt_inout_detached(nonce.into(), bound, body.into()).ok()?;
        Some(tag.into())
    }

    /// Decrypts in place; false if the tag does not fit, and then the body is as it was.
    pub(super) fn decrypt(
        &self,
        nonce: &Nonce,
        bound: &[u8],
        body: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        self.cipher().is_some_and(|cipher| {
            cipher.decrypt_inout_detached(nonce.into(), bound, body.into(), tag.into()).is_ok()
        })
    }
}

/// AES by the length of its key.
///
/// One cipher to the outside: GCM is compiled once and not for each length, which saves a board
/// 10 of 21 KB.
enum Aes {
    Short(Aes128),
    Middle(Aes192),
    Long(Aes256),
}

impl Aes {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Self::Short),
            24 => Aes192::new_from_slice(key).ok().map(Self::Middle),
            32 => Aes256::new_from_slice(key).ok().map(Self::Long),
            _ => None,
        }
    }
}

impl BlockSizeUser for Aes {
    type BlockSize = U16;
}

impl BlockCipherEncrypt for Aes {
    fn encrypt_with_backend(&self, closure: impl BlockCipherEncClosure<BlockSize = U16>) {
        closure.call(&OneBlock(self));
    }
}

/// Encrypts block by block.
struct OneBlock<'a>(&'a Aes);

impl BlockSizeUser for OneBlock<'_> {
    type BlockSize = U16;
}

impl ParBlocksSizeUser for OneBlock<'_> {
    type ParBlocksSize = U1;
}

impl BlockCipherEncBackend for OneBlock<'_> {
    // Inlined, it would be there once for each use.
    #[inline(never)]
    fn encrypt_block(&self, block: InOut<'_, '_, Block>) {
        match self.0 {
            Aes::Short(aes) => aes.encrypt_block_inout(block),
            Aes::Middle(aes) => aes.encrypt_block_inout(block),
            Aes::Long(aes) => aes.encrypt_block_inout(block),
        }
    }
}

/// Up to `KEYS` keys; the first, the primary one, seals.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keyring<const KEYS: usize> {
    keys: Vec<Key, KEYS>,
}

impl<const KEYS: usize> Keyring<KEYS> {
    /// Starts with one key, the primary.
    pub fn new(primary: Key) -> Self {
        const { assert!(KEYS >= 2, "a key is changed by way of a second one") };
        let mut keys = Vec::new();
        let pushed = keys.push(primary);
        debug_assert!(pushed.is_ok(), "there is room for two");
        Self { keys }
    }

    /// Walks the keys, the primary first.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Key> {
        self.keys.iter()
    }

    /// Tells the key that seals.
    pub fn primary(&self) -> &Key {
        self.keys.first().expect("a ring starts with one and never loses its first")
    }

    /// Adds a key that opens; one that is there already is no matter.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`].
    pub fn install(&mut self, key: Key) -> Result<(), RingError> {
        if self.keys.contains(&key) {
            return Ok(());
        }
        self.keys.push(key).map_err(|_| RingError::Full)
    }

    /// Makes a key of the ring the one that seals.
    ///
    /// # Errors
    ///
    /// [`RingError::Absent`].
    pub fn promote(&mut self, key: &Key) -> Result<(), RingError> {
        let at = self.keys.iter().position(|held| held == key).ok_or(RingError::Absent)?;
        self.keys[..=at].rotate_right(1);
        Ok(())
    }

    /// Removes a key; one that is not there is no matter.
    ///
    /// # Errors
    ///
    /// [`RingError::Primary`].
    pub fn remove(&mut self, key: &Key) -> Result<(), RingError> {
        if self.primary() == key {
            return Err(RingError::Primary);
        }
        self.keys.retain(|held| held != key);
        Ok(())
    }

    pub(super) fn by_id(&self, id: [u8; KEY_ID_BYTES]) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}
