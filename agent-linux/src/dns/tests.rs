//! What is emitted, read back by somebody else's parser.

use super::answer::{self, Apex, Asked, Chase, Chased, ChasedData, Meta, Sections};
use super::message::{
    self, Compression, Form, Question, Recursion, Refusal, Transport, Truncation,
};
use super::name::{Wire, Zones};
use crate::config;
use agent_core::model::catalog::NodeServices;
use agent_core::model::check::{Check, Status};
use agent_core::model::health::Instance;
use agent_core::model::node::Node;
use agent_core::model::service::{Service, Weights};
use domain::base::iana::Rcode;
use domain::base::{MessageBuilder, Rtype};
use hickory_proto::op::Message;
use hickory_proto::rr::{RData, Record};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

fn form() -> Form {
    Form {
        zones: Zones { domain: "consul.".parse().unwrap(), alternative: None },
        soa: config::Soa { refresh: 3600, retry: 600, expire: 86_400, min_ttl: 0 },
        udp_answers_max: 3,
        truncation: Truncation::Silent,
        compression: Compression::On,
        recursion: Recursion::Unavailable,
    }
}

/// Writes a question as a client would.
fn packet(name: &Wire, rtype: Rtype, udp_bytes: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x1234);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name, rtype)).unwrap();
    let mut builder = builder.additional();
    if let Some(bytes) = udp_bytes {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(bytes);
                opt.client_subnet(24, 16, [192, 0, 2, 0].into())
            })
            .unwrap();
    }
    builder.finish()
}

fn question(name: &str, rtype: Rtype, udp_bytes: Option<u16>) -> Question {
    Question::parse(&packet(&name.parse().unwrap(), rtype, udp_bytes)).unwrap()
}

fn asked<'a>(question: &'a Question) -> Asked<'a> {
    Asked {
        name: &question.name,
        rtype: question.rtype,
        datacenter: "dc1",
        ttl: 5,
        addresses_max: 0,
        meta: Meta::Along,
        apex: Apex { ttl: 0, serial: 1_795_337_313 },
    }
}

fn instance(node: &str, node_address: &str, address: &str, port: u16) -> Instance {
    let meta = [("consul-network-segment".to_owned(), String::new())].into();
    let (name, id) = (node.to_owned(), format!("web-{port}"));
    let node = Node { name, address: node_address.to_owned(), meta, ..Node::default() };
    let service =
        Service { id, name: "web".into(), address: address.into(), port, ..Service::default() };
    Instance { node: Arc::new(node), service: Arc::new(service), checks: Vec::new() }
}

/// Writes an answer and reads it back.
fn round(question: &Question, sections: &Sections<'_>, form: &Form, by: Transport) -> Message {
    let bytes = message::emit(question, sections, form, by);
    Message::from_vec(&bytes).unwrap_or_else(|e| panic!("{e}: {bytes:02x?}"))
}

/// Tells records as text, in the form of zone files.
fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.record_type(), r.data)).collect()
}

#[test]
fn an_srv_answer_brings_addresses_and_metadata_along() {
    let question = question("Web.service.consul", Rtype::SRV, Some(1232));
    let mut instances = vec![
        instance("agent131", "127.0.0.14", "", 80),
        instance("agent131", "127.0.0.14", "", 81),
        instance("agent132", "127.0.0.15", "10.1.1.1", 80),
        instance("ext", "www.example.com", "", 443),
        instance("agent131", "127.0.0.14", "", 80),
    ];
    let weights = Weights { passing: 7, warning: 3 };
    let heavy = Service { weights, ..(*instances[2].service).clone() };
    instances[2].service = Arc::new(heavy);
    let check = Check { status: Status::Warning, ..Check::default() };
    instances[2].checks = vec![Arc::new(check)];
    let host: Wire = "www.example.com.".parse().unwrap();
    let found = vec![Chased { owner: host, ttl: 60, data: ChasedData::Ip([192, 0, 2, 1].into()) }];
    let chases = [Chase { host: "www.example.com".into(), found }];
    let asked = asked(&question);
    assert_eq!(answer::hosts_of_service(&asked, &instances), ["www.example.com"]);
    let sections = answer::service(&asked, &instances, &chases);
    let message = round(&question, &sections, &form(), Transport::Udp);
    assert_eq!(
        lines(&message.answers),
        [
            "Web.service.consul. 5 SRV 1 1 80 agent131.node.dc1.consul.",
            "Web.service.consul. 5 SRV 1 1 81 agent131.node.dc1.consul.",
            "Web.service.consul. 5 SRV 1 3 80 0a010101.addr.dc1.consul.",
            "Web.service.consul. 5 SRV 1 1 443 www.example.com.",
        ]
    );
    assert_eq!(
        lines(&message.additionals),
        [
            "agent131.node.dc1.consul. 5 A 127.0.0.14",
            "agent131.node.dc1.consul. 5 TXT consul-network-segment=",
            "0a010101.addr.dc1.consul. 5 A 10.1.1.1",
            "agent132.node.dc1.consul. 5 TXT consul-network-segment=",
            "www.example.com. 5 A 192.0.2.1",
            "ext.node.dc1.consul. 5 TXT consul-network-segment=",
        ]
    );
    let metadata = message.metadata;
    assert!(metadata.authoritative && metadata.recursion_desired);
    assert!(!metadata.recursion_available && !metadata.truncation);
    assert_eq!(message.metadata.id, 0x1234);
    let edns = message.edns.unwrap();
    assert_eq!(edns.max_payload(), 1232);
    assert!(format!("{edns:?}").contains("scope_prefix: 0"), "{edns:?}");
}

#[test]
fn addresses_come_once_and_an_alias_only_alone() {
    let instances = [
        instance("ext", "www.example.com", "", 1),
        instance("n1", "10.0.0.1", "", 1),
        instance("n1", "10.0.0.1", "", 2),
        instance("n2", "fd00::1", "", 1),
        instance("n3", "10.0.0.3", "web.service.consul.", 1),
    ];
    let answers = |rtype| {
        let question = question("web.service.consul", rtype, None);
        let sections = answer::service(&asked(&question), &instances, &[]);
        let message = round(&question, &sections, &form(), Transport::Udp);
        (lines(&message.answers), message.authorities.len())
    };
    let name = "web.service.consul. 5";
    let (a, aaaa) = (format!("{name} A 10.0.0.1"), format!("{name} AAAA fd00::1"));
    let circle = format!("{name} A 10.0.0.3");
    assert_eq!(answers(Rtype::A), (vec![a.clone(), circle.clone()], 0));
    assert_eq!(answers(Rtype::AAAA), (vec![aaaa.clone()], 0));
    assert_eq!(answers(Rtype::ANY), (vec![a, aaaa, circle], 0));
    let alias = vec![format!("{name} CNAME www.example.com.")];
    assert_eq!(answers(Rtype::MX), (alias, 0), "no address answers: the alias does");
}

#[test]
fn names_without_data_say_so_and_for_how_long() {
    let question = question("web.service.consul", Rtype::AAAA, Some(1232));
    let asked = asked(&question);
    let soa = "consul. 0 SOA ns.consul. hostmaster.consul. 1795337313 3600 600 86400 0";
    for (instances, rcode) in
        [(vec![], Rcode::NXDOMAIN), (vec![instance("n", "10.0.0.1", "", 1)], Rcode::NOERROR)]
    {
        let sections = answer::service(&asked, &instances, &[]);
        let message = round(&question, &sections, &form(), Transport::Udp);
        assert_eq!(lines(&message.authorities), [soa]);
        assert_eq!(message.answers.len(), 0);
        assert_eq!(u16::from(message.metadata.response_code), u16::from(rcode.to_int()));
    }
}

#[test]
fn metadata_is_spelt_as_rfc_1464_says() {
    let question = question("n1.node.consul", Rtype::TXT, Some(4096));
    let long = "x".repeat(600);
    let pairs = [
        ("env", "a=b"),
        ("RFC1035-raw", "v=spf1 x"),
        ("tick`k", " z`"),
        ("  a b = ", "c"),
        ("long", long.as_str()),
    ];
    let meta = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let node = Node { name: "n1".into(), address: "10.0.0.1".into(), meta, ..Node::default() };
    let found = NodeServices { node: Arc::new(node), services: Vec::new() };
    let sections = answer::node(&asked(&question), Some(&found), &[]);
    let message = round(&question, &sections, &form(), Transport::Udp);
    let texts: BTreeSet<String> = message
        .answers
        .iter()
        .map(|record| match &record.data {
            RData::TXT(txt) => String::from_utf8(txt.txt_data.concat()).unwrap(),
            other => panic!("{other}"),
        })
        .collect();
    let long = format!("long={long}");
    let expected = ["env=a=b", "v=spf1 x", "tick``k= z``", "` ` a b `=` =c", long.as_str()];
    assert_eq!(texts, expected.map(str::to_owned).into());
}

#[test]
fn name_servers_are_at_most_three_and_never_oddly_named() {
    let question = question("consul", Rtype::SOA, Some(1232));
    let names = ["Agent128", "bad name", "agent129", "agent130", "agent132"];
    let servers = names.map(|name| instance(name, "127.0.0.11", "", 8300));
    let sections = answer::authority(&asked(&question), &servers);
    let message = round(&question, &sections, &form(), Transport::Udp);
    assert_eq!(message.answers.len(), 1);
    assert_eq!(
        lines(&message.authorities),
        ["128", "129", "130"].map(|n| format!("consul. 5 NS agent{n}.node.dc1.consul."))
    );
    assert_eq!(message.additionals.len(), 3);
}

#[test]
fn a_name_that_cannot_be_spelt_costs_only_its_own_record() {
    let question = question("web.service.consul", Rtype::SRV, Some(1232));
    let long = "x".repeat(64);
    let instances = [instance(&long, "10.0.0.1", "", 1), instance("n2", "10.0.0.2", "", 1)];
    let sections = answer::service(&asked(&question), &instances, &[]);
    let message = round(&question, &sections, &form(), Transport::Udp);
    assert_eq!(lines(&message.answers), ["web.service.consul. 5 SRV 1 1 1 n2.node.dc1.consul."]);
    assert_eq!(message.additionals.len(), 2);
}

#[test]
fn answers_are_bounded_by_transport_and_flagged_if_so_set() {
    let instances: Vec<_> = (0..5000u32)
        .map(|n| instance(&format!("n{n}"), &std::net::Ipv4Addr::from_bits(n).to_string(), "", 1))
        .collect();
    let flagged = Form { truncation: Truncation::Flagged, ..form() };
    for (rtype, edns, by, answers) in [
        (Rtype::A, None, Transport::Udp, 3..=3),
        (Rtype::A, Some(512), Transport::Udp, 3..=3),
        (Rtype::A, Some(1232), Transport::Udp, 70..=80),
        (Rtype::SRV, Some(1232), Transport::Udp, 14..=24),
        (Rtype::A, None, Transport::Tcp, 4000..=4096),
        (Rtype::SRV, None, Transport::Tcp, 400..=1024),
    ] {
        let question = question("web.service.consul", rtype, edns);
        let sections = answer::service(&asked(&question), &instances, &[]);
        let bytes = message::emit(&question, &sections, &flagged, by);
        let message = Message::from_vec(&bytes).unwrap();
        assert!(
            answers.contains(&message.answers.len()),
            "{rtype} {} {by:?}",
            message.answers.len()
        );
        assert_eq!(message.metadata.truncation, by == Transport::Udp);
    }
}

#[test]
fn packets_that_are_no_question_are_refused_or_passed_over() {
    let good = packet(&"web.service.consul".parse().unwrap(), Rtype::A, Some(1232));
    let refusal = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Question::parse(&bytes).map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(&|bytes| bytes.truncate(11)), Refusal::Silence);
    assert_eq!(refusal(&|bytes| bytes[2] |= 0x80), Refusal::Silence);
    for (opcode, rcode) in [(2, Rcode::NOTIMP), (4, Rcode::NOTIMP), (5, Rcode::NOTIMP)] {
        assert_eq!(refusal(&|bytes| bytes[2] |= opcode << 3), Refusal::Code(rcode));
    }
    let formerr = Refusal::Code(Rcode::FORMERR);
    assert_eq!(refusal(&|bytes| bytes.truncate(12)), formerr);
    assert_eq!(refusal(&|bytes| bytes[5] = 2), formerr);
    assert_eq!(refusal(&|bytes| bytes[7] = 9), formerr);
    assert_eq!(refusal(&|bytes| bytes.truncate(bytes.len() - 1)), formerr);
    let class = good.len() - 11 - 12 - 2;
    assert_eq!(refusal(&|bytes| bytes[class + 1] = 3), Refusal::Code(Rcode::REFUSED));
    let reply = message::refuse(&good, formerr).unwrap();
    let message = Message::from_vec(&reply).unwrap();
    assert_eq!((message.metadata.id, reply.len(), reply[3]), (0x1234, 12, 1));
}

fn a_host() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| ip.to_string()),
        "[a-z.]{0,12}",
        ".{0,70}",
    ]
}

fn an_instance() -> impl Strategy<Value = Instance> {
    let meta = prop::collection::btree_map(".{0,20}", ".{0,300}", 0..3);
    (".{1,66}", a_host(), a_host(), any::<u16>(), meta).prop_map(|(name, at, own, port, meta)| {
        let mut made = instance(&name, &at, &own, port);
        made.node = Arc::new(Node { meta, ..(*made.node).clone() });
        made
    })
}

proptest! {
    #[test]
    fn no_packet_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Err(refusal) = Question::parse(&bytes)
            && let Some(reply) = message::refuse(&bytes, refusal)
        {
            prop_assert!(Message::from_vec(&reply).is_ok());
        }
    }

    #[test]
    fn no_damaged_question_panics(at in 0usize..60, byte: u8, cut in 0usize..60) {
        let name = "_web._tcp.service.consul".parse().unwrap();
        let mut bytes = packet(&name, Rtype::SRV, Some(1232));
        let at = at % bytes.len();
        bytes[at] = byte;
        let _either = Question::parse(&bytes);
        bytes.truncate(cut);
        let _either = Question::parse(&bytes);
    }

    #[test]
    fn whatever_is_registered_others_can_read_the_answer(
        instances in prop::collection::vec(an_instance(), 0..40),
        rtype in prop::sample::select(vec![Rtype::A, Rtype::AAAA, Rtype::SRV, Rtype::ANY]),
        edns in prop::option::of(any::<u16>()),
        by in prop::sample::select(vec![Transport::Udp, Transport::Tcp]),
        compression in prop::sample::select(vec![Compression::On, Compression::Off]),
    ) {
        let question = question("WEB.service.consul", rtype, edns);
        let form = Form { compression, ..form() };
        let asked = asked(&question);
        let _hosts = answer::hosts_of_service(&asked, &instances);
        let sections = answer::service(&asked, &instances, &[]);
        let bytes = message::emit(&question, &sections, &form, by);
        let max = match (by, edns) {
            (Transport::Tcp, _) => 65_535,
            (Transport::Udp, None) => 512,
            (Transport::Udp, Some(bytes)) => usize::from(bytes).max(512),
        };
        let longest = message::written_out_max(&question, &sections, &form, sections.answer.len());
        prop_assert!(bytes.len() <= longest, "{} > {longest}", bytes.len());
        // One answer goes whatever its size.
        prop_assert!(bytes.len() <= max.max(600), "{} > {max}", bytes.len());
        let message = Message::from_vec(&bytes)
            .map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert!(message.answers.len() <= sections.answer.len());
        prop_assert_eq!(message.queries[0].name().to_string(), "WEB.service.consul.");
        prop_assert_eq!(message.edns.is_some(), edns.is_some());
        if by == Transport::Udp && edns.is_none() {
            prop_assert!(message.answers.len() <= 3);
        }
    }
}
