//! The bytes of every message, and that both kinds of memory read them alike.

use super::*;
use crate::wire::memory::Lent;
use std::vec::Vec;

fn list<T: Clone>(items: &[T]) -> heapless::Vec<T, { crate::wire::memory::LIST_MAX }> {
    heapless::Vec::from_slice(items).expect("short")
}

fn asks() -> Vec<(Ask<Lent<'static>>, &'static [u8])> {
    let find = Ask::Find { service: "web", tag: "", passing: true, most: 3 };
    std::vec![
        (
            Ask::Hello {
                version: 1,
                reply_bytes_max: 300,
                datacenter: "dc1",
                node: "n",
                node_id: *b"0123456789abcdef",
                address: "::1",
                token: "",
                meta: list(&[("k", "v")]),
            },
            b"\x00\x01\xac\x02\x03dc1\x01n0123456789abcdef\x03::1\x00\x01\x01k\x01v",
        ),
        (
            Ask::Service {
                id: "a1",
                name: "a",
                tags: list(&["x", "y"]),
                address: "",
                port: 8080,
                meta: list(&[]),
            },
            b"\x01\x02a1\x01a\x02\x01x\x01y\x00\x90\x3f\x00",
        ),
        (
            Ask::Check {
                id: "c",
                name: "C",
                service_id: "a1",
                kind: "tcp",
                notes: "",
                status: Status::Critical,
                output: "no",
            },
            b"\x02\x01c\x01C\x02a1\x03tcp\x00\x02\x02no",
        ),
        (Ask::Settled, b"\x03"),
        (Ask::Remove { service: "a1", check: "" }, b"\x04\x02a1\x00"),
        (Ask::Get { key: "k/1" }, b"\x05\x03k/1"),
        (Ask::Put { key: "k", value: b"\x00\xff", flags: 128 }, b"\x06\x01k\x02\x00\xff\x80\x01"),
        (find, b"\x07\x03web\x00\x01\x03"),
        (Ask::Leader, b"\x08"),
    ]
}

fn tells() -> Vec<(Tell<Lent<'static>>, &'static [u8])> {
    let instance =
        Instance { node: "n", id: "i", address: "::1", port: 80, status: Status::Passing };
    std::vec![
        (Tell::Welcome { version: 1, sync_secs: 60, datacenter: "dc1" }, b"\x00\x01\x3c\x03dc1"),
        (Tell::Done, b"\x01"),
        (Tell::Refused { reason: Refusal::Name, text: "taken" }, b"\x02\x02\x05taken"),
        (Tell::Missing, b"\x03"),
        (Tell::Value { value: b"v", flags: 1, index: 300 }, b"\x04\x01v\x01\xac\x02"),
        (
            Tell::Instances { list: list(&[instance]), total: 9 },
            b"\x05\x01\x01n\x01i\x03::1\x50\x00\x09",
        ),
        (Tell::Leader { address: "1.2.3.4:8300" }, b"\x06\x0c1.2.3.4:8300"),
    ]
}

fn keeps_its_bytes<'a, T>(message: &T, bytes: &'a [u8])
where
    T: Serialize + Deserialize<'a> + PartialEq + core::fmt::Debug,
{
    let mut out = [0; 128];
    let length = emit(message, &mut out).expect("room");
    assert_eq!(&out[..length], bytes, "{message:?}");
    assert_eq!(parse::<T>(bytes).as_ref(), Ok(message));
    assert_eq!(emit(message, &mut out[..length - 1]), None);
    for cut in 0..bytes.len() {
        assert_eq!(parse::<T>(&bytes[..cut]), Err(Damaged), "{message:?} cut at {cut}");
    }
}

#[test]
fn every_message_keeps_its_bytes() {
    for (ask, bytes) in asks() {
        keeps_its_bytes(&ask, bytes);
    }
    for (tell, bytes) in tells() {
        keeps_its_bytes(&tell, bytes);
    }
}

#[test]
fn reasons_keep_their_numbers() {
    let reasons = [
        Refusal::Version,
        Refusal::Datacenter,
        Refusal::Name,
        Refusal::Invalid,
        Refusal::TooLong,
        Refusal::Denied,
        Refusal::Unavailable,
    ];
    for (number, reason) in (0_u8..).zip(reasons) {
        let mut out = [0; 8];
        assert_eq!(emit(&reason, &mut out), Some(1));
        assert_eq!(out[0], number, "{}", reason.as_str());
    }
}

#[test]
fn bytes_behind_a_message_and_longer_lists_are_refused() {
    assert_eq!(parse::<Ask<Lent<'_>>>(b"\x03\x00"), Err(Damaged));
    let mut long = b"\x01\x01a\x01a\x09".to_vec();
    long.extend_from_slice(&b"\x01x".repeat(9));
    long.extend_from_slice(b"\x00\x50\x00");
    assert_eq!(parse::<Ask<Lent<'_>>>(&long), Err(Damaged));
}

#[cfg(feature = "alloc")]
#[test]
fn a_server_reads_and_writes_the_same_bytes() {
    use crate::wire::memory::Heap;
    for (_, bytes) in asks() {
        let ask: Ask<Heap> = parse(bytes).expect("parses");
        let mut out = [0; 128];
        let length = emit(&ask, &mut out).expect("room");
        assert_eq!(&out[..length], bytes);
    }
    for (_, bytes) in tells() {
        let tell: Tell<Heap> = parse(bytes).expect("parses");
        let mut out = [0; 128];
        let length = emit(&tell, &mut out).expect("room");
        assert_eq!(&out[..length], bytes);
    }
}
