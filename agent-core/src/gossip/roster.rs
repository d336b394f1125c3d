//! Our own table of members: what is known of each, who holds which address and which name.
//!
//! It answers from an index what foca would answer by scanning, so that updates that say nothing
//! new never reach foca; and it knows what foca does not: metadata, departures, and since when.
//! The table may lag behind foca, never run ahead of it.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::identity::{Address, Identity};
use super::meta::Meta;
use super::news::{Departure, Stamp};
use super::pool::MemberView;
use super::{Change, Event, Status};
use crate::time::Instant;
use crate::wire::packet::{State, Update};
pub(super) use table::Record;
use table::Table;

mod table;

/// Most members besides ourselves; at the bound unknown members are refused and an event says so.
///
/// Any peer can invent members, so the table must end: about 3 MB with metadata of usual size.
pub const MEMBERS_MAX: usize = 16_384;

/// What an update was worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// It says nothing new.
    Known,
    /// It was applied; foca must hear it too.
    News,
    /// It was applied; foca must hear it, and that the identity at the old address is down.
    Moved(Identity),
    /// The table is full.
    Full,
}

/// Tells whether a claim of one generation beats what is known (SWIM, section 4.2).
pub(super) fn beats(new: (State, u16), known: (State, u16)) -> bool {
    match (known.0, new.0) {
        (State::Down, _) => false,
        (_, State::Down) => true,
        (State::Alive, State::Suspect) => new.1 >= known.1,
        (State::Alive | State::Suspect, State::Alive) | (State::Suspect, State::Suspect) => {
            new.1 > known.1
        }
    }
}

/// The table.
pub(super) struct Roster {
    /// Every member besides ourselves.
    pub(super) records: Table,
    local_node: u64,
    local_name: String,
    shadows: usize,
    /// Live members whose metadata is not known.
    pub(super) unknown: usize,
    /// Live members that are leaves.
    pub(super) leaves: usize,
    /// What the application is to be told.
    pub(super) events: VecDeque<Event>,
    /// Identities that foca must forget.
    pub(super) forgotten: Vec<Identity>,
}

impl Roster {
    /// Starts with nobody but ourselves.
    pub(super) const fn new(local_node: u64, local_name: String) -> Self {
        Self {
            records: Table::new(),
            local_node,
            local_name,
            shadows: 0,
            unknown: 0,
            leaves: 0,
            events: VecDeque::new(),
            forgotten: Vec::new(),
        }
    }

    /// Applies a claim about a member other than ourselves.
    pub(super) fn admit(&mut self, now: Instant, update: &Update) -> Verdict {
        let identity = update.identity;
        let Some(record) = self.records.get_mut(identity.node) else {
            return self.admit_unknown(now, update);
        };
        let known = *record.identity();
        if known == identity {
            let claim = (update.state, update.incarnation);
            if !beats(claim, (record.state, record.incarnation)) {
                return Verdict::Known;
            }
            record.incarnation = update.incarnation;
            self.turn(now, identity.node, update.state);
            return Verdict::News;
        }
        if !identity.wins(&known) || !self.may_take_address(now, &identity) {
            return Verdict::Known;
        }
        let moved = known.address != identity.address;
        self.records.renew(identity);
        if let Some(record) = self.records.get_mut(identity.node) {
            record.incarnation = update.incarnation;
        }
        self.turn(now, identity.node, update.state);
        if moved {
            self.tell_updated(identity.node);
            Verdict::Moved(known)
        } else {
            Verdict::News
        }
    }

    fn admit_unknown(&mut self, now: Instant, update: &Update) -> Verdict {
        let identity = update.identity;
        if update.state == State::Down {
            return Verdict::Known;
        }
        if self.records.len() >= MEMBERS_MAX {
            return Verdict::Full;
        }
        if !self.may_take_address(now, &identity) {
            return Verdict::Known;
        }
        self.unknown += 1;
        self.records.insert(Record::new(now, identity, update.incarnation, update.state));
        Verdict::News
    }

    /// Tells whether an identity is the youngest to claim its address; whoever held it before is
    /// down then.
    fn may_take_address(&mut self, now: Instant, identity: &Identity) -> bool {
        let holder = self.records.at(identity.address).map(|record| *record.identity());
        if let Some(holder) = holder.filter(|holder| holder.node != identity.node) {
            if holder.wins(identity) {
                return false;
            }
            self.turn(now, holder.node, State::Down);
        }
        true
    }

    /// Notes a state that foca came to by itself; nothing if the identity is no longer current.
    pub(super) fn note(&mut self, now: Instant, identity: &Identity, state: State) {
        if self.records.get(identity.node).is_some_and(|record| record.identity() == identity) {
            self.turn(now, identity.node, state);
        }
    }

    /// Tells whether a suspicion is of a member's present life, and not refuted yet.
    pub(super) fn accused(&self, identity: &Identity, incarnation: u16) -> bool {
        self.records.get(identity.node).is_some_and(|record| {
            record.identity() == identity && record.live() && record.incarnation == incarnation
        })
    }

    fn turn(&mut self, now: Instant, node: u64, state: State) {
        let Some(record) = self.records.get_mut(node) else { return };
        if record.live() != (state != State::Down) {
            record.mark(now);
            if !record.described() {
                match state {
                    State::Down => self.unknown -= 1,
                    State::Alive | State::Suspect => self.unknown += 1,
                }
            } else if record.leaf() {
                match state {
                    State::Down => self.leaves -= 1,
                    State::Alive | State::Suspect => self.leaves += 1,
                }
            }
        }
        record.state = state;
        self.show(node);
    }

    /// Applies a departure; true if it was news.
    pub(super) fn depart(&mut self, now: Instant, node: u64, departure: Departure) -> bool {
        let Some(record) = self.records.get_mut(node) else { return false };
        if record.departure >= Some(departure) {
            return false;
        }
        record.departure = Some(departure);
        if !record.live() {
            record.mark(now);
        }
        self.show(node);
        true
    }

    /// Applies metadata that was checked, encoded and parsed; true if it was news.
    pub(super) fn describe(
        &mut self,
        node: u64,
        stamp: Stamp,
        encoded: &[u8],
        meta: &Meta,
    ) -> bool {
        let Some(record) = self.records.get(node) else { return false };
        if record.stamp >= stamp {
            return false;
        }
        if record.live() {
            self.leaves += usize::from(meta.leaf);
            self.leaves -= usize::from(record.leaf());
            self.unknown -= usize::from(!record.described());
        }
        let changed = record.shown.is_some();
        let old = self.records.name(record);
        let old = (record.described() && old != meta.name).then(|| String::from(old));
        self.records.describe(node, encoded, meta);
        if let Some(record) = self.records.get_mut(node) {
            record.stamp = stamp;
        }
        if let Some(old) = old {
            self.reclaim(&old);
        }
        self.show(node);
        if changed {
            self.tell_updated(node);
        }
        true
    }

    /// Renames ourselves in the table of names.
    pub(super) fn rename_local(&mut self, name: String) {
        self.local_name = name;
    }

    /// Settles who holds the member's name, then tells the application what changed in its status.
    fn show(&mut self, node: u64) {
        let Some(record) = self.records.get(node) else { return };
        if record.described() {
            let name = String::from(self.records.name(record));
            self.claim(node, &name);
            if self.shadows > 0 {
                self.reclaim(&name);
            }
        }
        self.publish(node);
    }

    fn publish(&mut self, node: u64) {
        let Some(record) = self.records.get_mut(node) else { return };
        let visible = record.visible();
        let change = match (record.shown, visible) {
            (was, is) if was == is => return,
            (_, Some(Status::Alive)) => Change::Joined,
            (_, Some(Status::Leaving)) => Change::Leaving,
            (_, Some(Status::Left)) => Change::Left,
            (_, Some(Status::Failed)) => Change::Failed,
            (_, None) => Change::Reaped,
        };
        record.shown = visible;
        self.tell(node, change);
    }

    /// Tells that a member looks different, if it is shown.
    fn tell_updated(&mut self, node: u64) {
        if self.records.get(node).is_some_and(|record| record.shown.is_some()) {
            self.tell(node, Change::Updated);
        }
    }

    fn tell(&mut self, node: u64, change: Change) {
        let Some(record) = self.records.get(node) else { return };
        let Some(role) = record.role() else { return };
        let (name, address) =
            (self.records.name(record).into(), record.identity().address.socket());
        self.events.push_back(Event::Member { name, address, role, change });
    }

    /// Gives a name to the node that has the better right to it.
    fn claim(&mut self, node: u64, name: &str) {
        let holder = if name == self.local_name {
            Some(self.local_node)
        } else {
            self.records.named(name).map(|record| record.identity().node)
        };
        match holder {
            Some(holder) if holder == node => self.shadow(node, None),
            Some(holder) if !self.outranks(node, holder) => self.shadow(node, Some(holder)),
            Some(holder) => {
                self.records.give_name(node);
                self.shadow(node, None);
                if self.records.get(holder).is_some_and(Record::live) {
                    self.shadow(holder, Some(node));
                } else {
                    self.forget(holder);
                }
            }
            None => {
                self.records.give_name(node);
                self.shadow(node, None);
            }
        }
    }

    /// A live node outranks a dead one; of two live ones the elder, of two dead ones the younger.
    fn outranks(&self, node: u64, holder: u64) -> bool {
        let Some(new) = self.records.get(node) else { return false };
        if holder == self.local_node {
            return false;
        }
        let Some(old) = self.records.get(holder) else { return true };
        match (new.live(), old.live()) {
            (true, false) => true,
            (false, true) => false,
            (true, true) => old.identity().wins(new.identity()),
            (false, false) => new.identity().wins(old.identity()),
        }
    }

    /// Hides a member whose name `holder` has, or shows it again.
    fn shadow(&mut self, node: u64, holder: Option<u64>) {
        let Some(record) = self.records.get_mut(node) else { return };
        let shadowed = holder.is_some();
        if record.shadowed == shadowed {
            return;
        }
        record.shadowed = shadowed;
        let claimant = record.identity().address.socket();
        if let Some(holder) = holder {
            self.shadows += 1;
            let name = self.records.get(node).map(|record| self.records.name(record).into());
            let name = name.unwrap_or_default();
            let holder = self.records.get(holder).map(|record| record.identity().address.socket());
            self.events.push_back(Event::Conflict { name, holder, claimant });
        } else {
            self.shadows -= 1;
        }
        self.publish(node);
    }

    /// Lets every hidden claimant of a name claim it again.
    fn reclaim(&mut self, name: &str) {
        let hidden = |record: &&Record| record.shadowed && self.records.name(record) == name;
        let hidden = self.records.iter().filter(hidden);
        let claimants: Vec<u64> = hidden.map(|record| record.identity().node).collect();
        for node in claimants {
            self.claim(node, name);
        }
    }

    /// Erases a member, and tells the application if it was shown.
    pub(super) fn forget(&mut self, node: u64) {
        let Some(record) = self.records.get_mut(node) else { return };
        if record.shown.take().is_some() {
            self.tell(node, Change::Reaped);
        }
        let Some(record) = self.records.get(node) else { return };
        self.shadows -= usize::from(record.shadowed);
        if record.live() {
            self.unknown -= usize::from(!record.described());
            self.leaves -= usize::from(record.leaf());
        }
        self.forgotten.push(*record.identity());
        let name = record.described().then(|| String::from(self.records.name(record)));
        self.records.remove(node);
        if let Some(name) = name.filter(|_| self.shadows > 0) {
            self.reclaim(&name);
        }
    }

    /// Tells whether a member is known to be a leaf.
    pub(super) fn is_leaf(&self, node: u64) -> bool {
        self.records.get(node).is_some_and(Record::leaf)
    }

    /// Tells whether some member holds an address.
    pub(super) fn holds(&self, address: Address) -> bool {
        self.records.at(address).is_some()
    }

    /// Finds the member shown under a name.
    pub(super) fn named(&self, name: &str) -> Option<&Record> {
        self.records.named(name).filter(|record| record.shown.is_some())
    }

    /// Finds the live member, other than `node`, that holds a name.
    pub(super) fn live_holder(&self, name: &str, node: u64) -> Option<&Record> {
        self.records.named(name).filter(|record| record.identity().node != node && record.live())
    }

    /// Walks the members that are shown.
    pub(super) fn shown(&self) -> impl Iterator<Item = MemberView<'_>> + Clone {
        self.records.iter().filter_map(|record| {
            Some(MemberView {
                identity: record.identity(),
                status: record.shown?,
                name: self.records.name(record),
                role: record.role()?,
                encoded: self.records.meta(record),
            })
        })
    }
}
