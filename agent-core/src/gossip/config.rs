//! Every setting of a pool: unit, bounds, default, and what it is good for.
//!
//! Defaults are Consul's: <https://www.consul.io/docs/agent/options#gossip_lan>.

use crate::time::Duration;

/// Which pool a member is in. Pools never mix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// All agents of one datacentre.
    Lan,
    /// The servers of all datacentres.
    Wan,
}

/// The timing and the limits of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Which pool.
    pub kind: Kind,
    /// Time between two probes. LAN 1 s, WAN 5 s. Traffic is proportional to 1 / this.
    pub probe_period: Duration,
    /// Time to wait for an `Ack` before others are asked, below the period. LAN 500 ms, WAN 3 s.
    pub probe_timeout: Duration,
    /// Members asked to probe for us, and members told per round of gossip. 1 to 255, default 3.
    pub fanout: u8,
    /// Time between two rounds of gossip while there is news. LAN 200 ms, WAN 500 ms.
    pub gossip_period: Duration,
    /// Probe periods, times log10 of the pool's size, that a suspect has to refute at the least;
    /// two less are the accusers, besides the first, that it takes for that. LAN 4, WAN 6.
    pub suspicion_factor: u32,
    /// News is sent this many times, times the digits of the pool's size. Default 4.
    pub retransmit_factor: u8,
    /// Time between two exchanges of full state, stretched in pools over 32 members.
    /// LAN 30 s, WAN 60 s.
    pub sync_period: Duration,
    /// Time between two attempts at a failed member. Default 30 s.
    pub reconnect_period: Duration,
    /// A failed member is forgotten after this. Default 72 h.
    pub reconnect_timeout: Duration,
    /// A member that left is forgotten after this. Default 24 h.
    pub tombstone_timeout: Duration,
    /// Longest a graceful leave may take to spread. Default 3 s.
    pub leave_timeout: Duration,
    /// Highest local health score. Default 8.
    pub awareness_max: u8,
    /// Whether to find out where we are, and to tell those who probe us. Default true.
    pub coordinates: bool,
}

impl Config {
    /// Consul's LAN settings.
    pub const fn lan() -> Self {
        Self {
            kind: Kind::Lan,
            probe_period: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            fanout: 3,
            gossip_period: Duration::from_millis(200),
            suspicion_factor: 4,
            retransmit_factor: 4,
            sync_period: Duration::from_secs(30),
            reconnect_period: Duration::from_secs(30),
            reconnect_timeout: Duration::from_secs(72 * 3600),
            tombstone_timeout: Duration::from_secs(24 * 3600),
            leave_timeout: Duration::from_secs(3),
            awareness_max: 8,
            coordinates: true,
        }
    }

    /// Consul's WAN settings.
    pub const fn wan() -> Self {
        Self {
            kind: Kind::Wan,
            probe_period: Duration::from_secs(5),
            probe_timeout: Duration::from_secs(3),
            gossip_period: Duration::from_millis(500),
            suspicion_factor: 6,
            sync_period: Duration::from_secs(60),
            ..Self::lan()
        }
    }

    /// Tells how long a suspect of several accusers may take to refute in a pool of `members`.
    pub fn suspicion(&self, members: usize) -> Duration {
        let millis = log10_milli(members).max(1000) * u64::from(self.suspicion_factor);
        Duration::from_micros(self.probe_period.micros().saturating_mul(millis) / 1000)
    }

    /// Tells how often a piece of news is sent in a pool of `members`.
    pub fn transmissions(&self, members: usize) -> u8 {
        let digits = members.max(1).ilog10() as u8 + 1;
        self.retransmit_factor.saturating_mul(digits).max(1)
    }

    /// Tells the time between two exchanges in a pool of `members`: one period more per doubling
    /// over 32.
    pub fn sync_every(&self, members: usize) -> Duration {
        let over = members.div_ceil(32).max(1).next_power_of_two().ilog2();
        self.sync_period.times(u64::from(over) + 1)
    }

    /// Hashes the pool's name (FNV-1a): which pool, and for a LAN pool which datacentre.
    pub fn label(&self, datacenter: &str) -> u32 {
        let name: (&[u8], &[u8]) = match self.kind {
            Kind::Lan => (b"lan/", datacenter.as_bytes()),
            Kind::Wan => (b"wan/", b""),
        };
        name.0.iter().chain(name.1).fold(0x811c_9dc5, |hash: u32, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    }
}

/// Tells 1000 times the decimal logarithm, to about two percent: the mantissa is taken as a line.
pub(super) fn log10_milli(count: usize) -> u64 {
    let count = (count as u64).clamp(1, 1 << 40);
    let whole = u64::from(count.ilog2());
    let fraction = ((count << 10) >> whole) - 1024;
    (whole * 1024 + fraction) * 301 / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lan_timing_is_consuls() {
        let lan = Config::lan();
        assert_eq!(lan.suspicion(5), Duration::from_secs(4));
        assert_eq!(lan.suspicion(1000).millis() / 100, 119);
        assert_eq!([1, 5, 9, 10, 100].map(|n| lan.transmissions(n)), [4, 4, 4, 8, 12]);
        assert_eq!(
            [1, 32, 33, 64, 65].map(|n| lan.sync_every(n).millis() / 30_000),
            [1, 1, 2, 2, 3]
        );
    }

    #[test]
    fn datacentres_are_different_lan_pools_and_one_wan_pool() {
        let (lan, wan) = (Config::lan(), Config::wan());
        assert_ne!(lan.label("dc1"), lan.label("dc2"));
        assert_ne!(lan.label("dc1"), wan.label("dc1"));
        assert_eq!(wan.label("dc1"), wan.label("dc2"));
    }
}
