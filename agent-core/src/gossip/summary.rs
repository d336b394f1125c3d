//! What two members know, compared in a few kilobytes: members fall into buckets by their key, and
//! each bucket has one mark. Only the digests of buckets whose marks differ travel.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::sync::Digest;
use crate::wire::packet::State;

/// Fewest and most buckets; a power of two in between.
const BUCKETS_MIN: usize = 16;
pub(super) const BUCKETS_MAX: usize = 1024;

/// Members in one bucket, about.
const BUCKET_MEMBERS: usize = 32;

/// The marks of all buckets. A member that is suspect counts as alive: that passes by itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Summary(Vec<u32>);

impl Summary {
    /// Sums up `items`, in as many buckets as suit `members`.
    pub(super) fn new(members: usize, items: impl Iterator<Item = Digest>) -> Self {
        let wanted = members.div_ceil(BUCKET_MEMBERS).next_power_of_two();
        Self::with(wanted.clamp(BUCKETS_MIN, BUCKETS_MAX), items)
    }

    /// Sums up `items` in buckets of this number.
    fn with(count: usize, items: impl Iterator<Item = Digest>) -> Self {
        let mut marks = alloc::vec![0_u32; count];
        for item in items {
            let at = bucket(item.node, count);
            marks[at] = marks[at].wrapping_add(mark(&item));
        }
        Self(marks)
    }

    /// Tells whether this is one that [`Summary::new`] could have made.
    pub(super) const fn sound(&self) -> bool {
        let count = self.0.len();
        count.is_power_of_two() && count >= BUCKETS_MIN && count <= BUCKETS_MAX
    }

    /// Finds the buckets in which `items` are not what was summed up.
    pub(super) fn differing(&self, items: impl Iterator<Item = Digest>) -> Buckets {
        let count = self.0.len();
        let ours = Self::with(count, items);
        let pairs = self.0.iter().zip(&ours.0).enumerate();
        let which = pairs.filter(|(_, (one, two))| one != two).map(|(at, _)| at as u16);
        Buckets { count: count as u16, which: which.collect() }
    }
}

/// Some of the buckets, in rising order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Buckets {
    count: u16,
    which: Vec<u16>,
}

impl Buckets {
    /// Tells whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.which.is_empty()
    }

    /// Tells whether these can be of a sound summary.
    pub(super) fn sound(&self) -> bool {
        let count = usize::from(self.count);
        count.is_power_of_two()
            && (BUCKETS_MIN..=BUCKETS_MAX).contains(&count)
            && self.which.is_sorted_by(|one, two| one < two)
            && self.which.last().is_none_or(|last| *last < self.count)
    }

    /// Tells whether a member falls into one of them.
    pub(super) fn hold(&self, node: u64) -> bool {
        let at = bucket(node, usize::from(self.count)) as u16;
        self.which.binary_search(&at).is_ok()
    }
}

const fn bucket(node: u64, count: usize) -> usize {
    mix(node) as usize & (count - 1)
}

/// Folds what is known of a member, so that two who know the same have the same mark.
fn mark(item: &Digest) -> u32 {
    let live = item.state != State::Down;
    let departed = item
        .departure
        .map_or(0, |gone| u64::from(gone.generation) << 2 | u64::from(gone.pruned) << 1 | 1);
    let stamp = u64::from(item.stamp.generation) << 32 | u64::from(item.stamp.version);
    let life =
        u64::from(item.generation) << 32 | u64::from(item.incarnation) << 1 | u64::from(live);
    [item.node, life, departed, stamp].into_iter().fold(0, |hash, word| mix(hash ^ word)) as u32
}

/// Mixes 64 bits; the finisher of SplitMix64.
const fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gossip::news::{Departure, Stamp};

    fn item(node: u64) -> Digest {
        let stamp = Stamp { generation: 1, version: 1 };
        Digest { node, generation: 1, incarnation: 0, state: State::Alive, departure: None, stamp }
    }

    fn items() -> Vec<Digest> {
        (0..5000).map(item).collect()
    }

    #[test]
    fn equal_knowledge_has_equal_marks_in_any_order() {
        let summary = Summary::new(5000, items().into_iter());
        assert!(summary.sound() && summary.0.len() == 256);
        let mut suspect = items();
        suspect.reverse();
        suspect[7].state = State::Suspect;
        assert!(summary.differing(suspect.into_iter()).is_empty());
    }

    #[test]
    fn every_kind_of_difference_is_found_in_its_bucket() {
        let summary = Summary::new(5000, items().into_iter());
        let gone = Departure { generation: 1, pruned: false };
        let changes: [fn(&mut Digest); 6] = [
            |item| item.generation = 2,
            |item| item.incarnation = 1,
            |item| item.state = State::Down,
            |item| item.stamp.version = 2,
            |item| item.departure = Some(Departure { generation: 1, pruned: true }),
            |item| item.departure = Some(Departure { generation: 1, pruned: false }),
        ];
        for change in changes {
            let mut other = items();
            change(&mut other[1234]);
            let buckets = summary.differing(other.into_iter());
            assert!(buckets.sound() && buckets.which.len() == 1 && buckets.hold(1234));
            let held = (0..5000).filter(|node| buckets.hold(*node)).count();
            assert!((5..60).contains(&held), "{held}");
        }
        let mut fewer = items();
        fewer.pop();
        fewer[0].departure = Some(gone);
        assert_eq!(summary.differing(fewer.into_iter()).which.len(), 2);
    }

    #[test]
    fn unsound_numbers_of_buckets_are_refused() {
        for count in [0, 1, 8, 17, 2048] {
            assert!(!Summary(alloc::vec![0; count]).sound(), "{count}");
        }
        let buckets = |count, which: &[u16]| Buckets { count, which: which.to_vec() };
        assert!(buckets(16, &[0, 15]).sound());
        for (count, which) in [(16, &[16][..]), (16, &[3, 3]), (16, &[4, 3]), (0, &[]), (24, &[])] {
            assert!(!buckets(count, which).sound(), "{count} {which:?}");
        }
    }
}
