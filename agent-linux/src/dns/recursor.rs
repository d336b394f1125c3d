//! Questions that others answer: asked of the configured recursors, in their order.

use super::answer::{Chased, ChasedData};
use super::message::{Transport, UDP_BYTES_MAX};
use super::name::Wire;
use agent_core::rand::Rng;
use domain::base::iana::Rcode;
use domain::base::name::ToName;
use domain::base::{Message, MessageBuilder, Rtype};
use domain::rdata::{A, Aaaa, Cname};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Records taken from one chase: a chain of aliases and a handful of addresses.
const CHASED_MAX: usize = 64;

/// The servers asked for names of others.
#[derive(Clone, Debug)]
pub(super) struct Recursors {
    /// In the order in which they are asked.
    pub(super) servers: Vec<SocketAddr>,
    /// Time for each.
    pub(super) time_max: Duration,
}

impl Recursors {
    /// Passes a question on and returns the first good answer: one with records, or the word that
    /// there is no such name. `None` if there is none.
    pub(super) async fn forward(
        &self,
        packet: &[u8],
        transport: Transport,
        rng: &mut Rng,
    ) -> Option<Vec<u8>> {
        for server in &self.servers {
            match self.ask(*server, packet, transport, rng).await {
                Ok(reply) => {
                    let rcode = Message::from_octets(reply.as_slice()).ok()?.header().rcode();
                    if matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
                        return Some(reply);
                    }
                    tracing::debug!(%server, %rcode, "a DNS recursor refused");
                }
                Err(error) => tracing::warn!(%server, %error, "a DNS recursor did not answer"),
            }
        }
        None
    }

    /// Asks for the addresses of a host.
    pub(super) async fn addresses(&self, host: &Wire, rng: &mut Rng) -> Vec<Chased> {
        let Some(packet) = question(host) else {
            return Vec::new();
        };
        let reply = self.forward(&packet, Transport::Udp, rng).await;
        reply.map_or_else(Vec::new, |reply| chased(&reply))
    }

    /// Asks one server, under an id of its own so that nobody else can guess it.
    async fn ask(
        &self,
        server: SocketAddr,
        packet: &[u8],
        transport: Transport,
        rng: &mut Rng,
    ) -> io::Result<Vec<u8>> {
        let mut asked = packet.to_vec();
        let id = rng.next_u64().to_be_bytes();
        asked[..2].copy_from_slice(&id[..2]);
        let exchange = async {
            match transport {
                Transport::Udp => exchange_udp(server, &asked).await,
                Transport::Tcp => exchange_tcp(server, &asked).await,
            }
        };
        let mut reply = timeout(self.time_max, exchange).await??;
        reply[..2].copy_from_slice(&packet[..2]);
        Ok(reply)
    }
}

/// Asks over UDP; replies that do not belong to the question are passed over.
async fn exchange_udp(server: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut room = vec![0; UDP_BYTES_MAX];
    loop {
        let len = socket.recv(&mut room).await?;
        if is_reply(&room[..len], asked) {
            room.truncate(len);
            return Ok(room);
        }
    }
}

/// Asks over TCP: RFC 1035 §4.2.2.
async fn exchange_tcp(server: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let len = u16::try_from(asked.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut stream = TcpStream::connect(server).await?;
    let mut framed = len.to_be_bytes().to_vec();
    framed.extend(asked);
    stream.write_all(&framed).await?;
    let mut reply = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut reply).await?;
    if is_reply(&reply, asked) { Ok(reply) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Tells whether a packet answers the question that was asked.
fn is_reply(packet: &[u8], asked: &[u8]) -> bool {
    let (Ok(reply), Ok(asked)) = (Message::from_octets(packet), Message::from_octets(asked)) else {
        return false;
    };
    let same = match (reply.first_question(), asked.first_question()) {
        (Some(reply), Some(asked)) => {
            reply.qname().name_eq(asked.qname()) && reply.qtype() == asked.qtype()
        }
        (None, _) => reply.header().rcode() != Rcode::NOERROR,
        (Some(_), None) => false,
    };
    reply.header().qr() && reply.header().id() == asked.header().id() && same
}

/// Writes the question for a host's addresses.
fn question(host: &Wire) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((host, Rtype::A)).ok()?;
    Some(builder.finish())
}

/// Reads aliases and addresses out of a reply, up to what is damaged.
fn chased(reply: &[u8]) -> Vec<Chased> {
    let Ok(message) = Message::from_octets(reply) else {
        return Vec::new();
    };
    let Ok(answer) = message.answer() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for record in answer.take(CHASED_MAX).map_while(Result::ok) {
        let data = match record.rtype() {
            Rtype::A => record
                .to_record::<A>()
                .ok()
                .flatten()
                .map(|record| ChasedData::Ip(IpAddr::V4(record.data().addr()))),
            Rtype::AAAA => record
                .to_record::<Aaaa>()
                .ok()
                .flatten()
                .map(|record| ChasedData::Ip(IpAddr::V6(record.data().addr()))),
            Rtype::CNAME => record
                .to_record::<Cname<_>>()
                .ok()
                .flatten()
                .map(|record| ChasedData::Alias(record.data().cname().to_vec())),
            _ => None,
        };
        if let Some(data) = data {
            let (owner, ttl) = (record.owner().to_vec(), record.ttl().as_secs());
            found.push(Chased { owner, ttl, data });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reply_must_match_id_and_question() {
        let asked = question(&"a.example".parse().unwrap()).unwrap();
        let other = question(&"b.example".parse().unwrap()).unwrap();
        let mut reply = asked.clone();
        assert!(!is_reply(&reply, &asked), "a question is no reply");
        reply[2] |= 0x80;
        assert!(is_reply(&reply, &asked));
        assert!(!is_reply(&reply, &other));
        reply[0] ^= 1;
        assert!(!is_reply(&reply, &asked));
    }

    proptest! {
        #[test]
        fn no_bytes_from_a_recursor_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let asked = question(&"a.example".parse().unwrap()).unwrap();
            let _either = is_reply(&bytes, &asked);
            let _any = chased(&bytes);
        }
    }
}
