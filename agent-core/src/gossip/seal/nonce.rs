//! Nonces without an operating system: a run's own field and a counter.
//!
//! AES-GCM breaks if one key seals two messages under one nonce, and all members share the key. So
//! a nonce is 64 bits that belong to one start of one member, its run, and a counter of 32. Two
//! starts of one member never share a run as long as the caller's contract holds (a generation
//! above that of every start before, or fresh dice); two members do with a chance of 2^-64 a pair:
//! a pool of 10,000 members that each start 1,000 times comes to 2.7e-6. Random nonces of 96 bits
//! would be at that chance after 2^39 messages: half a year of such a pool.

use crate::rand::Rng;

pub(super) const NONCE_BYTES: usize = 12;

pub(super) type Nonce = [u8; NONCE_BYTES];

/// Where nonces come from.
#[derive(Clone, Debug)]
pub struct Nonces {
    runs: Rng,
    run: u64,
    counter: Option<u32>,
    /// Runs that may still begin.
    left: u32,
}

impl Nonces {
    /// Starts a run.
    ///
    /// `node` is what tells this member from all others (the node key), and where a process is in
    /// several pools under one key, the pool too. `start` tells this start from all before: the
    /// generation, or dice from a source of entropy, or both mixed. It need not be secret.
    pub const fn new(node: u64, start: u64) -> Self {
        // Both steps are bijections: starts that differ give one node runs that differ.
        let mut runs = Rng::new(Rng::new(node).next_u64() ^ start);
        let run = runs.next_u64();
        Self { runs, run, counter: Some(0), left: u32::MAX }
    }

    /// Takes a nonce that was not taken before; nothing when there are no more.
    pub(super) const fn take(&mut self) -> Option<Nonce> {
        let counter = match self.counter {
            Some(counter) => counter,
            None if self.left == 0 => return None,
            None => {
                self.left -= 1;
                self.run = self.runs.next_u64();
                0
            }
        };
        self.counter = counter.checked_add(1);
        let [a, b, c, d, e, f, g, h] = self.run.to_be_bytes();
        let [i, j, k, l] = counter.to_be_bytes();
        Some([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// Splits a nonce into its run and its counter.
pub(super) fn split(nonce: &Nonce) -> (u64, u32) {
    let (mut run, mut counter) = ([0; 8], [0; 4]);
    run.copy_from_slice(&nonce[..8]);
    counter.copy_from_slice(&nonce[8..]);
    (u64::from_be_bytes(run), u32::from_be_bytes(counter))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_nonce_comes_twice_over_members_and_starts() {
        let mut all = BTreeSet::new();
        for node in 0..40 {
            for start in 0..40 {
                let mut nonces = Nonces::new(node, start);
                for _ in 0..4 {
                    assert!(all.insert(nonces.take().expect("plenty")), "{node} {start}");
                }
            }
        }
    }

    #[test]
    fn a_run_that_is_used_up_is_followed_by_another() {
        let mut nonces = Nonces::new(1, 2);
        let first = nonces.take().expect("plenty");
        nonces.counter = Some(u32::MAX);
        let last = nonces.take().expect("plenty");
        assert_eq!(split(&last), (split(&first).0, u32::MAX));
        let next = nonces.take().expect("plenty");
        assert_eq!(split(&next).1, 0);
        assert_ne!(split(&next).0, split(&first).0);
        (nonces.counter, nonces.left) = (None, 0);
        assert_eq!(nonces.take(), None);
    }
}
