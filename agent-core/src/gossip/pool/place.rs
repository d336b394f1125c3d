//! Where we are, from probes that were answered, and where others say that they are.

use super::effects::Ping;
use super::{Coordinate, Pool, Status};
use crate::gossip::config::Kind;
use crate::gossip::news::News;
use crate::time::Instant;

impl Pool {
    /// Learns from the answer to a probe how far its sender is, if it says where it is.
    pub(super) fn measure(&mut self, now: Instant, ping: Ping, news: &[News<'_>]) {
        let place = news.iter().find_map(|item| match item {
            News::Coordinate(place) => Some(place),
            News::Meta { .. }
            | News::Departure { .. }
            | News::Want { .. }
            | News::WantServers
            | News::Accusation(_)
            | News::Event(_)
            | News::Shuffle
            | News::Contact(_)
            | News::Servers(_) => None,
        });
        let (Some(place), true) = (place, self.config.coordinates) else { return };
        let rtt = now.since(ping.at).micros() as f64 / 1.0e6;
        self.vivaldi.observe(ping.to.node, place, rtt);
        self.effects.place = Some(*self.vivaldi.place());
        if self.config.kind == Kind::Wan {
            self.places.insert(ping.to.node, *place);
        }
    }

    /// Tells where we are, as far as probes have told.
    pub const fn place(&self) -> &Coordinate {
        self.vivaldi.place()
    }

    /// Tells how often we had to look for our place from the start.
    pub const fn place_resets(&self) -> u64 {
        self.vivaldi.resets()
    }

    /// Walks the names of the shown members of a WAN pool whose place is known, ourselves first.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Coordinate)> {
        let own = self.foca.identity().node;
        self.members().filter(|view| view.status == Status::Alive).filter_map(move |view| {
            let node = view.identity.node;
            let place = if node == own { Some(self.place()) } else { self.places.get(&node) };
            Some((view.name, place?))
        })
    }
}
