//! One request in flight: what is said next, its frame, and what the reply means.

use super::{Client, Item, Note, PING_TIME, Phase, SYNC_SECS, Sync, Why};
use crate::time::{Duration, Instant};
use crate::wire::frame::{Channel, HEADER_BYTES, Header, Kind};
use crate::wire::memory::Lent;
use crate::wire::message::{Ask, Refusal, Tell, VERSION, emit, parse};

/// What a frame was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Sync(Sync),
    /// A check that turned after its sync.
    Turn(usize),
    Remove(usize),
    Lookup,
    Ping,
}

/// A frame on its way, and the wait for its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    id: u32,
    step: Step,
    /// What the application is told about; nothing once it lost interest.
    pub(super) item: Option<Item>,
    sent: usize,
    length: usize,
    pub(super) until: Instant,
}

/// A reply without what it carries.
enum Verdict {
    Welcome { version: u8, sync_secs: u16 },
    Done,
    Refused(Refusal),
    Found,
}

impl<const CHECKS: usize, const OUTPUT: usize, const BUFFER: usize>
    Client<'_, CHECKS, OUTPUT, BUFFER>
{
    /// Writes the next bytes for the connection into `out`; answers how many. They count as sent.
    pub fn poll_transmit_stream(&mut self, now: Instant, out: &mut [u8]) -> Option<usize> {
        if !matches!(self.phase, Phase::Linked { .. }) || self.told.is_some() || out.is_empty() {
            return None;
        }
        if self.flight.is_none() {
            self.start(now)?;
        }
        let flight = self.flight.as_mut()?;
        if flight.sent == flight.length {
            return None;
        }
        let (first, room) = match self.greet {
            true => (1, &mut out[1..]),
            false => (0, &mut *out),
        };
        let count = room.len().min(flight.length - flight.sent);
        room[..count].copy_from_slice(&self.buffer[flight.sent..flight.sent + count]);
        flight.sent += count;
        if self.greet {
            self.greet = false;
            out[0] = Channel::Device.emit();
        }
        Some(first + count)
    }

    /// Takes bytes of the connection; answers how many it took. Fewer than given means that an
    /// event waits to be polled first.
    pub fn handle_bytes(&mut self, now: Instant, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && matches!(self.phase, Phase::Linked { .. }) {
            if self.told.is_some() {
                return taken;
            }
            let waiting = self.flight.is_some_and(|flight| flight.sent == flight.length);
            let end = if waiting { self.reply_end() } else { None };
            let Some(end) = end else {
                self.fail(now, Why::Nonsense);
                break;
            };
            let count = (end - self.have).min(bytes.len() - taken);
            self.buffer[self.have..self.have + count].copy_from_slice(&bytes[taken..taken + count]);
            self.have += count;
            taken += count;
            if self.have >= HEADER_BYTES && self.reply_end() == Some(self.have) {
                self.take_reply(now);
            }
        }
        // What a lost server still says is of no interest.
        bytes.len()
    }

    /// Tells where the part of the reply that arrives now will end; nothing if it is no reply.
    fn reply_end(&self) -> Option<usize> {
        if self.have < HEADER_BYTES {
            return Some(HEADER_BYTES);
        }
        let header = self.header()?;
        Some(HEADER_BYTES + usize::try_from(header.length).ok()?)
    }

    fn header(&self) -> Option<Header> {
        let head = self.buffer.first_chunk::<HEADER_BYTES>()?;
        Header::parse(head, u32::from(Self::REPLY_BYTES_MAX)).ok()
    }

    /// Reads the reply in the buffer.
    pub(super) fn reply(&self) -> Option<Tell<Lent<'_>>> {
        parse(self.buffer.get(HEADER_BYTES..self.have)?).ok()
    }

    fn verdict(&self, flight: &Flight) -> Option<Verdict> {
        let header = self.header().filter(|header| header.id == flight.id)?;
        match (header.kind, flight.step) {
            (Kind::Pong, Step::Ping) => Some(Verdict::Done),
            (Kind::Reply, Step::Sync(_) | Step::Turn(_) | Step::Remove(_) | Step::Lookup) => {
                Some(match self.reply()? {
                    Tell::Welcome { version, sync_secs, .. } => {
                        Verdict::Welcome { version, sync_secs }
                    }
                    Tell::Done => Verdict::Done,
                    Tell::Refused { reason, .. } => Verdict::Refused(reason),
                    Tell::Missing
                    | Tell::Value { .. }
                    | Tell::Instances { .. }
                    | Tell::Leader { .. } => Verdict::Found,
                })
            }
            (
                Kind::Request | Kind::Reply | Kind::Cancel | Kind::Ping | Kind::Pong | Kind::Busy,
                _,
            ) => None,
        }
    }

    /// Acts on a whole reply.
    fn take_reply(&mut self, now: Instant) {
        let Some(flight) = self.flight else { return };
        let Some(verdict) = self.verdict(&flight) else {
            return self.fail(now, Why::Nonsense);
        };
        self.heard_at = now;
        match (verdict, flight.step) {
            (Verdict::Refused(reason), step) => return self.refused(now, step, reason),
            (Verdict::Welcome { version: VERSION, sync_secs }, Step::Sync(Sync::Hello)) => {
                self.welcomed(sync_secs);
            }
            (Verdict::Done, Step::Sync(step @ (Sync::Service(_) | Sync::Check(_)))) => {
                self.sync = self.after(step);
            }
            (Verdict::Done, Step::Sync(Sync::Settled)) => self.settled(now),
            (Verdict::Done, Step::Turn(_) | Step::Remove(_) | Step::Ping) => {}
            (Verdict::Done | Verdict::Found, Step::Lookup) => self.looked_up(&flight),
            (Verdict::Welcome { .. } | Verdict::Done | Verdict::Found, _) => {
                return self.fail(now, Why::Nonsense);
            }
        }
        self.flight = None;
        // A reply that waits to be polled stays in the buffer.
        if self.told.is_none() {
            self.have = 0;
        }
    }

    fn welcomed(&mut self, sync_secs: u16) {
        let secs = sync_secs.clamp(*SYNC_SECS.start(), *SYNC_SECS.end());
        self.sync_period = Duration::from_secs(u64::from(secs));
        if !self.registered
            && let Phase::Linked { server } = self.phase
        {
            self.note(Note::Connected(server));
        }
        self.sync = self.after(Sync::Hello);
    }

    fn settled(&mut self, now: Instant) {
        self.failures = 0;
        self.sync = Sync::Done;
        let jitter = self.dice.below(self.sync_period.micros() / 4);
        self.sync_at = now + self.sync_period + Duration::from_micros(jitter);
        if !self.registered {
            self.registered = true;
            self.note(Note::Registered);
        }
    }

    /// Acts on a refusal: an item that is wrong in itself is passed over until the next sync, else
    /// another server may think otherwise.
    fn refused(&mut self, now: Instant, step: Step, reason: Refusal) {
        let Some(flight) = self.flight.take() else { return };
        self.told = flight.item;
        if self.told.is_none() {
            self.have = 0;
        }
        match (step, reason) {
            (Step::Lookup, _) => self.looked_up(&flight),
            (Step::Ping, _) => self.fail(now, Why::Nonsense),
            (
                Step::Sync(step @ (Sync::Service(_) | Sync::Check(_))),
                Refusal::Invalid | Refusal::Denied,
            ) => self.sync = self.after(step),
            (Step::Turn(_) | Step::Remove(_), Refusal::Invalid | Refusal::Denied) => {}
            (Step::Turn(at), _) => {
                self.turned_again(at);
                self.fail(now, Why::Refused);
            }
            (Step::Remove(at), _) => {
                self.unremoved |= 1 << at;
                self.fail(now, Why::Refused);
            }
            (Step::Sync(_), _) => self.fail(now, Why::Refused),
        }
    }

    /// Hands the answer of a look-up on, unless nobody waits for it any more.
    fn looked_up(&mut self, flight: &Flight) {
        if flight.item.is_some() {
            self.lookup_until = None;
        }
        self.told = flight.item;
    }

    fn turned_again(&mut self, at: usize) {
        if let Some(standing) = self.checks.get_mut(at) {
            standing.turned = true;
        }
    }

    /// Tells the part of a sync that comes after another, without what was given up.
    fn after(&self, step: Sync) -> Sync {
        let mut next = step;
        loop {
            next = match next {
                Sync::Hello => Sync::Service(0),
                Sync::Service(at) => Sync::Service(at + 1),
                Sync::Check(at) => Sync::Check(at + 1),
                Sync::Settled | Sync::Done => Sync::Done,
            };
            match next {
                Sync::Service(at) if at >= self.profile.services.len() => {
                    next = Sync::Check(0);
                    if self.checks.is_empty() {
                        return Sync::Settled;
                    }
                    if !self.is_withdrawn(0) {
                        return next;
                    }
                }
                Sync::Service(at) if self.withdrawn & (1 << at) != 0 => {}
                Sync::Check(at) if at >= self.checks.len() => return Sync::Settled,
                Sync::Check(at) if self.is_withdrawn(at) => {}
                Sync::Hello | Sync::Service(_) | Sync::Check(_) | Sync::Settled | Sync::Done => {
                    return next;
                }
            }
        }
    }

    /// Tells whether a check went with its service.
    fn is_withdrawn(&self, check: usize) -> bool {
        let Some(check) = self.profile.checks.get(check) else { return true };
        let services = self.profile.services.iter().enumerate();
        let mut withdrawn = services.filter(|(at, _)| self.withdrawn & (1 << at) != 0);
        withdrawn.any(|(_, service)| service.id == check.service_id)
    }

    /// Chooses what to say now; nothing if there is nothing.
    fn next_step(&self, now: Instant) -> Option<Step> {
        if self.sync == Sync::Hello {
            return Some(Step::Sync(Sync::Hello));
        }
        if self.lookup_until.is_some() {
            return Some(Step::Lookup);
        }
        if self.sync != Sync::Done {
            return Some(Step::Sync(self.sync));
        }
        if self.unremoved != 0 {
            return Some(Step::Remove(self.unremoved.trailing_zeros() as usize));
        }
        let turned = |at: &usize| self.checks[*at].turned && !self.is_withdrawn(*at);
        if let Some(at) = (0..self.checks.len()).find(turned) {
            return Some(Step::Turn(at));
        }
        if self.sync_at <= now {
            return Some(Step::Sync(Sync::Hello));
        }
        (self.heard_at + PING_TIME <= now).then_some(Step::Ping)
    }

    /// Puts the next frame into the buffer.
    fn start(&mut self, now: Instant) -> Option<()> {
        let step = self.next_step(now)?;
        let (head, body) = self.buffer.split_at_mut(HEADER_BYTES);
        let (length, item) = match step {
            Step::Sync(Sync::Hello) => {
                self.sync = Sync::Hello;
                let hello = self.profile.hello(Self::REPLY_BYTES_MAX)?;
                (emit(&hello, body), Item::Node)
            }
            Step::Sync(Sync::Service(at)) => {
                (emit(&self.profile.services.get(at)?.ask()?, body), Item::Service(at))
            }
            Step::Sync(Sync::Check(at)) | Step::Turn(at) => {
                let standing = self.checks.get_mut(at)?;
                standing.turned = false;
                let check = self.profile.checks.get(at)?;
                (emit(&check.ask(standing.status, &standing.output), body), Item::Check(at))
            }
            Step::Sync(Sync::Settled | Sync::Done) => {
                (emit(&Ask::<Lent<'_>>::Settled, body), Item::Node)
            }
            Step::Remove(at) => {
                self.unremoved &= !(1 << at);
                let service = self.profile.services.get(at)?.id;
                (emit(&Ask::<Lent<'_>>::Remove { service, check: "" }, body), Item::Service(at))
            }
            Step::Lookup => {
                body[..self.lookup.len()].copy_from_slice(&self.lookup);
                (Some(self.lookup.len()), Item::Lookup)
            }
            Step::Ping => (Some(0), Item::Node),
        };
        let length = length?;
        let kind = if step == Step::Ping { Kind::Ping } else { Kind::Request };
        self.next_id = self.next_id.wrapping_add(1);
        let id = self.next_id;
        head.copy_from_slice(&Header::new(kind, id, length as u32).emit());
        let until = now + super::ANSWER_TIME;
        let length = HEADER_BYTES + length;
        self.flight = Some(Flight { id, step, item: Some(item), sent: 0, length, until });
        self.have = 0;
        Some(())
    }
}
