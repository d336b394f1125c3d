//! Teaches foca our datagrams: its codec over [`crate::wire::packet`], our identity as its own.

use bytes::{Buf, BufMut};
use foca::Member;

use super::identity::{Address, Identity};
use crate::wire::packet::{
    Error, HEADER_BYTES_MAX, Header, Message, State, UPDATE_BYTES_MAX, Update,
};

impl foca::Identity for Identity {
    type Addr = Address;

    fn renew(&self) -> Option<Self> {
        self.renewed()
    }

    fn addr(&self) -> Address {
        self.address
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.wins(adversary)
    }
}

/// Writes and reads foca's headers and members in our layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec {
    /// The pool's label, stamped on every header.
    pub(super) pool: u32,
}

impl foca::Codec<Identity> for Codec {
    type Error = Error;

    fn encode_header(
        &mut self,
        header: &foca::Header<Identity>,
        out: impl BufMut,
    ) -> Result<(), Error> {
        let header = Header {
            pool: self.pool,
            source: header.src,
            incarnation: header.src_incarnation,
            target: header.dst,
            message: message_from(&header.message),
        };
        let mut bytes = [0; HEADER_BYTES_MAX];
        let len = header.emit(&mut bytes)?;
        put(&bytes[..len], out)
    }

    fn decode_header(&mut self, mut input: impl Buf) -> Result<foca::Header<Identity>, Error> {
        let (header, len) = Header::parse(input.chunk())?;
        input.advance(len);
        Ok(foca::Header {
            src: header.source,
            src_incarnation: header.incarnation,
            dst: header.target,
            message: message_into(header.message),
        })
    }

    fn encode_member(&mut self, member: &Member<Identity>, out: impl BufMut) -> Result<(), Error> {
        let mut bytes = [0; UPDATE_BYTES_MAX];
        let len = update(member).emit(&mut bytes)?;
        put(&bytes[..len], out)
    }

    fn decode_member(&mut self, mut input: impl Buf) -> Result<Member<Identity>, Error> {
        let (update, len) = Update::parse(input.chunk())?;
        input.advance(len);
        Ok(member(&update))
    }
}

/// Puts the bytes whole or not at all.
fn put(bytes: &[u8], mut out: impl BufMut) -> Result<(), Error> {
    if out.remaining_mut() < bytes.len() {
        return Err(Error::NoRoom);
    }
    out.put_slice(bytes);
    Ok(())
}

/// Turns foca's member into our update.
pub(super) fn update(member: &Member<Identity>) -> Update {
    let state = match member.state() {
        foca::State::Alive => State::Alive,
        foca::State::Suspect => State::Suspect,
        foca::State::Down => State::Down,
    };
    Update { identity: *member.id(), incarnation: member.incarnation(), state }
}

/// Turns our update into foca's member.
pub(super) const fn member(update: &Update) -> Member<Identity> {
    let state = match update.state {
        State::Alive => foca::State::Alive,
        State::Suspect => foca::State::Suspect,
        State::Down => foca::State::Down,
    };
    Member::new(update.identity, update.incarnation, state)
}

const fn message_from(message: &foca::Message<Identity>) -> Message {
    match *message {
        foca::Message::Ping(probe) => Message::Ping(probe),
        foca::Message::Ack(probe) => Message::Ack(probe),
        foca::Message::PingReq { target, probe_number: probe } => {
            Message::PingReq { target, probe }
        }
        foca::Message::IndirectPing { origin, probe_number: probe } => {
            Message::IndirectPing { origin, probe }
        }
        foca::Message::IndirectAck { target, probe_number: probe } => {
            Message::IndirectAck { target, probe }
        }
        foca::Message::ForwardedAck { origin, probe_number: probe } => {
            Message::ForwardedAck { origin, probe }
        }
        foca::Message::Announce => Message::Announce,
        foca::Message::Feed => Message::Feed,
        foca::Message::Gossip => Message::Gossip,
        foca::Message::Broadcast => Message::Broadcast,
        foca::Message::TurnUndead => Message::TurnUndead,
    }
}

const fn message_into(message: Message) -> foca::Message<Identity> {
    match message {
        Message::Ping(probe) => foca::Message::Ping(probe),
        Message::Ack(probe) => foca::Message::Ack(probe),
        Message::PingReq { target, probe } => {
            foca::Message::PingReq { target, probe_number: probe }
        }
        Message::IndirectPing { origin, probe } => {
            foca::Message::IndirectPing { origin, probe_number: probe }
        }
        Message::IndirectAck { target, probe } => {
            foca::Message::IndirectAck { target, probe_number: probe }
        }
        Message::ForwardedAck { origin, probe } => {
            foca::Message::ForwardedAck { origin, probe_number: probe }
        }
        Message::Announce => foca::Message::Announce,
        Message::Feed => foca::Message::Feed,
        Message::Gossip => foca::Message::Gossip,
        Message::Broadcast => foca::Message::Broadcast,
        Message::TurnUndead => foca::Message::TurnUndead,
    }
}
