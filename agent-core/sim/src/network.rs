//! What happens to a datagram on its way.

use agent_core::rand::Rng;
use agent_core::time::Duration;

/// Most bytes that a member sends in IP and UDP headers round one datagram.
pub const DATAGRAM_HEAD_BYTES: u64 = 28;

/// Bytes of IP and TCP headers round one segment, and the payload that one carries.
const SEGMENT_HEAD_BYTES: u64 = 40;
const SEGMENT_BYTES: u64 = 1460;

/// Empty segments that one side of a stream sends: opening, acknowledging, closing.
const SEGMENTS_EMPTY: u64 = 4;

/// Chances are in millionths.
const WHOLE: u64 = 1_000_000;

/// The network's manners. The default is a calm LAN: 1 to 4 ms, nothing lost.
#[derive(Clone, Debug)]
pub struct Network {
    /// Least time from sender to receiver.
    pub latency: Duration,
    /// Random time on top, below this.
    pub jitter: Duration,
    /// Datagrams lost, in millionths.
    pub loss: u64,
    /// Datagrams that arrive twice, in millionths.
    pub duplication: u64,
    /// Datagrams held back by up to [`Network::held`], so that later ones overtake, in millionths.
    pub reordering: u64,
    /// Longest time that a datagram is held back.
    pub held: Duration,
    /// Sides that do not reach each other: from, to.
    cuts: Vec<(u8, u8)>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(1),
            jitter: Duration::from_millis(3),
            loss: 0,
            duplication: 0,
            reordering: 0,
            held: Duration::from_millis(500),
            cuts: Vec::new(),
        }
    }
}

impl Network {
    /// Stops what one side sends to another. The other way stays open.
    pub fn cut(&mut self, from: u8, to: u8) {
        if self.reaches(from, to) {
            self.cuts.push((from, to));
        }
    }

    /// Stops what two sides send to each other.
    pub fn part(&mut self, one: u8, other: u8) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Lets everybody reach everybody.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }

    /// Tells whether anything gets from one side to another.
    pub fn reaches(&self, from: u8, to: u8) -> bool {
        !self.cuts.contains(&(from, to))
    }

    /// Rolls when the copies of one datagram arrive: none if it is lost.
    pub(crate) fn travel(&self, dice: &mut Rng) -> impl Iterator<Item = Duration> + use<> {
        let mut copies = [None; 2];
        if dice.below(WHOLE) >= self.loss {
            copies[0] = Some(self.delay(dice));
            if dice.below(WHOLE) < self.duplication {
                copies[1] = Some(self.delay(dice));
            }
        }
        copies.into_iter().flatten()
    }

    fn delay(&self, dice: &mut Rng) -> Duration {
        let jitter = Duration::from_micros(dice.below(self.jitter.micros()));
        let mut delay = self.latency + jitter;
        if dice.below(WHOLE) < self.reordering {
            delay = delay + Duration::from_micros(dice.below(self.held.micros()));
        }
        delay
    }
}

/// Tells the bytes on the wire that one side of a stream sends to carry `payload`.
pub(crate) const fn stream_bytes(payload: u64) -> u64 {
    payload + (payload.div_ceil(SEGMENT_BYTES) + SEGMENTS_EMPTY) * SEGMENT_HEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way_until_it_is_healed() {
        let mut network = Network::default();
        network.cut(0, 1);
        assert!(!network.reaches(0, 1) && network.reaches(1, 0));
        network.part(0, 1);
        assert!(!network.reaches(1, 0) && network.reaches(1, 1));
        network.heal();
        assert!(network.reaches(0, 1) && network.reaches(1, 0));
    }

    #[test]
    fn datagrams_are_lost_doubled_and_held_back_as_often_as_asked() {
        let network = Network {
            loss: 100_000,
            duplication: 50_000,
            reordering: 20_000,
            ..Network::default()
        };
        let mut dice = Rng::new(1);
        let (mut arrived, mut held) = (0, 0);
        for _ in 0..100_000 {
            for delay in network.travel(&mut dice) {
                arrived += 1;
                held += usize::from(delay >= Duration::from_millis(4));
            }
        }
        assert!((93_500..95_500).contains(&arrived), "{arrived}");
        assert!((1_700..2_100).contains(&held), "{held}");
    }
}
