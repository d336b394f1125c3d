//! Push/pull: digests compared, entries merged. The driver owns the streams and their time limits.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Phase, Pool};
use crate::gossip::codec;
use crate::gossip::event::EVENTS_MAX;
use crate::gossip::identity::Identity;
use crate::gossip::news::{Departure, News};
use crate::gossip::roster::{Record, Verdict, beats};
use crate::gossip::summary::{Buckets, Summary};
use crate::gossip::sync::{
    Digest, ENTRIES_MAX, Entry, Error, Frame, Hello, Known, Past, Purpose, Reply, Rest, Scope,
    Step, parse,
};
use crate::gossip::{Event, Meta, Refusal};
use crate::time::Instant;
use crate::wire::packet::{State, Update};

/// Up to this many new updates of one exchange are gossiped on; more is bulk, which others get by
/// their own exchanges.
const SPREAD_MAX: usize = 16;

/// Up to this many members are told in a digest; a summary is two or three frames more.
const DIGESTS_MAX: usize = 64;

impl Pool {
    /// Opens an exchange: the frame to send first.
    pub fn sync_hello(&mut self, purpose: Purpose) -> Vec<u8> {
        let much = self.roster.records.len() > DIGESTS_MAX;
        self.hello(purpose, if much { Known::Summary(self.summary()) } else { self.all() })
    }

    fn hello(&self, purpose: Purpose, known: Known) -> Vec<u8> {
        let (scope, datacenter) = (Scope::from(self.config.kind), self.local.meta.dc.clone());
        let (sender, heard) = (self.own_entry(), self.events.heard());
        Frame::Hello.emit(&Hello { scope, datacenter, purpose, sender, known, heard })
    }

    fn all(&self) -> Known {
        Known::All(self.roster.records.iter().map(digest).collect())
    }

    /// Walks what we know of everybody, ourselves included.
    fn digests(&self) -> impl Iterator<Item = Digest> {
        let own = Digest {
            node: self.foca.identity().node,
            generation: self.foca.identity().generation,
            incarnation: self.effects.incarnation,
            state: State::Alive,
            departure: self.local.departure,
            stamp: self.local.stamp,
        };
        self.roster.records.iter().map(digest).chain(core::iter::once(own))
    }

    fn summary(&self) -> Summary {
        Summary::new(self.roster.records.len() + 1, self.digests())
    }

    /// Answers a hello: the frame to send back, and the frame to expect then. Only the first hello
    /// of an exchange is answered by expecting another.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`]; the stream is to be closed.
    pub fn handle_sync_hello(
        &mut self,
        now: Instant,
        from: SocketAddr,
        body: &[u8],
    ) -> Result<(Vec<u8>, Frame), Error> {
        self.effects.now = now;
        let hello: Hello = parse(body)?;
        if !hello.known.sound() || hello.heard.keys.len() > EVENTS_MAX {
            return Err(Error::Malformed);
        }
        if let Err(why) = self.judge(&hello) {
            self.refuse(from, Refusal::Member(why.clone()));
            return Ok((Frame::Reply.emit(&Reply::Refused(why)), Frame::Rest));
        }
        let peer = hello.sender.identity;
        let mut wants = Vec::new();
        let mut entries = Vec::new();
        if peer.node != self.foca.identity().node {
            self.merge(now, alloc::vec![hello.sender]);
            let (part, theirs) = match hello.known {
                Known::All(digests) => (None, digests),
                Known::Part(buckets, digests) => (Some(buckets), digests),
                Known::Summary(summary) => {
                    let buckets = summary.differing(self.digests());
                    if !buckets.is_empty() {
                        return Ok((Frame::Reply.emit(&Reply::Differs(buckets)), Frame::Hello));
                    }
                    (Some(buckets), Vec::new())
                }
            };
            let theirs: BTreeMap<u64, Digest> =
                theirs.into_iter().map(|item| (item.node, item)).collect();
            let own = self.foca.identity().node;
            if let Some(item) = theirs.get(&own) {
                self.hear_digest(item);
            }
            self.settle(now);
            (wants, entries) = self.compare(part.as_ref(), &theirs, peer);
        }
        let more = entries.len() > ENTRIES_MAX || wants.len() > ENTRIES_MAX;
        entries.truncate(ENTRIES_MAX);
        wants.truncate(ENTRIES_MAX);
        let past = match hello.purpose {
            Purpose::Join => {
                self.events.catch_up(hello.heard.clock);
                Past::Over(self.events.clock())
            }
            Purpose::Repair | Purpose::Return => {
                let (events, wants) = self.events.compare(&hello.heard);
                Past::Open { clock: self.events.clock(), events, wants }
            }
        };
        let sender = self.own_entry();
        let reply = Reply::Accepted { sender, entries, wants, more, past };
        Ok((Frame::Reply.emit(&reply), Frame::Rest))
    }

    /// Takes the answer to our hello: what to do next.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with the other side's words, or [`Error::Malformed`].
    pub fn handle_sync_reply(
        &mut self,
        now: Instant,
        from: SocketAddr,
        body: &[u8],
    ) -> Result<Step, Error> {
        self.effects.now = now;
        let (sender, entries, wants, more, past) = match parse(body)? {
            Reply::Refused(why) => return Err(Error::Refused(why)),
            Reply::Differs(buckets) if buckets.sound() => {
                let part = self.digests().filter(|item| buckets.hold(item.node)).collect();
                let known = Known::Part(buckets, part);
                return Ok(Step::Hello(self.hello(Purpose::Repair, known)));
            }
            Reply::Differs(_) => return Err(Error::Malformed),
            Reply::Accepted { sender, entries, wants, more, past } => {
                (sender, entries, wants, more, past)
            }
        };
        if entries.len() > ENTRIES_MAX || wants.len() > ENTRIES_MAX {
            return Err(Error::Malformed);
        }
        let peer = sender.identity;
        let known_before = self.stats.renewals;
        let mut all = alloc::vec![sender];
        all.extend(entries);
        self.merge(now, all);
        if self.stats.renewals != known_before {
            // They held us to be down; the quickest way back is to say so ourselves.
            let announced = self.foca.announce(peer, &mut self.effects);
            self.count(announced);
        }
        if more {
            self.roster.events.push_back(Event::SyncDue { peer: from });
        }
        let wanted = wants
            .iter()
            .filter_map(|node| self.roster.records.get(*node))
            .map(|record| self.entry(record));
        let entries = wanted.collect();
        let mut events = Vec::new();
        match past {
            Past::Over(clock) => self.events.skip(clock),
            Past::Open { wants, .. } if wants.len() > EVENTS_MAX => return Err(Error::Malformed),
            Past::Open { clock, events: lacking, wants } => {
                self.merge_events(&lacking, clock)?;
                events = self.events.wanted(&wants);
            }
        }
        let rest = Rest { entries, clock: self.events.clock(), events };
        self.settle(now);
        Ok(Step::Rest(Frame::Rest.emit(&rest)))
    }

    /// Takes the last frame of an exchange that the other side opened.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`].
    pub fn handle_sync_rest(&mut self, now: Instant, body: &[u8]) -> Result<(), Error> {
        self.effects.now = now;
        let rest: Rest = parse(body)?;
        if rest.entries.len() > ENTRIES_MAX {
            return Err(Error::Malformed);
        }
        let merged = self.merge_events(&rest.events, rest.clock);
        self.merge(now, rest.entries);
        merged
    }

    /// Says why a member may not come in, in Consul's words where it has them.
    fn judge(&self, hello: &Hello) -> Result<(), String> {
        let meta = Meta::parse(&hello.sender.meta).map_err(|error| alloc::format!("{error}"))?;
        let name = &meta.name;
        if hello.scope != Scope::from(self.config.kind) {
            return Err(alloc::format!("Member '{name}' is part of another gossip pool"));
        }
        if !self.same_pool(&meta) || self.config.label(&hello.datacenter) != self.label {
            let dc = &hello.datacenter;
            return Err(alloc::format!("Member '{name}' part of wrong datacenter '{dc}'"));
        }
        if self.local.phase != Phase::Active {
            return Err("Agent is leaving".into());
        }
        if meta.node() != hello.sender.identity.node {
            return Err(alloc::format!("Member '{name}' has a node ID that is not its own"));
        }
        match hello.purpose {
            Purpose::Join | Purpose::Return => self.judge_join(&hello.sender, &meta)?,
            Purpose::Repair => {}
        }
        Ok(())
    }

    fn judge_join(&self, sender: &Entry, meta: &Meta) -> Result<(), String> {
        let (name, identity) = (&meta.name, &sender.identity);
        let own = self.foca.identity();
        let same_node = identity.node == own.node;
        if same_node && identity.address != own.address {
            return Err(alloc::format!(
                "Member '{name}' has conflicting node ID '{}' with this agent's ID",
                uuid(meta.node_id)
            ));
        }
        let holder = if *name == self.local.meta.name && !same_node {
            Some(own)
        } else {
            self.roster.live_holder(name, identity.node).map(Record::identity)
        };
        if let Some(holder) = holder.filter(|holder| holder.address != identity.address) {
            return Err(alloc::format!(
                "Node name '{name}' is in use by the member at {:?}",
                holder.address
            ));
        }
        let twin = self.roster.records.get(identity.node).filter(|record| record.live());
        let twin = twin.filter(|record| record.described());
        match twin.map(|record| self.roster.records.name(record)) {
            Some(other) if other != name => Err(alloc::format!(
                "Member '{name}' has conflicting node ID '{}' with member '{other}'",
                uuid(meta.node_id)
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// Finds what the other side has newer, and what we have newer.
    ///
    /// With a part, what is outside of it is equal, or left to the next exchange.
    fn compare(
        &self,
        part: Option<&Buckets>,
        theirs: &BTreeMap<u64, Digest>,
        peer: Identity,
    ) -> (Vec<u64>, Vec<Entry>) {
        let own = self.foca.identity().node;
        let mut wants = Vec::new();
        for item in theirs.values().filter(|item| item.node != own && item.node != peer.node) {
            match self.roster.records.get(item.node) {
                None if item.state == State::Down => {}
                None => wants.push(item.node),
                Some(record) if newer(item, &digest(record)) => wants.push(item.node),
                Some(_) => {}
            }
        }
        let inside =
            |record: &&Record| part.is_none_or(|buckets| buckets.hold(record.identity().node));
        let ours = self.roster.records.iter().filter(inside).filter(|record| {
            let item = digest(record);
            match theirs.get(&item.node) {
                // They are to hear what we hold of them, if it is not that they are alive.
                None if item.node == peer.node => {
                    let alive = item.state == State::Alive && *record.identity() == peer;
                    !alive || item.departure.is_some()
                }
                None => item.state != State::Down,
                Some(known) => newer(&item, known),
            }
        });
        (wants, ours.map(|record| self.entry(record)).collect())
    }

    fn entry(&self, record: &Record) -> Entry {
        Entry {
            identity: *record.identity(),
            incarnation: record.incarnation,
            state: record.state,
            departure: record.departure,
            stamp: record.stamp,
            meta: self.roster.records.meta(record).to_vec(),
        }
    }

    fn own_entry(&self) -> Entry {
        Entry {
            identity: *self.foca.identity(),
            incarnation: self.effects.incarnation,
            state: State::Alive,
            departure: self.local.departure,
            stamp: self.local.stamp,
            meta: self.local.encoded.clone(),
        }
    }

    /// Hears what a digest says of us.
    fn hear_digest(&mut self, item: &Digest) {
        let own = self.foca.identity().generation;
        let down = item.state == State::Down && item.generation >= own;
        let departed = item.departure.filter(|gone| gone.generation >= own);
        if down || departed.is_some() {
            let past = departed.map_or(0, |gone| gone.generation);
            self.renew_past(past.max(item.generation));
        }
        self.outbid(item.stamp);
    }

    /// Applies entries: ours to hear, theirs to admit.
    fn merge(&mut self, now: Instant, entries: Vec<Entry>) {
        let mut updates = Vec::new();
        let mut news = Vec::new();
        let mut doubts = 0;
        for entry in entries {
            let node = entry.identity.node;
            let mut update = Update {
                identity: entry.identity,
                incarnation: entry.incarnation,
                state: entry.state,
            };
            if self.concerns_us(&entry.identity) {
                self.hear_entry(&entry, &update, &mut updates);
                continue;
            }
            if !self.believe(&entry, &mut update, &mut doubts) {
                continue;
            }
            match self.admit(now, &update) {
                Verdict::Known => {}
                Verdict::News => updates.push(update),
                Verdict::Moved(old) => {
                    self.drop_identity(old);
                    updates.push(update);
                }
                Verdict::Full => {
                    self.refuse(entry.identity.address.socket(), Refusal::Full);
                    continue;
                }
            }
            let departed = entry.departure;
            if let Some(gone) = departed.filter(|gone| self.roster.depart(now, node, *gone)) {
                news.push((node, Some(gone)));
            }
            if self.learn_meta(node, entry.stamp, &entry.meta) {
                news.push((node, None));
            }
        }
        let much = updates.len().max(news.len()) > SPREAD_MAX;
        let bulk = much || self.backlog_full(updates.len());
        for update in updates.iter().filter(|update| update.state == State::Suspect) {
            self.effects.suspect(update.identity, update.incarnation);
        }
        let members = updates.iter().map(codec::member);
        let applied = self.foca.apply_many(members, !bulk, &mut self.effects);
        self.count(applied);
        if bulk {
            self.catch_up();
        } else {
            self.spread_news(&news);
        }
        self.settle(now);
    }

    /// Weighs a `Down` from a stream: one bad view must not fell a healthy pool.
    ///
    /// A member that we hold to be alive becomes suspect, so that it may refute; if there are many
    /// of them, a partition is healing, and our own probes decide. False passes the entry over.
    fn believe(&self, entry: &Entry, update: &mut Update, doubts: &mut usize) -> bool {
        let left = entry.departure.is_some_and(|d| d.generation >= entry.identity.generation);
        if entry.state != State::Down || left {
            return true;
        }
        let known = self.roster.records.get(entry.identity.node);
        if let Some(record) = known.filter(|record| record.live()) {
            *doubts += 1;
            update.state = State::Suspect;
            update.incarnation = update.incarnation.max(record.incarnation);
            return *doubts <= SPREAD_MAX;
        }
        true
    }

    fn hear_entry(&mut self, entry: &Entry, update: &Update, updates: &mut Vec<Update>) {
        let own = *self.foca.identity();
        if self.hear_of_ourselves(update) {
            updates.push(*update);
        }
        if entry.identity.node == own.node {
            let departed = entry.departure.filter(|d| d.generation >= own.generation);
            if let Some(Departure { generation, .. }) = departed {
                self.renew_past(generation);
            }
            self.outbid(entry.stamp);
        }
    }

    fn spread_news(&mut self, news: &[(u64, Option<Departure>)]) {
        for (node, departure) in news {
            let node = *node;
            if let Some(departure) = *departure {
                self.spread(&News::Departure { node, departure });
            } else if let Some(record) = self.roster.records.get(node) {
                let (stamp, body) = (record.stamp, self.roster.records.meta(record).to_vec());
                self.spread(&News::Meta { node, stamp, body: &body });
            }
        }
    }
}

const fn digest(record: &Record) -> Digest {
    Digest {
        node: record.identity().node,
        generation: record.identity().generation,
        incarnation: record.incarnation,
        state: record.state,
        departure: record.departure,
        stamp: record.stamp,
    }
}

/// Tells whether `item` says anything that `known` does not.
fn newer(item: &Digest, known: &Digest) -> bool {
    let claim = (item.state, item.incarnation);
    let younger = item.generation > known.generation;
    let fresher =
        item.generation == known.generation && beats(claim, (known.state, known.incarnation));
    younger || fresher || item.departure > known.departure || item.stamp > known.stamp
}

/// Writes a node ID in its usual form.
fn uuid(id: [u8; 16]) -> String {
    let hex: String = id.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    alloc::format!("{a}-{b}-{c}-{d}-{e}")
}
