use super::*;
use crate::wire::packet::PACKET_BYTES_MAX;
use std::vec::Vec;

type Small = Sealer<3, 8>;

const STRICT: Strictness = Strictness::FULL;

fn key(byte: u8, len: usize) -> Key {
    Key::new(&[byte; 32][..len]).expect("a fit length")
}

fn sealer(key: Key, node: u64, strictness: Strictness) -> Small {
    Sealer::new(Keyring::new(key), Nonces::new(node, 1), strictness)
}

fn sealed(sealer: &mut Small, plain: &[u8]) -> Vec<u8> {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    buffer[..plain.len()].copy_from_slice(plain);
    let len = sealer.seal_datagram(&mut buffer, plain.len()).expect("room");
    buffer[..len].to_vec()
}

/// Something that begins as gossip does.
fn plain(len: usize) -> Vec<u8> {
    let mut plain: Vec<u8> = (0..len).map(|at| (at * 7 % 256) as u8).collect();
    plain[0] = VERSION;
    plain
}

fn gossip<'a>(opened: Result<Opened<'a>, Refused>) -> Option<&'a [u8]> {
    match opened {
        Ok(Opened::Gossip(bytes)) => Some(bytes),
        Ok(Opened::Query(_)) | Err(_) => None,
    }
}

#[test]
fn what_one_seals_the_others_open_with_keys_of_every_length() {
    for len in [16, 24, 32] {
        let mut a = sealer(key(1, len), 1, STRICT);
        let mut b = sealer(key(1, len), 2, STRICT);
        for size in [1, 15, 16, 17, 500, PACKET_BYTES_MAX] {
            let plain = plain(size);
            let mut bytes = sealed(&mut a, &plain);
            assert_eq!(bytes.len(), size + SEAL_BYTES);
            assert!(size < 16 || !bytes.windows(16).any(|window| window == &plain[..16]));
            assert_eq!(gossip(b.open_datagram(&mut bytes)), Some(&plain[..]));
        }
        assert_eq!(b.drops().total(), 0);
    }
    for len in [0, 15, 17, 31, 33] {
        assert_eq!(Key::new(&[0; 33][..len]), Err(KeyError));
    }
}

#[test]
fn the_bytes_are_those_of_the_layout() {
    // Case 4 of McGrew and Viega's GCM vectors: a key, nonce, text and associated data of theirs.
    let key = Key::new(&hex("feffe9928665731c6d6a8f9467308308")).expect("16 bytes");
    let nonce: Nonce = hex("cafebabefacedbaddecaf888").try_into().expect("12 bytes");
    let mut body = hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
    let tag = key.encrypt(&nonce, &hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"), &mut body);
    assert_eq!(tag.map(Vec::from), Some(hex("5bc94fbc3221a5db94fae95ae7121a47")));
    assert_eq!(
        body,
        hex("42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
             21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091")
    );
    let mut sealer = sealer(key, 1, STRICT);
    let bytes = sealed(&mut sealer, &[VERSION, 2, 3]);
    // Golden: members of different versions meet on these bytes.
    assert_eq!(bytes[..HEAD_BYTES], hex(GOLDEN_HEAD));
    assert_eq!(bytes[HEAD_BYTES..], hex(GOLDEN_BODY));
}

const GOLDEN_HEAD: &str = "8131316bf8e9fd6049d65af21e00000000";
const GOLDEN_BODY: &str = "f78fff1cea991be002cde6bf3dfd12779b7b63";

fn hex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn plain_wrong_damaged_and_foreign_bytes_are_dropped_and_counted() {
    let mut ours = sealer(key(1, 16), 1, STRICT);
    let mut strange = sealer(key(2, 16), 2, STRICT);
    let mut theirs = sealer(key(1, 16), 3, STRICT);
    assert_eq!(ours.open_datagram(&mut plain(40)), Err(Refused::Plaintext));
    let mut bytes = sealed(&mut strange, &plain(40));
    assert_eq!(ours.open_datagram(&mut bytes), Err(Refused::UnknownKey));
    let good = sealed(&mut theirs, &plain(40));
    let mut forged = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        match (at, ours.open_datagram(&mut bytes)) {
            (0, Err(Refused::Malformed)) | (1..=4, Err(Refused::UnknownKey)) => {}
            (5.., Err(Refused::Forged)) => forged += 1,
            (at, other) => panic!("byte {at}: {other:?}"),
        }
    }
    for len in 1..good.len() {
        let mut bytes = good[..len].to_vec();
        match ours.open_datagram(&mut bytes) {
            Err(Refused::Malformed) if len < SEAL_BYTES => {}
            Err(Refused::Forged) if len >= SEAL_BYTES => forged += 1,
            other => panic!("{len} bytes: {other:?}"),
        }
    }
    assert_eq!(ours.open_datagram(&mut []), Err(Refused::Malformed));
    let mut long = [SEALED; DATAGRAM_BYTES_MAX + 1];
    assert_eq!(ours.open_datagram(&mut long), Err(Refused::Malformed));
    let drops = ours.drops();
    assert_eq!((drops.plaintext, drops.unknown_key, drops.forged), (1, 5, forged));
    assert_eq!(drops.malformed, 1 + SEAL_BYTES as u32 - 1 + 2);
    assert_eq!(gossip(ours.open_datagram(&mut good.clone())), Some(&plain(40)[..]));
}

#[test]
fn a_copy_is_dropped_also_late_and_out_of_order() {
    let mut a = sealer(key(1, 32), 1, STRICT);
    let mut b = sealer(key(1, 32), 2, STRICT);
    let all: Vec<Vec<u8>> = (0..20).map(|_| sealed(&mut a, &plain(30))).collect();
    for bytes in all.iter().rev() {
        assert!(b.open_datagram(&mut bytes.clone()).is_ok());
    }
    for bytes in &all {
        assert_eq!(b.open_datagram(&mut bytes.clone()), Err(Refused::Replayed));
    }
    assert_eq!(b.drops().replayed, 20);
    // A restarted sender is another run: nothing of it was seen.
    let mut again = Small::new(Keyring::new(key(1, 32)), Nonces::new(1, 2), STRICT);
    assert!(b.open_datagram(&mut sealed(&mut again, &plain(30))).is_ok());
}

#[test]
fn a_forged_datagram_leaves_no_mark_in_the_window() {
    let mut a = sealer(key(1, 32), 1, STRICT);
    let mut b = sealer(key(1, 32), 2, STRICT);
    let good = sealed(&mut a, &plain(30));
    let mut forged = good.clone();
    *forged.last_mut().expect("not empty") ^= 1;
    assert_eq!(b.open_datagram(&mut forged), Err(Refused::Forged));
    assert!(b.open_datagram(&mut good.clone()).is_ok());
}

#[test]
fn keys_turn_over_without_a_lost_message() {
    let (old, new) = (key(1, 16), key(2, 32));
    let mut a = sealer(old, 1, STRICT);
    let mut b = sealer(old, 2, STRICT);
    let both_ways = |a: &mut Small, b: &mut Small| {
        assert!(b.open_datagram(&mut sealed(a, &plain(99))).is_ok());
        assert!(a.open_datagram(&mut sealed(b, &plain(99))).is_ok());
    };
    both_ways(&mut a, &mut b);
    a.ring_mut().install(new).expect("room");
    both_ways(&mut a, &mut b);
    b.ring_mut().install(new).expect("room");
    b.ring_mut().install(new).expect("there already");
    a.ring_mut().promote(&new).expect("installed");
    both_ways(&mut a, &mut b);
    b.ring_mut().promote(&new).expect("installed");
    both_ways(&mut a, &mut b);
    assert_eq!(a.ring_mut().remove(&new), Err(RingError::Primary));
    a.ring_mut().remove(&old).expect("not primary");
    a.ring_mut().remove(&old).expect("gone already");
    both_ways(&mut a, &mut b);
    assert_eq!(a.ring_mut().promote(&old), Err(RingError::Absent));
    assert_eq!(b.ring().keys().copied().collect::<Vec<_>>(), [new, old]);
    for byte in 3..5 {
        let full = b.ring_mut().install(key(byte, 16));
        assert_eq!(full, if byte == 3 { Ok(()) } else { Err(RingError::Full) });
    }
}

#[test]
fn a_pool_turns_from_plain_to_sealed_in_steps() {
    let lax = Strictness { verify_incoming: false, verify_outgoing: false };
    let half = Strictness { verify_incoming: false, verify_outgoing: true };
    let members = |one, other| (sealer(key(1, 16), 1, one), sealer(key(1, 16), 2, other));
    for (one, other) in [(lax, lax), (lax, half), (half, half), (half, STRICT), (STRICT, STRICT)] {
        let (mut a, mut b) = members(one, other);
        assert!(b.open_datagram(&mut sealed(&mut a, &plain(50))).is_ok(), "{one:?} {other:?}");
        assert!(a.open_datagram(&mut sealed(&mut b, &plain(50))).is_ok(), "{one:?} {other:?}");
    }
    let (mut a, mut b) = members(lax, STRICT);
    let mut bytes = sealed(&mut a, &plain(50));
    assert_eq!(bytes, plain(50));
    assert_eq!(b.open_datagram(&mut bytes), Err(Refused::Plaintext));
}

#[test]
fn a_buffer_without_room_is_refused() {
    let mut a = sealer(key(1, 16), 1, STRICT);
    let mut buffer = [0; 40];
    assert_eq!(a.seal_datagram(&mut buffer, 40 - SEAL_BYTES + 1), None);
    assert_eq!(a.seal_datagram(&mut buffer, 40 - SEAL_BYTES), Some(40));
    assert_eq!(a.seal_datagram(&mut buffer, usize::MAX), None);
}

#[test]
fn a_key_is_never_shown() {
    let shown = std::format!("{:?}", key(0xab, 16));
    assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
}

#[test]
fn a_question_about_keys_is_obeyed_by_whom_it_names_and_only_sealed() {
    use super::query::{Fault, Message, Op};
    use crate::gossip::identity::Identity;
    let (old, new) = (key(1, 16), key(2, 32));
    let mut a = sealer(old, 1, STRICT);
    let mut b = sealer(old, 2, STRICT);
    let target = Identity::new(std::net::SocketAddr::from(([10, 0, 0, 2], 8301)), 3, 7);
    let ask = Message::Ask { target, id: 9, op: Op::Install(Op::key(new.as_bytes())) };
    let mut bytes = [0; DATAGRAM_BYTES_MAX];
    let len = a.seal_query(&ask, &mut bytes).expect("room");
    let Ok(Opened::Query(plain)) = b.open_datagram(&mut bytes[..len]) else { panic!("a query") };
    assert_eq!(Message::parse(plain).as_ref(), Some(&ask));
    // Nothing plain passes for one, and no gossip does.
    let mut plain = plain.to_vec();
    plain.insert(0, QUERY);
    assert!(b.open_datagram(&mut plain).is_err());
    let mut gossip = sealed(&mut a, &self::plain(60));
    gossip[0] = QUERY;
    assert_eq!(b.open_datagram(&mut gossip), Err(Refused::Forged));
    let op = |key: &Key| Op::key(key.as_bytes());
    assert_eq!(b.obey(&Op::Use(op(&new))), Err(Fault::Absent));
    assert_eq!(b.obey(&Op::Install(op(&new))), Ok(true));
    assert_eq!(b.obey(&Op::Install(op(&new))), Ok(false));
    assert_eq!(b.obey(&Op::Install(Op::key(&[0; 40]))), Err(Fault::Size));
    assert_eq!(b.obey(&Op::Use(op(&new))), Ok(true));
    assert_eq!(b.obey(&Op::Remove(op(&new))), Err(Fault::Primary));
    assert_eq!(b.obey(&Op::Remove(op(&old))), Ok(true));
    assert_eq!(b.obey(&Op::List), Ok(false));
    assert_eq!(b.list().iter().map(|key| &key[..]).collect::<Vec<_>>(), [new.as_bytes()]);
    let answer = query::Answer { id: 9, node: 7, fault: None, keys: b.list() };
    assert!(b.seal_query(&Message::Answer(answer), &mut bytes).is_some());
}

#[cfg(feature = "alloc")]
mod frames {
    use super::super::frame::Thread;
    use super::*;
    use crate::gossip::sync::{Bar, Body, Error, Frame, HEAD_BYTES};

    fn frame(frame: Frame, text: &str) -> Vec<u8> {
        frame.emit(&text)
    }

    fn check(kind: Frame, bytes: &[u8]) -> Body {
        let head = bytes[..HEAD_BYTES].try_into().expect("a head");
        let body = kind.check(head).expect("checks");
        assert_eq!(body.len, bytes.len() - HEAD_BYTES);
        body
    }

    fn pass(
        a: &mut Small,
        b: &mut Small,
        kind: Frame,
        threads: &mut [Thread; 2],
    ) -> (Vec<u8>, Result<(), Refused>) {
        let plain = frame(kind, "what is said");
        let bytes = a.seal_frame(kind, plain.clone(), &mut threads[0]).expect("nonces");
        let head = check(kind, &bytes);
        let opened = b.open_frame(kind, head, bytes[HEAD_BYTES..].to_vec(), &mut threads[1]);
        let opened = opened.map(|body| assert_eq!(body, &plain[HEAD_BYTES..]));
        (bytes, opened)
    }

    #[test]
    fn an_exchange_is_sealed_and_every_frame_bound_to_the_one_before() {
        let mut a = sealer(key(1, 16), 1, STRICT);
        let mut b = sealer(key(1, 16), 2, STRICT);
        let mut old = Vec::new();
        for round in 0..2 {
            let mut threads = [Thread::default(); 2];
            assert_eq!(pass(&mut a, &mut b, Frame::Hello, &mut threads).1, Ok(()));
            let replayed: Vec<u8> = old.clone();
            if round == 1 {
                let head = check(Frame::Reply, &replayed);
                let body = replayed[HEAD_BYTES..].to_vec();
                let opened = a.open_frame(Frame::Reply, head, body, &mut threads[0]);
                assert_eq!(opened, Err(Refused::Forged), "an old reply");
            }
            threads.reverse();
            let (reply, opened) = pass(&mut b, &mut a, Frame::Reply, &mut threads);
            assert_eq!(opened, Ok(()));
            threads.reverse();
            assert_eq!(pass(&mut a, &mut b, Frame::Rest, &mut threads).1, Ok(()));
            old = reply;
        }
        // A frame is no datagram, nor another frame.
        let mut threads = [Thread::default(); 2];
        let (mut hello, _) = pass(&mut a, &mut b, Frame::Hello, &mut threads);
        assert_eq!(b.open_datagram(&mut hello[HEAD_BYTES..]), Err(Refused::Forged));
        let head = Body { len: hello.len() - HEAD_BYTES, sealed: true };
        let opened =
            b.open_frame(Frame::Rest, head, hello[HEAD_BYTES..].to_vec(), &mut Thread::default());
        assert_eq!(opened, Err(Refused::Forged));
    }

    #[test]
    fn a_plain_or_strange_frame_is_refused_in_words_for_the_other_side() {
        let mut ours = sealer(key(1, 16), 1, STRICT);
        let mut strange = sealer(key(9, 16), 2, STRICT);
        let bytes = frame(Frame::Hello, "plain");
        let head = check(Frame::Hello, &bytes);
        let thread = &mut Thread::default();
        let refused = ours.open_frame(Frame::Hello, head, bytes[HEAD_BYTES..].to_vec(), thread);
        assert_eq!(refused, Err(Refused::Plaintext));
        let mut threads = [Thread::default(); 2];
        let (_, refused) = pass(&mut strange, &mut ours, Frame::Hello, &mut threads);
        assert_eq!(refused, Err(Refused::UnknownKey));
        for bar in [Bar::Plaintext, Bar::UnknownKey, Bar::Forged, Bar::NoKeys] {
            assert_eq!(Frame::Reply.check(bar.emit()), Err(Error::Barred(bar)));
        }
        assert_eq!(Bar::from(Refused::UnknownKey), Bar::UnknownKey);
    }
}
