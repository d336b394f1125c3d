//! Questions in, answers out: bytes only, with the size limits of each transport. Pure.

use super::answer::{Bound, Data, Sections, Voice};
use super::name::{Wire, Zones};
use super::spell::Speller;
use crate::config::Soa as Timers;
use domain::base::iana::{Class, Opcode, Rcode};
use domain::base::name::ToName;
use domain::base::opt::subnet::ClientSubnet;
use domain::base::wire::Composer;
use domain::base::{Message, MessageBuilder, Rtype, StaticCompressor};
use std::net::IpAddr;

/// Bytes of a UDP answer when the question says nothing else: RFC 1035 §2.3.4.
pub(super) const UDP_BYTES_MIN: usize = 512;
/// Bytes of any UDP payload over IPv4: 65,535 less IP and UDP headers.
pub(super) const UDP_BYTES_MAX: usize = 65_507;
/// Bytes of an answer over TCP: its length is two bytes.
pub(super) const TCP_BYTES_MAX: usize = 65_535;
/// Answers over UDP without EDNS, whatever is configured: as many as fit in 512 bytes.
const UDP_ANSWERS_MAX: usize = 8;
/// Answers over TCP: as many as fit in 64 KiB.
const TCP_ANSWERS_MAX: usize = 4096;
/// The same for SRV, which brings an address along.
const TCP_SRV_MAX: usize = 1024;
/// Bytes of a message's header: RFC 1035 §4.1.1.
const HEADER_BYTES: usize = 12;

/// Bytes of a question after its name: RFC 1035 §4.1.2.
const QUESTION_TAIL_BYTES: usize = 4;
/// Bytes of an OPT record with a subnet: RFC 6891 §6.1.2, RFC 7871 §6.
const OPT_BYTES_MAX: usize = 11 + 8 + 16;

const _: () = assert!(UDP_BYTES_MIN < UDP_BYTES_MAX && UDP_BYTES_MAX < TCP_BYTES_MAX);

/// How a question came, and so how its answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// A question that can be answered.
#[derive(Clone, Debug)]
pub(super) struct Question {
    id: u16,
    recursion_desired: bool,
    checking_disabled: bool,
    /// The name as spelt by the asker, which answers echo.
    pub(super) name: Wire,
    /// The type of records.
    pub(super) rtype: Rtype,
    class: Class,
    edns: Option<Edns>,
    /// Where the asker is, as far as that is known.
    pub(super) asker: Option<IpAddr>,
}

/// What the question says about itself: RFC 6891.
#[derive(Clone, Copy, Debug)]
struct Edns {
    udp_bytes: u16,
    subnet: Option<ClientSubnet>,
}

/// Why a packet is not answered as a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    /// Not even a header, or an answer: no reply, lest two servers keep each other busy.
    Silence,
    /// Refused with this code.
    Code(Rcode),
}

impl Question {
    /// Notes who asks: the network that a resolver named (RFC 7871), or else who sent the packet.
    pub(super) fn come_from(&mut self, from: IpAddr) {
        let subnet = self.edns.as_ref().and_then(|edns| edns.subnet.as_ref());
        let named = subnet.filter(|subnet| subnet.source_prefix_len() > 0);
        self.asker = Some(named.map_or(from, ClientSubnet::addr));
    }

    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// [`Refusal`] for what is no question, damaged, or of a kind that is not served.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, Refusal> {
        let Ok(message) = Message::from_octets(packet) else {
            return Err(Refusal::Silence);
        };
        let (header, counts) = (message.header(), message.header_counts());
        if header.qr() {
            return Err(Refusal::Silence);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(Refusal::Code(Rcode::NOTIMP));
        }
        let malformed = |_| Refusal::Code(Rcode::FORMERR);
        if counts.ancount() > 1 || counts.nscount() > 1 || counts.arcount() > 2 {
            return Err(Refusal::Code(Rcode::FORMERR));
        }
        let question = message.sole_question().map_err(malformed)?;
        for record in message.answer().map_err(malformed)? {
            record.map_err(malformed)?;
        }
        for record in message.additional().map_err(malformed)? {
            record.map_err(malformed)?;
        }
        if !matches!(question.qclass(), Class::IN | Class::ANY) {
            return Err(Refusal::Code(Rcode::REFUSED));
        }
        Ok(Self {
            id: header.id(),
            recursion_desired: header.rd(),
            checking_disabled: header.cd(),
            name: question.qname().to_vec(),
            rtype: question.qtype(),
            class: question.qclass(),
            edns: message.opt().map(|opt| Edns {
                udp_bytes: opt.udp_payload_size(),
                subnet: opt.opt().client_subnet(),
            }),
            asker: None,
        })
    }

    /// Makes the question that a chase asks for itself.
    pub(super) fn internal(name: Wire, rtype: Rtype) -> Self {
        Self {
            id: 0,
            recursion_desired: false,
            checking_disabled: false,
            name,
            rtype,
            class: Class::IN,
            edns: None,
            asker: None,
        }
    }

    /// The same question from an asker who does not.
    pub(super) fn without_edns(mut self) -> Self {
        self.edns = None;
        self
    }

    /// Tells how many bytes an answer may have.
    fn bytes_max(&self, transport: Transport) -> usize {
        match transport {
            Transport::Tcp => TCP_BYTES_MAX,
            Transport::Udp => self.edns.map_or(UDP_BYTES_MIN, |edns| {
                usize::from(edns.udp_bytes).clamp(UDP_BYTES_MIN, UDP_BYTES_MAX)
            }),
        }
    }
}

/// Writes the reply to a packet that is not answered, if there is one: a header, and no more.
pub(super) fn refuse(packet: &[u8], refusal: Refusal) -> Option<Vec<u8>> {
    let (Refusal::Code(rcode), Some(header)) = (refusal, packet.get(..HEADER_BYTES)) else {
        return None;
    };
    let mut reply = header.to_vec();
    reply[2] = 0x80 | header[2] & 0x79; // QR; opcode and RD as asked
    reply[3] = rcode.to_int();
    reply[4..].fill(0);
    Some(reply)
}

/// What every answer needs to know of the settings.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// The domains; answers speak of the first.
    pub(super) zones: Zones,
    /// Timers of the start of authority.
    pub(super) soa: Timers,
    /// Answers about a service over UDP without EDNS.
    pub(super) udp_answers_max: usize,
    /// What becomes of the TC bit when an answer over UDP is shortened.
    pub(super) truncation: Truncation,
    /// Whether names are compressed: RFC 1035 §4.1.4.
    pub(super) compression: Compression,
    /// Whether there is anybody to ask for names of others.
    pub(super) recursion: Recursion,
}

/// What becomes of the TC bit when an answer over UDP is shortened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Truncation {
    /// Never set: clients take what they get.
    Silent,
    /// Set: clients ask again over TCP.
    Flagged,
}

/// Whether names in answers are compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compression {
    /// They are.
    On,
    /// They are not, for clients that cannot read it.
    Off,
}

/// Whether names of others are resolved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Recursion {
    /// By the recursors.
    Available,
    /// Not at all.
    Unavailable,
}

/// Writes the answer, shortened until it fits.
///
/// Without EDNS, at most `udp_answers_max` answers go, and the size is taken uncompressed: whoever
/// passes the answer on may write it so.
pub(super) fn emit(
    question: &Question,
    sections: &Sections<'_>,
    form: &Form,
    transport: Transport,
) -> Vec<u8> {
    let bytes_max = question.bytes_max(transport);
    let narrow = bytes_max == UDP_BYTES_MIN;
    let total = sections.answer.len();
    let answers_max = match (transport, sections.bound) {
        (Transport::Tcp, _) if question.rtype == Rtype::SRV => TCP_SRV_MAX,
        (Transport::Tcp, _) => TCP_ANSWERS_MAX,
        (Transport::Udp, Bound::Answers) if narrow => form.udp_answers_max.min(UDP_ANSWERS_MAX),
        (Transport::Udp, Bound::Answers | Bound::Bytes) => total,
    };
    let wanted = total.min(answers_max);
    let flagged = transport == Transport::Udp && form.truncation == Truncation::Flagged;
    let cut = |answers, extras| Cut { answers, extras, truncated: flagged && answers < total };
    let write = |cut, compression| match compression {
        Compression::On => {
            let target = StaticCompressor::new(Vec::with_capacity(UDP_BYTES_MIN));
            compose(target, question, sections, form, cut).into_target()
        }
        Compression::Off => {
            compose(Vec::with_capacity(UDP_BYTES_MIN), question, sections, form, cut)
        }
    };
    let is_short = || written_out_max(question, sections, form, wanted) <= bytes_max;
    let measured = if narrow { Compression::Off } else { form.compression };
    let fits = |cut| write(cut, measured).len() <= bytes_max;
    let all = cut(wanted, Extras::All);
    let whole = write(all, form.compression);
    if whole.len() <= bytes_max && (measured == form.compression || is_short() || fits(all)) {
        return whole;
    }
    // The largest number of answers that fits with their addresses, at least one.
    let (mut low, mut high) = (1, wanted.max(1));
    while low < high {
        let middle = usize::midpoint(low, high) + 1;
        if fits(cut(middle, Extras::Addresses)) { low = middle } else { high = middle - 1 }
    }
    let some = write(cut(low.min(total), Extras::Addresses), form.compression);
    if some.len() <= bytes_max {
        return some;
    }
    // What cannot go with its additional records goes without them.
    write(cut(low.min(total), Extras::None), form.compression)
}

/// Tells a bound of the bytes of the first answers, and of all that may go with them, with names
/// written out: it is taken much sooner than they are written.
pub(super) fn written_out_max(
    question: &Question,
    sections: &Sections<'_>,
    form: &Form,
    answers: usize,
) -> usize {
    let speller = Speller { asked: &question.name, zones: &form.zones, soa: &form.soa };
    let extras = sections.additional.iter();
    let extras = extras.filter(|extra| extra.of.is_none_or(|of| of < answers));
    let records = sections.answer[..answers].iter().chain(&sections.authority);
    let records = records.chain(extras.map(|extra| &extra.record));
    HEADER_BYTES
        + question.name.len()
        + QUESTION_TAIL_BYTES
        + records.map(|record| speller.bytes_max(record)).sum::<usize>()
        + OPT_BYTES_MAX
}

/// How much of the sections is written.
#[derive(Clone, Copy)]
struct Cut {
    answers: usize,
    extras: Extras,
    truncated: bool,
}

/// Which additional records go along.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extras {
    All,
    /// None of metadata: what does not fit goes without first.
    Addresses,
    None,
}

/// Writes the first answers, the authority, and what belongs to them.
fn compose<T: Composer>(
    target: T,
    question: &Question,
    sections: &Sections<'_>,
    form: &Form,
    cut: Cut,
) -> T {
    let Ok(mut builder) = MessageBuilder::from_target(target) else {
        unreachable!("a vector takes a header");
    };
    let header = builder.header_mut();
    header.set_id(question.id);
    header.set_qr(true);
    header.set_rd(question.recursion_desired);
    header.set_cd(question.checking_disabled);
    header.set_aa(sections.voice == Voice::Zone);
    header.set_ra(form.recursion == Recursion::Available);
    header.set_tc(cut.truncated);
    header.set_rcode(sections.rcode);
    let mut builder = builder.question();
    let asked = (&question.name, question.rtype, question.class);
    builder.push(asked).expect("a vector takes a question");
    let speller = Speller { asked: &question.name, zones: &form.zones, soa: &form.soa };
    let mut builder = builder.answer();
    for record in &sections.answer[..cut.answers] {
        speller.push(&mut builder, record);
    }
    let mut builder = builder.authority();
    for record in &sections.authority {
        speller.push(&mut builder, record);
    }
    let mut builder = builder.additional();
    for extra in &sections.additional {
        let is_wanted = match cut.extras {
            Extras::All => true,
            Extras::Addresses => !matches!(extra.record.data, Data::Meta { .. }),
            Extras::None => false,
        };
        if is_wanted && extra.of.is_none_or(|of| of < cut.answers) {
            speller.push(&mut builder, &extra.record);
        }
    }
    if let Some(edns) = question.edns {
        let pushed = builder.opt(|opt| {
            opt.set_udp_payload_size(edns.udp_bytes);
            match edns.subnet {
                // Answers are the same for every subnet: RFC 7871 §7.2.1.
                Some(subnet) => opt.client_subnet(subnet.source_prefix_len(), 0, subnet.addr()),
                None => Ok(()),
            }
        });
        pushed.expect("a vector takes an OPT record");
    }
    builder.finish()
}
