//! `keygen`: a new key for gossip encryption.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Api, Call, Failure, Spec, Verb, failure};

/// Makes a key.
pub(super) struct Keygen;

/// Bytes of a key: AES-256.
const KEY_BYTES: usize = 32;

const SPEC: Spec = Spec {
    path: "keygen",
    summary: "Generates a new encryption key",
    help: "

  Generates a new 32-byte key in base64, as the setting `encrypt` takes it.

      $ reeve keygen
",
    api: Api::None,
    flags: &[],
};

impl Verb for Keygen {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, call: &mut Call<'_>) -> Result<(), Failure> {
        let mut key = [0; KEY_BYTES];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut key))
            .map_err(|error| failure(format!("Error reading random data: {error}")))?;
        call.say(BASE64.encode(key))
    }
}
