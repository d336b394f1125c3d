//! The table's memory: every member in one block, their metadata end to end in another, and three
//! sorted lists of two bytes a member to find one by node key, by address or by name.
//!
//! A full member holds this for each of thousands: metadata stays encoded until it is asked for,
//! and of the keys only that of the node is held twice. The lists point at records, whose keys
//! change only in here.

use alloc::vec::Vec;

use super::MEMBERS_MAX;
use crate::gossip::Status;
use crate::gossip::identity::{Address, Identity};
use crate::gossip::meta::{self, META_BYTES_MAX, Meta, Role};
use crate::gossip::news::{Departure, Stamp};
use crate::time::{Duration, Instant};
use crate::wire::packet::State;

const _: () = assert!(MEMBERS_MAX <= u16::MAX as usize);
const _: () = assert!(META_BYTES_MAX <= u16::MAX as usize);
const _: () = assert!(MEMBERS_MAX * META_BYTES_MAX <= u32::MAX as usize / 2);

/// Bytes of metadata that nobody refers to any more, at which the block is packed again even if it
/// is small.
const GARBAGE_MIN: usize = 4096;

/// Where a member's metadata lies in the block, and what is asked of it often.
#[derive(Clone, Copy)]
struct Described {
    at: u32,
    len: u16,
    role: Role,
    leaf: bool,
}

/// What is known of one member.
pub(in crate::gossip) struct Record {
    identity: Identity,
    /// Its metadata; the member is not shown before this is known.
    described: Option<Described>,
    /// Up to which generation it left.
    pub(in crate::gossip) departure: Option<Departure>,
    /// The edition of its metadata.
    pub(in crate::gossip) stamp: Stamp,
    /// When it went down, or was first heard of, in whole seconds of our clock.
    since: u32,
    /// Its refutations in this generation.
    pub(in crate::gossip) incarnation: u16,
    /// How it is seen.
    pub(in crate::gossip) state: State,
    /// As what the application was told of it.
    pub(super) shown: Option<Status>,
    /// Whether another live node holds its name.
    pub(super) shadowed: bool,
}

const _: () = assert!(size_of::<Record>() <= 68);

impl Record {
    /// A member heard of for the first time.
    pub(super) fn new(now: Instant, identity: Identity, incarnation: u16, state: State) -> Self {
        let mut record = Self {
            identity,
            described: None,
            departure: None,
            stamp: Stamp::default(),
            since: 0,
            incarnation,
            state,
            shown: None,
            shadowed: false,
        };
        record.mark(now);
        record
    }

    /// Tells its youngest identity.
    pub(in crate::gossip) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Tells whether the member answers, as far as we know.
    pub(in crate::gossip) const fn live(&self) -> bool {
        !matches!(self.state, State::Down)
    }

    /// Tells whether its metadata is known.
    pub(in crate::gossip) const fn described(&self) -> bool {
        self.described.is_some()
    }

    /// Tells whether it is a server or a client; not known before its metadata is.
    pub(super) fn role(&self) -> Option<Role> {
        self.described.map(|described| described.role)
    }

    /// Tells whether the member takes streams; not known before its metadata is.
    pub(in crate::gossip) fn full(&self) -> bool {
        self.described.is_some_and(|described| !described.leaf)
    }

    /// Tells whether the member is known to be a leaf.
    pub(in crate::gossip) fn leaf(&self) -> bool {
        self.described.is_some_and(|described| described.leaf)
    }

    /// Tells the status as Consul shows it.
    pub(in crate::gossip) fn status(&self) -> Status {
        let departed =
            self.departure.is_some_and(|gone| gone.generation >= self.identity.generation);
        match (self.live(), departed) {
            (true, false) => Status::Alive,
            (true, true) => Status::Leaving,
            (false, true) => Status::Left,
            (false, false) => Status::Failed,
        }
    }

    /// Tells whether and how the member is shown.
    pub(super) fn visible(&self) -> Option<Status> {
        self.described?;
        let status = self.status();
        let pruned = self.departure.is_some_and(|gone| gone.pruned) && status == Status::Left;
        (!pruned && !self.shadowed).then_some(status)
    }

    /// Notes that it goes down, or comes back, now.
    pub(super) fn mark(&mut self, now: Instant) {
        self.since = u32::try_from(now.micros().div_ceil(SECOND)).unwrap_or(u32::MAX);
    }

    /// Tells whether the last mark was so long ago, within a second.
    pub(in crate::gossip) fn older(&self, now: Instant, span: Duration) -> bool {
        now >= Instant::from_micros(u64::from(self.since) * SECOND) + span
    }
}

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;

/// Every member besides ourselves.
pub(in crate::gossip) struct Table {
    /// In no order: the last one takes the place of one that is removed.
    records: Vec<Record>,
    /// Encoded metadata, in no order.
    metas: Vec<u8>,
    /// How many bytes of it belong to nobody.
    garbage: usize,
    /// The node keys in order, apart from the records: every datagram looks for some.
    keys: Vec<u64>,
    /// Positions of the records with these keys.
    nodes: Vec<u16>,
    /// Positions of those that hold their address, by address.
    addresses: Vec<u16>,
    /// Positions of those that hold their name, by name.
    names: Vec<u16>,
}

/// Makes room by an eighth at a time: doubling would leave a third of a large table empty.
fn reserve<T>(items: &mut Vec<T>, more: usize) {
    if items.capacity() - items.len() < more {
        items.reserve_exact(more.max(items.len() / 8));
    }
}

/// Puts a position where a search left off: in place of whose key is the same, or in between.
fn put(list: &mut Vec<u16>, found: Result<usize, usize>, at: u16) {
    match found {
        Ok(place) => list[place] = at,
        Err(place) => {
            reserve(list, 1);
            list.insert(place, at);
        }
    }
}

impl Table {
    /// Starts with nobody.
    pub(super) const fn new() -> Self {
        Self {
            records: Vec::new(),
            metas: Vec::new(),
            garbage: 0,
            keys: Vec::new(),
            nodes: Vec::new(),
            addresses: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Counts the members.
    pub(in crate::gossip) const fn len(&self) -> usize {
        self.records.len()
    }

    /// Walks the members in the order of their node keys.
    pub(in crate::gossip) fn iter(&self) -> impl Iterator<Item = &Record> + Clone {
        self.nodes.iter().map(|at| self.record(*at))
    }

    /// Tells the member at a place below [`Table::len`]; places are in no order, and change.
    pub(in crate::gossip) fn nth(&self, place: usize) -> Option<&Record> {
        self.records.get(place)
    }

    /// Finds a member.
    pub(in crate::gossip) fn get(&self, node: u64) -> Option<&Record> {
        self.position(node).map(|at| self.record(at))
    }

    /// Finds a member to change what is no key.
    pub(super) fn get_mut(&mut self, node: u64) -> Option<&mut Record> {
        let at = self.position(node)?;
        Some(&mut self.records[usize::from(at)])
    }

    /// Tells a member's encoded metadata, empty if it is not known.
    pub(in crate::gossip) fn meta(&self, record: &Record) -> &[u8] {
        record.described.map_or(&[], |Described { at, len, .. }| {
            let at = at as usize;
            &self.metas[at..at + usize::from(len)]
        })
    }

    /// Tells a member's name, empty if it is not known.
    pub(in crate::gossip) fn name(&self, record: &Record) -> &str {
        meta::name(self.meta(record)).unwrap_or_default()
    }

    /// Finds the member that holds an address.
    pub(super) fn at(&self, address: Address) -> Option<&Record> {
        let place = self.find_address(address).ok()?;
        Some(self.record(self.addresses[place]))
    }

    /// Finds the member that holds a name.
    pub(super) fn named(&self, name: &str) -> Option<&Record> {
        let place = self.find_name(name).ok()?;
        Some(self.record(self.names[place]))
    }

    /// Adds a member that is not there yet; it takes its address from whoever holds it.
    pub(super) fn insert(&mut self, record: Record) {
        let at = self.records.len() as u16;
        let Identity { node, address, .. } = record.identity;
        let Err(place) = self.find(node) else { return };
        reserve(&mut self.keys, 1);
        self.keys.insert(place, node);
        put(&mut self.nodes, Err(place), at);
        reserve(&mut self.records, 1);
        self.records.push(record);
        let found = self.find_address(address);
        put(&mut self.addresses, found, at);
    }

    /// Gives a member a new identity of its node; it takes that one's address from whoever holds
    /// it.
    pub(super) fn renew(&mut self, identity: Identity) {
        let Some(at) = self.position(identity.node) else { return };
        if let Some(place) = self.held_address(at) {
            self.addresses.remove(place);
        }
        self.records[usize::from(at)].identity = identity;
        let found = self.find_address(identity.address);
        put(&mut self.addresses, found, at);
    }

    /// Gives a member metadata that was checked, encoded and parsed. A new name is held by nobody
    /// before [`Table::give_name`].
    pub(super) fn describe(&mut self, node: u64, encoded: &[u8], meta: &Meta) {
        let Some(at) = self.position(node) else { return };
        if self.name(self.record(at)) != meta.name {
            self.free_name(node);
        }
        self.drop_meta(at);
        self.pack();
        let record = &mut self.records[usize::from(at)];
        let (at, len) = (self.metas.len() as u32, encoded.len() as u16);
        reserve(&mut self.metas, encoded.len());
        self.metas.extend_from_slice(encoded);
        let (role, leaf) = (meta.role, meta.leaf);
        record.described = Some(Described { at, len, role, leaf });
    }

    /// Lets a member hold its name, in place of whoever does.
    pub(super) fn give_name(&mut self, node: u64) {
        let Some(at) = self.position(node) else { return };
        let found = self.find_name(self.name(self.record(at)));
        put(&mut self.names, found, at);
    }

    /// Takes its name from a member, if it holds it.
    fn free_name(&mut self, node: u64) {
        let held = self.position(node).and_then(|at| self.held_name(at));
        if let Some(place) = held {
            self.names.remove(place);
        }
    }

    /// Erases a member.
    pub(super) fn remove(&mut self, node: u64) {
        let Ok(place) = self.find(node) else { return };
        let at = self.nodes[place];
        self.free_name(node);
        if let Some(place) = self.held_address(at) {
            self.addresses.remove(place);
        }
        self.keys.remove(place);
        self.nodes.remove(place);
        self.drop_meta(at);
        let last = (self.records.len() - 1) as u16;
        if at != last {
            let (name, address) = (self.held_name(last), self.held_address(last));
            let node = self.find(self.record(last).identity.node).ok();
            let lists = [&mut self.nodes, &mut self.addresses, &mut self.names];
            for (list, place) in lists.into_iter().zip([node, address, name]) {
                if let Some(place) = place {
                    list[place] = at;
                }
            }
        }
        self.records.swap_remove(usize::from(at));
    }

    fn drop_meta(&mut self, at: u16) {
        let dropped = self.records[usize::from(at)].described.take();
        self.garbage += dropped.map_or(0, |described| usize::from(described.len));
    }

    /// Packs the metadata again once an eighth of it is garbage.
    fn pack(&mut self) {
        if self.garbage < (self.metas.len() / 8).max(GARBAGE_MIN) {
            return;
        }
        let mut packed = Vec::with_capacity(self.metas.len() - self.garbage);
        for described in self.records.iter_mut().filter_map(|record| record.described.as_mut()) {
            let at = described.at as usize;
            described.at = packed.len() as u32;
            packed.extend_from_slice(&self.metas[at..at + usize::from(described.len)]);
        }
        (self.metas, self.garbage) = (packed, 0);
    }

    fn record(&self, at: u16) -> &Record {
        &self.records[usize::from(at)]
    }

    fn position(&self, node: u64) -> Option<u16> {
        self.find(node).ok().map(|place| self.nodes[place])
    }

    fn find(&self, node: u64) -> Result<usize, usize> {
        self.keys.binary_search(&node)
    }

    fn find_address(&self, address: Address) -> Result<usize, usize> {
        self.addresses.binary_search_by_key(&address, |at| self.record(*at).identity.address)
    }

    fn find_name(&self, name: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|at| self.name(self.record(*at)).cmp(name))
    }

    /// Finds a record in the list of addresses, if it holds its own.
    fn held_address(&self, at: u16) -> Option<usize> {
        let found = self.find_address(self.record(at).identity.address);
        found.ok().filter(|place| self.addresses[*place] == at)
    }

    /// Finds a record in the list of names, if it holds its own.
    fn held_name(&self, at: u16) -> Option<usize> {
        let found = self.find_name(self.name(self.record(at)));
        found.ok().filter(|place| self.names[*place] == at)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::string::String;
    use core::net::SocketAddr;

    use super::*;
    use crate::rand::Rng;

    fn node_id(node: u64) -> [u8; 16] {
        let mut id = [0; 16];
        id[8..].copy_from_slice(&node.to_be_bytes());
        id
    }

    /// The same in maps: what a member is, who holds which address, who which name.
    #[derive(Default)]
    struct Model {
        members: BTreeMap<u64, (Identity, Vec<u8>)>,
        addresses: BTreeMap<Address, u64>,
        names: BTreeMap<String, u64>,
    }

    impl Model {
        fn free_name(&mut self, node: u64) {
            self.names.retain(|_, holder| *holder != node);
        }

        fn free_address(&mut self, node: u64) {
            self.addresses.retain(|_, holder| *holder != node);
        }

        fn check(&self, table: &Table) {
            let records = table.iter().map(|record| *record.identity());
            assert!(records.eq(self.members.values().map(|(identity, _)| *identity)));
            assert_eq!((table.len(), table.names.len()), (self.members.len(), self.names.len()));
            assert_eq!(table.addresses.len(), self.addresses.len());
            for (node, (identity, encoded)) in &self.members {
                let record = table.get(*node).expect("a member");
                assert_eq!((record.identity(), table.meta(record)), (identity, &encoded[..]));
            }
            let node = |record: Option<&Record>| record.map(|record| record.identity().node);
            for (address, holder) in &self.addresses {
                assert_eq!(node(table.at(*address)), Some(*holder));
            }
            for (name, holder) in &self.names {
                assert_eq!(node(table.named(name)), Some(*holder));
            }
        }
    }

    #[test]
    fn members_are_found_by_every_key_whatever_came_and_went() {
        let (mut table, mut model, mut dice) = (Table::new(), Model::default(), Rng::new(1));
        let now = Instant::from_micros(1);
        for round in 0..4000 {
            let node = dice.below(64);
            let address = SocketAddr::from(([10, 0, 0, 1], dice.below(64) as u16));
            let identity = Identity::new(address, round, node);
            match (dice.below(4), model.members.contains_key(&node)) {
                (_, false) => {
                    table.insert(Record::new(now, identity, 0, State::Alive));
                    model.members.insert(node, (identity, Vec::new()));
                    model.addresses.insert(identity.address, node);
                }
                (0, true) => {
                    table.renew(identity);
                    model.free_address(node);
                    model.members.entry(node).and_modify(|known| known.0 = identity);
                    model.addresses.insert(identity.address, node);
                }
                (1 | 2, true) => {
                    let name = alloc::format!("name{}", dice.below(48));
                    let meta = Meta::client(&name, "dc1", node_id(node), "1.8.7:");
                    let encoded = meta.emit().expect("fit metadata");
                    table.describe(node, &encoded, &meta);
                    model.members.entry(node).and_modify(|known| known.1 = encoded);
                    if model.names.get(&name) != Some(&node) {
                        model.free_name(node);
                        table.give_name(node);
                        model.names.insert(name, node);
                    }
                }
                (_, true) => {
                    table.remove(node);
                    model.free_address(node);
                    model.free_name(node);
                    model.members.remove(&node);
                }
            }
            model.check(&table);
        }
        let used: usize = model.members.values().map(|(_, encoded)| encoded.len()).sum();
        assert!(table.metas.len() < used + GARBAGE_MIN + META_BYTES_MAX, "garbage is packed");
    }

    #[test]
    fn a_thousand_members_take_no_more_than_their_share() {
        let (mut table, now) = (Table::new(), Instant::from_micros(1));
        for node in 0..1000_u64 {
            let address = SocketAddr::from(([10, 0, 0, 1], node as u16));
            table.insert(Record::new(now, Identity::new(address, 1, node), 0, State::Alive));
            let meta = Meta::client("a-name-of-20-letters", "dc1", node_id(node), "1.8.7:");
            table.describe(node, &meta.emit().expect("fit metadata"), &meta);
        }
        let lists = [&table.nodes, &table.addresses, &table.names];
        let held = table.records.capacity() * size_of::<Record>()
            + table.metas.capacity()
            + table.keys.capacity() * size_of::<u64>()
            + lists.iter().map(|list| list.capacity() * size_of::<u16>()).sum::<usize>();
        assert!(held <= 1000 * 160, "{held} bytes");
    }
}
