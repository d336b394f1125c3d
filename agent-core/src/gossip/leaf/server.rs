//! Where servers take requests, as far as the pool tells.

use super::{Cargo, Event, Leaf, Parcel};
use crate::gossip::identity::Identity;
use crate::gossip::news::{News, SERVERS_BYTES_MAX, Servers};
use crate::wire::packet::{Emitter, Message};
use core::net::SocketAddr;

impl<const CONTACTS: usize> Leaf<CONTACTS> {
    /// Asks a contact for servers; [`Event::Servers`] tells once others than before are known. Full
    /// members answer what they see, leaves what they were told.
    pub fn seek_servers(&mut self) {
        if let Some(contact) = self.pick() {
            self.tell_news(contact, Cargo::WantServers);
        }
    }

    /// Walks the RPC addresses of servers, as last told.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|server| server.socket())
    }

    pub(super) fn tell_news(&mut self, to: Identity, cargo: Cargo) {
        self.post(Parcel { to, message: Message::Broadcast, cargo });
    }

    pub(super) fn learn_servers(&mut self, told: Servers<'_>) {
        let same = told.addresses().all(|address| self.servers.contains(&address));
        let count = told.addresses().count();
        if count == 0 || (same && count == self.servers.len()) {
            return;
        }
        self.servers = told.addresses().collect();
        self.tell(Event::Servers);
    }

    /// Adds what a message about servers carries. One that does not fit is a message lost.
    pub(super) fn emit_servers(&self, cargo: Cargo, emitter: &mut Emitter<'_>) {
        let mut list = [0; SERVERS_BYTES_MAX];
        let news = match cargo {
            Cargo::Nothing
            | Cargo::Card
            | Cargo::Refutation
            | Cargo::Shuffle
            | Cargo::HandOver { .. } => return,
            Cargo::WantServers => News::WantServers,
            Cargo::Servers => News::Servers(Servers::emit(self.servers(), &mut list)),
        };
        let mut bytes = [0; 1 + SERVERS_BYTES_MAX];
        if let Some(len) = news.emit(&mut bytes) {
            let _ = emitter.push_broadcast(&bytes[..len]);
        }
    }
}
