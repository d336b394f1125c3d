//! Files that are taken, and what is said of those that are not.

use super::*;
use std::vec;

const WHOLE: &str = r#"
# A pump house.
node_name  = "pump-7"
datacenter = "north"   // not dc1
bind_addr  = "10.0.0.7"
retry_join = ["10.0.0.1", "10.0.0.2:9301"]
node_id    = "01234567-89ab-cdef-0123-456789abcdef"
http_addr  = "127.0.0.1"
encrypt    = "cg8StVXbQJ0gPvMd9o7yrg=="
meta { floor = "2" }
service {
  name = "pump"
  port = 80
  tags = ["wet", "big"]
}
check {
  id = "flow"
  service_id = "pump"
  gpio_file = "/sys/class/gpio/gpio17/value"
  interval = "2s"
}
check { name = "web" http = "http://127.0.0.1:81/health?a=b" }
"#;

#[test]
fn a_whole_file_is_read() {
    let config = Config::parse(WHOLE).expect("reads");
    assert_eq!((config.node_name.as_str(), config.datacenter.as_str()), ("pump-7", "north"));
    assert_eq!(config.bind.to_string(), "10.0.0.7:8301");
    assert_eq!(config.join[1].to_string(), "10.0.0.2:9301");
    assert_eq!(config.servers[0].to_string(), "10.0.0.1:8300");
    assert_eq!(config.http.expect("told").to_string(), "127.0.0.1:8500");
    assert_eq!(config.encrypt.expect("told").as_bytes()[..4], [0x72, 0x0f, 0x12, 0xb5]);
    assert_eq!(config.meta, vec![("floor".into(), "2".into())]);
    assert_eq!(config.services[0].id, "pump");
    assert_eq!(config.services[0].tags, ["wet", "big"]);
    assert_eq!(config.checks[0].interval, Duration::from_secs(2));
    assert_eq!(config.checks[0].probe.kind(), "gpio-file");
    let web = Probe::Http("127.0.0.1:81".parse().expect("address"), "/health?a=b".into());
    assert_eq!(config.checks[1].probe, web);
}

#[test]
fn a_mistake_is_told_with_its_line_and_key() {
    for (broken, told) in [
        ("port = 70000", "line 1: port: a port is at most 65535"),
        ("\nnode_name = 7", "line 2: node_name: a text is wanted"),
        ("nodename = \"a\"", "line 1: nodename: not a key of the file"),
        (
            "retry_join = [\"host\"]",
            "line 1: retry_join: \"host\" is no IP address, \
                                     with or without a port",
        ),
        ("node_id = \"7\"", "line 1: node_id: a UUID is wanted"),
        ("encrypt = \"AAAA\"", "line 1: encrypt: a key has 16, 24 or 32 bytes"),
        ("encrypt = \"key\"", "line 1: encrypt: a key in base64 is wanted"),
        ("node_name \"a\"", "line 1: node_name: = or { is wanted"),
        ("node_name = \"a\nb\"", "line 1: a text ends on its line"),
        ("x = \"\\q\"", "line 1: after \\ only n, \" and \\ are known"),
        ("service {\n port = 1 }", "line 1: service: name is missing"),
        ("service {\n colour = 1 }", "line 2: colour: not a key of service"),
        ("service { name = \"a\"", "line 1: a block without its }"),
        ("check { id = \"a\" }", "line 1: check: one of tcp, http, args, gpio_file, ttl is wanted"),
        ("check { id = \"a\" ttl = \"x\" }", "line 1: ttl: a duration such as \"10s\" is wanted"),
        ("", "node_name is missing"),
    ] {
        let error = Config::parse(broken).expect_err(broken);
        assert_eq!(error.to_string(), told, "{broken:?}");
    }
    let twice = WHOLE.replace("check { name = \"web\"", "check { id = \"flow\"");
    let error = Config::parse(&twice).expect_err("the same ID twice");
    assert_eq!(error.to_string(), "line 22: check: \"flow\" is there twice");
    let astray = WHOLE.replace("service_id = \"pump\"", "service_id = \"well\"");
    let error = Config::parse(&astray).expect_err("no such service");
    assert_eq!(error.to_string(), "check \"flow\": service_id: no service \"well\"");
}

#[test]
fn damaged_files_are_refused_or_read_and_never_panic() {
    let mut dice = agent_core::rand::Rng::new(11);
    for _ in 0..20_000 {
        let mut bytes = WHOLE.as_bytes().to_vec();
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len() as u64) as usize;
            match dice.below(3) {
                0 => bytes[at] = dice.next_u64() as u8,
                1 if bytes.len() == 1 => {}
                1 => _ = bytes.remove(at),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(text) = core::str::from_utf8(&bytes) {
            let lines = text.lines().count();
            if let Err(error) = Config::parse(text) {
                assert!(error.line <= lines + 1, "{error} of {lines} lines");
            }
        }
    }
}
