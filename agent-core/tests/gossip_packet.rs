//! The gossip datagram: its bytes, its round trip, and whatever else may arrive.

use std::net::SocketAddr;

use agent_core::gossip::identity::Identity;
use agent_core::wire::packet::{
    Emitter, Error, HEADER_BYTES_MAX, Header, Message, PACKET_BYTES_MAX, Packet, State, Update,
};
use proptest::prelude::*;

fn v4(last: u8) -> Identity {
    Identity::new(SocketAddr::from(([10, 0, 0, last], 8301)), 0x0102_0304, 0x1112_1314_1516_1718)
}

fn header(message: Message) -> Header {
    Header { pool: 0xaabb_ccdd, source: v4(1), incarnation: 5, target: v4(2), message }
}

#[test]
fn a_gossip_datagram_has_these_bytes() {
    let mut bytes = [0; PACKET_BYTES_MAX];
    let mut emitter = Emitter::new(&mut bytes, &header(Message::Gossip)).unwrap();
    let update = Update { identity: v4(3), incarnation: 9, state: State::Suspect };
    emitter.push_update(&update).unwrap();
    emitter.push_broadcast(b"news").unwrap();
    assert_eq!(emitter.push_update(&update), Err(Error::Malformed));
    let len = emitter.finish();
    let golden = [
        &[1, 8, 0xaa, 0xbb, 0xcc, 0xdd][..],
        &[4, 10, 0, 0, 1, 0x20, 0x6d, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[0, 5],
        &[4, 10, 0, 0, 2, 0x20, 0x6d, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[0, 1],
        &[4, 10, 0, 0, 3, 0x20, 0x6d, 1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[0, 9, 1],
        &[0, 4, b'n', b'e', b'w', b's'],
    ]
    .concat();
    assert_eq!(bytes[..len], golden);
}

#[test]
fn every_message_has_its_kind_byte_and_size() {
    let third = v4(9);
    let probe = 7;
    let sizes = [
        (Message::Ping(probe), 0, 49),
        (Message::Ack(probe), 1, 49),
        (Message::PingReq { target: third, probe }, 2, 68),
        (Message::IndirectPing { origin: third, probe }, 3, 68),
        (Message::IndirectAck { target: third, probe }, 4, 68),
        (Message::ForwardedAck { origin: third, probe }, 5, 68),
        (Message::Announce, 6, 46),
        (Message::Feed, 7, 48),
        (Message::Gossip, 8, 48),
        (Message::Broadcast, 9, 46),
        (Message::TurnUndead, 10, 46),
    ];
    for (message, kind, size) in sizes {
        let mut bytes = [0; PACKET_BYTES_MAX];
        let len = Emitter::new(&mut bytes, &header(message)).unwrap().finish();
        assert_eq!((bytes[1], len), (kind, size), "{message:?}");
        assert_eq!(Packet::parse(&bytes[..len]).unwrap().header, header(message));
        assert!(Packet::parse(&bytes[..len - 1]).is_err());
    }
}

#[test]
fn what_is_not_ours_is_named() {
    let mut bytes = [0; PACKET_BYTES_MAX];
    let len = Emitter::new(&mut bytes, &header(Message::TurnUndead)).unwrap().finish();
    let parse = |bytes: &[u8]| Packet::parse(bytes).err();
    assert_eq!(parse(&[]), Some(Error::Truncated));
    assert_eq!(parse(&[2]), Some(Error::Version(2)));
    assert_eq!(parse(&[1; PACKET_BYTES_MAX + 1]), Some(Error::TooBig));
    assert_eq!(parse(&bytes[..len + 1]), Some(Error::Malformed), "TurnUndead carries nothing");
    bytes[1] = 11;
    assert_eq!(parse(&bytes[..len]), Some(Error::Malformed));
    bytes[1] = 9;
    assert_eq!(parse(&bytes[..len + 2]), Some(Error::Malformed), "an empty broadcast");
    bytes[6] = 6;
    assert_eq!(Header::parse(&bytes[..20]), Err(Error::Malformed));
    let mut short = [0; 20];
    assert_eq!(header(Message::Gossip).emit(&mut short), Err(Error::NoRoom));
}

prop_compose! {
    fn identities()(v6 in any::<bool>(), ip in any::<u128>(), port in any::<u16>(),
                    generation in any::<u32>(), node in any::<u64>()) -> Identity {
        let socket = if v6 {
            SocketAddr::from((std::net::Ipv6Addr::from_bits(ip | 1 << 127), port))
        } else {
            SocketAddr::from((std::net::Ipv4Addr::from_bits(ip as u32), port))
        };
        Identity::new(socket, generation, node)
    }
}

fn messages() -> impl Strategy<Value = Message> {
    (0..11u8, any::<u8>(), identities()).prop_map(|(kind, probe, third)| match kind {
        0 => Message::Ping(probe),
        1 => Message::Ack(probe),
        2 => Message::PingReq { target: third, probe },
        3 => Message::IndirectPing { origin: third, probe },
        4 => Message::IndirectAck { target: third, probe },
        5 => Message::ForwardedAck { origin: third, probe },
        6 => Message::Announce,
        7 => Message::Feed,
        8 => Message::Gossip,
        9 => Message::Broadcast,
        _ => Message::TurnUndead,
    })
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Alive), Just(State::Suspect), Just(State::Down)]
}

proptest! {
    #[test]
    fn whatever_is_emitted_parses_to_itself(
        pool in any::<u32>(), source in identities(), target in identities(),
        incarnation in any::<u16>(), message in messages(),
        claims in prop::collection::vec((identities(), any::<u16>(), states()), 0..50),
        news in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..8),
    ) {
        let header = Header { pool, source, incarnation, target, message };
        let mut bytes = [0; PACKET_BYTES_MAX];
        let mut emitter = Emitter::new(&mut bytes, &header).unwrap();
        let mut updates = Vec::new();
        for (identity, incarnation, state) in claims {
            let update = Update { identity, incarnation, state };
            if emitter.push_update(&update).is_ok() {
                updates.push(update);
            }
        }
        let mut broadcasts = Vec::new();
        for piece in news {
            if emitter.push_broadcast(&piece).is_ok() {
                broadcasts.push(piece);
            }
        }
        let len = emitter.finish();
        let packet = Packet::parse(&bytes[..len]).unwrap();
        prop_assert_eq!(packet.header, header);
        prop_assert_eq!(packet.updates().collect::<Vec<_>>(), updates);
        prop_assert_eq!(packet.broadcasts().map(<[u8]>::to_vec).collect::<Vec<_>>(), broadcasts);
        let mut head = [0; HEADER_BYTES_MAX];
        prop_assert!(header.emit(&mut head).is_ok());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        let _ = Packet::parse(&bytes);
    }

    #[test]
    fn no_change_to_a_datagram_makes_the_parser_panic(
        at in 0..200usize, value in any::<u8>(), cut in 0..200usize,
    ) {
        let mut bytes = [0; 200];
        let mut emitter = Emitter::new(&mut bytes, &header(Message::Gossip)).unwrap();
        let update = Update { identity: v4(3), incarnation: 9, state: State::Down };
        while emitter.push_update(&update).is_ok() {}
        bytes[at] = value;
        if let Ok(packet) = Packet::parse(&bytes[..cut]) {
            prop_assert!(packet.updates().count() <= 10);
            prop_assert!(packet.broadcasts().all(|piece| !piece.is_empty()));
        }
    }
}

#[cfg(feature = "alloc")]
mod full_member {
    use super::*;
    use agent_core::gossip::{Config, Meta, Pool, Role};
    use agent_core::time::Instant;

    fn meta(id: u8) -> Meta {
        let mut node_id = [0; 16];
        node_id[15] = id;
        Meta {
            role: Role::Server,
            rpc_port: 8300,
            wan_port: 8302,
            expect: 3,
            non_voter: true,
            raft_id: 1,
            tags: vec![("k".into(), "v".into())],
            leaf: true,
            ..Meta::client(&format!("node{id}"), "dc1", node_id, "1.8.7:")
        }
    }

    fn pool(id: u8) -> Pool {
        let address = SocketAddr::from(([10, 0, 0, id], 8301));
        Pool::new(Config::lan(), meta(id), address, 1, 1, Instant::default()).expect("fit metadata")
    }

    #[test]
    fn metadata_has_these_bytes() {
        let golden = [
            &b"\x05node2\x00\x03dc1"[..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
            b"\x061.8.7:\x02",
            &[0xec, 0x40, 0xee, 0x40, 3, 0, 1, 1],
            b"\x01\x01k\x01v\x01",
        ]
        .concat();
        assert_eq!(meta(2).emit().unwrap(), golden);
        assert_eq!(Meta::parse(&golden).unwrap(), meta(2));
        let mut long = meta(2);
        long.tags = vec![("k".into(), "v".repeat(512))];
        assert!(long.emit().is_err());
        long = meta(2);
        long.name.clear();
        assert!(long.emit().is_err());
    }

    proptest! {
        #[test]
        fn no_datagram_and_no_frame_makes_a_member_panic(
            datagrams in prop::collection::vec(
                (messages(), identities(), states(), prop::collection::vec(any::<u8>(), 1..60)),
                1..20,
            ),
            frame in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut pool = pool(1);
            let from = SocketAddr::from(([10, 0, 0, 2], 8301));
            for (at, (message, identity, state, news)) in datagrams.iter().enumerate() {
                let now = Instant::from_micros(at as u64 * 300_000);
                let header = Header {
                    pool: Config::lan().label("dc1"),
                    source: v4(2),
                    incarnation: at as u16,
                    target: *pool.identity(),
                    message: *message,
                };
                let mut bytes = [0; PACKET_BYTES_MAX];
                let mut emitter = Emitter::new(&mut bytes, &header).unwrap();
                for identity in [*identity, *pool.identity(), v4(2)] {
                    let update = Update { identity, incarnation: u16::MAX, state: *state };
                    let _ = emitter.push_update(&update);
                }
                let _ = emitter.push_broadcast(news);
                let len = emitter.finish();
                pool.handle_datagram(now, from, &bytes[..len]);
                pool.handle_timeout(now);
                while pool.poll_transmit(now, &mut bytes).is_some() {}
                while pool.poll_event().is_some() {}
            }
            let now = Instant::from_micros(10_000_000);
            let _ = pool.handle_sync_hello(now, from, &frame);
            let _ = pool.handle_sync_reply(now, from, &frame);
            let _ = pool.handle_sync_rest(now, &frame);
        }
    }
}
