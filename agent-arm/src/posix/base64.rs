//! Base64 with padding (RFC 4648 section 4). Pure.

use std::string::String;
use std::vec::Vec;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes.
pub fn emit(bytes: &[u8]) -> String {
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=three.len()].copy_from_slice(three);
        let word = u32::from_be_bytes(word);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= three.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// Reads bytes; nothing for anything that [`emit`] does not write.
pub fn parse(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.as_bytes().chunks(4) {
        let digits = four.iter().position(|digit| *digit == b'=').unwrap_or(four.len());
        let mut word = 0;
        for digit in &four[..digits] {
            word = word << 6 | DIGITS.iter().position(|known| known == digit)? as u32;
        }
        word <<= 6 * (4 - digits);
        let count = digits.checked_sub(1)?;
        bytes.extend_from_slice(word.to_be_bytes().get(1..=count)?);
    }
    (emit(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_went() {
        let known =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in known {
            assert_eq!(emit(bytes.as_bytes()), text);
            assert_eq!(parse(text).as_deref(), Some(bytes.as_bytes()));
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in
            ["Z", "Zg", "Zg=", "Zh==", "====", "Zm9v\n", "Zm8=Zm8=", "Zm-v", "=Zg=", "\u{e9}"]
        {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
