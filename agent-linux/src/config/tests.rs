//! Files and flags to a configuration, whole.

use std::path::PathBuf;

use agent_core::time::Duration;

use super::reader::Reader;
use super::setting::{self, Effect};
use super::source::{self, Sources};
use super::template::Interface;
use super::*;

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("reeve-config-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn host() -> Vec<Interface> {
    vec![Interface { name: "eth0".to_owned(), address: "10.0.0.9".parse().unwrap(), up: true }]
}

fn resolve(sources: Sources) -> Result<(Config, Vec<String>), String> {
    let mut warnings = Vec::new();
    let layer = sources.read(&mut warnings).map_err(|e| e.to_string())?;
    let config = Config::resolve(layer, sources, &host(), &mut warnings);
    Ok((config.map_err(|e| e.to_string())?, warnings))
}

/// Resolves an HCL fragment, with what every start needs.
fn hcl(text: &str) -> Result<(Config, Vec<String>), String> {
    let needed = "data_dir = \"/nonexistent/reeve\"".to_owned();
    resolve(Sources { fragments: vec![needed, text.to_owned()], ..Sources::default() })
}

#[test]
fn defaults_are_consuls_but_for_the_raft_multiplier() {
    let config = hcl("").unwrap().0;
    assert_eq!(config.advertise_addr.to_string(), "10.0.0.9");
    assert_eq!(config.http_listen, [Listen::Tcp("127.0.0.1:8500".parse().unwrap())]);
    assert_eq!(config.dns_listen, ["127.0.0.1:8600".parse().unwrap()]);
    assert_eq!(config.tagged_addresses["lan_ipv4"], "10.0.0.9");
    assert_eq!((config.leave_on_terminate, config.skip_leave_on_interrupt), (true, false));
    assert_eq!(config.raft.multiplier, 1);
    assert!(!config.node_name.is_empty());
    let server = hcl("server = true").unwrap().0;
    assert_eq!((server.leave_on_terminate, server.skip_leave_on_interrupt), (false, true));
}

#[test]
fn every_setting_that_works_is_asked_for() {
    let layer = Layer::default();
    let reader = Reader::new(&layer);
    resolve::assemble(&reader, Sources::default(), &host(), &mut Vec::new()).unwrap();
    for setting in setting::all() {
        match setting.effect {
            Effect::Start | Effect::Reload => {
                assert!(reader.was_asked(setting.key), "{} is never read", setting.key);
            }
            // Some are kept, and shown, before they have an effect.
            Effect::Later => {}
            Effect::Nothing | Effect::Enterprise | Effect::Deprecated | Effect::Refused => {
                assert!(!reader.was_asked(setting.key), "{} is read", setting.key);
            }
        }
    }
}

#[test]
fn later_scalars_win_lists_join_and_flags_come_on_top() {
    let dir = Dir::new();
    dir.file("b.hcl", "node_name = \"b\"\nretry_join = [\"2\"]\nnode_meta { x = \"b\" }\n");
    dir.file(
        "a.json",
        r#"{"node_name":"a","retry_join":["1"],"log_level":"warn",
        "node_meta":{"x":"a","y":"a"},"service":{"name":"s1"}}"#,
    );
    dir.file("c.hcl", "service { name = \"s2\" }\nservice { name = \"s3\" }\n");
    dir.file("ignored.txt", "nonsense");
    dir.file("empty.json", "");
    let flags = [
        ("log_level", "debug"),
        ("retry_join", "0"),
        ("data_dir", "/nonexistent/x"),
        ("node_meta", "z:1:2"),
    ];
    let flags = flags.map(|(key, text)| (key, text.to_owned())).to_vec();
    let sources = Sources { paths: vec![dir.0.clone()], flags, ..Sources::default() };
    let (config, warnings) = resolve(sources).unwrap();
    assert_eq!(config.node_name, "b");
    assert_eq!(config.retry_join, ["0", "1", "2"]);
    assert_eq!(config.log.level, LogLevel::Debug);
    let names: Vec<&str> = config.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["s1", "s2", "s3"]);
    let meta: Vec<String> = config.node_meta.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(meta, ["x=b", "y=a", "z=1:2"]);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn faults_name_file_and_key() {
    let dir = Dir::new();
    for (text, want) in [
        (
            r#"{"foo":1,"ports":{"htttp":1}}"#,
            "2 errors occurred:\n\t* invalid config key foo\n\t* \
          invalid config key ports.htttp",
        ),
        (r#"{"server":"yes"}"#, "'server' expected type 'bool', got unconvertible type 'string'"),
        (r#"{"ports":{"http":"80"}}"#, "'ports.http' expected type 'int'"),
        (r#"{"recursors":"8.8.8.8"}"#, "'recursors': source data must be an array or slice"),
        (r#"{"retry_join":[1]}"#, "'retry_join[0]' expected type 'string'"),
        (r#"{"node_meta":{"a":1}}"#, "'node_meta[a]' expected type 'string'"),
        (r#"{"retry_interval":"5"}"#, "retry_interval: invalid duration: \"5\": time: missing"),
        (r#"{"services":[{"name":"a","foo":1}]}"#, "invalid config key services[0].foo"),
        (r#"{"service":{"name":"a","port":"80"}}"#, "service[0]: json: cannot unmarshal string"),
        (r#"{"server":true"#, "EOF while parsing an object"),
        (r#"[1]"#, "expected a map"),
    ] {
        let path = dir.file("x.json", text);
        let sources = Sources { paths: vec![path.clone()], ..Sources::default() };
        let fault = resolve(sources).unwrap_err();
        assert!(fault.contains(want) && fault.contains(path.to_str().unwrap()), "{text}: {fault}");
    }
    let fault =
        source::services(&dir.0.join("nosuch.json"), &mut Vec::new()).unwrap_err().to_string();
    assert!(fault.ends_with("nosuch.json: no such file or directory"), "{fault}");
}

#[test]
fn settings_that_do_not_do_stop_the_start() {
    for (text, want) in [
        ("bind_addr = \"foo\"", "bind_addr: invalid ip address: foo"),
        ("bind_addr = \"\"", "bind_addr cannot be empty"),
        ("bind_addr = \"1.2.3.4 1.2.3.5\"", "bind_addr cannot contain multiple addresses"),
        ("bind_addr = \"{{ Foo }}\"", "unknown address template \"Foo\""),
        ("advertise_addr = \"::\"", "Advertise address cannot be 0.0.0.0, :: or [::]"),
        ("client_addr = \"foo bar\"", "client_addr: invalid ip address: foo"),
        ("client_addr = \"unix:///x\"", "client_addr: cannot be a unix socket"),
        ("ports { http = 99999 }", "ports.http: invalid port: 99999"),
        ("ports { dns = 8500 }", "HTTP address 127.0.0.1:8500 already configured for DNS"),
        ("ports { server = -1 }", "ports.server: must be a valid port from 1 to 65535"),
        ("datacenter = \"a b\"", "datacenter cannot be \"a b\". Please use only [a-z0-9-_]"),
        ("bootstrap = true", "'bootstrap = true' requires 'server = true'"),
        ("bootstrap_expect = 3", "'bootstrap_expect > 0' requires 'server = true'"),
        ("bootstrap_expect = -1", "bootstrap_expect cannot be -1."),
        (
            "server = true bootstrap = true bootstrap_expect = 3",
            "'bootstrap_expect > 0' and 'bootstrap = true' are mutually exclusive",
        ),
        ("performance { raft_multiplier = 20 }", "cannot be 20. Must be between 1 and 10"),
        ("protocol = 9", "Protocol version '9' too high. Must be in range: [2, 3]"),
        ("protocol = 1", "Protocol version '1' too low. Must be in range: [2, 3]"),
        ("raft_protocol = 4", "Protocol version 4 must be >= 1 and <= 3"),
        ("autopilot { min_quorum = -1 }", "cannot be -1. Must be greater than or equal"),
        ("node_id = \"abc\"", "node_id: specified NodeID is invalid"),
        ("node_meta { consul-x = \"b\" }", "Key prefix 'consul-' is reserved for internal use"),
        ("log_level = \"foo\"", "Invalid log level: foo. Valid log levels are:"),
        ("check { name = \"b\" }", "Invalid check: TTL must be > 0 for TTL checks"),
        ("service { port = 1 }", "Missing service name"),
        ("limits { kv_max_value_size = 8388608 }", "Must be at most 3866624"),
        ("limits { txn_max_req_len = 8388608 }", "limits.txn_max_req_len: cannot be 8388608"),
        ("check_output_max_size = 0", "must be positive, to discard check output use"),
        ("recursors = [\"foo\"]", "recursors: invalid ip address: foo"),
        ("http_config { allow_write_http_from = [\"x\"] }", "invalid cidr: x"),
        ("unix_sockets { mode = \"9\" }", "unix_sockets.mode: invalid mode \"9\""),
        ("unix_sockets { user = \"no such\" }", "\"no such\" is not in /etc/passwd"),
        ("data_dir = \"/proc/version\"", "data_dir \"/proc/version\" is not a directory"),
        ("data_dir = \"\"", "data_dir cannot be empty"),
    ] {
        let fault = hcl(text).unwrap_err();
        assert!(fault.contains(want), "{text}: {fault}");
    }
}

#[test]
fn protection_that_would_not_be_given_stops_the_start() {
    for text in [
        "acl { enabled = true }",
        "acl_datacenter = \"dc1\"",
        "server = true verify_incoming = true",
        "verify_incoming_rpc = true",
        "verify_outgoing = true",
        "auto_encrypt { tls = true }",
    ] {
        let fault = hcl(text).unwrap_err();
        assert!(fault.contains("not supported by this build"), "{text}: {fault}");
    }
    hcl("acl { enabled = false } verify_incoming = false ports { https = -1 } encrypt = \"\"")
        .unwrap();
}

#[test]
fn a_gossip_key_is_base64_and_never_shown() {
    let (config, _) = hcl("encrypt = \"cg8StVXbQJ0gPvMd9o7yrg==\"").unwrap();
    assert_eq!(config.encrypt.as_deref(), Some("cg8StVXbQJ0gPvMd9o7yrg=="));
    assert!(config.encrypt_verify_incoming && config.encrypt_verify_outgoing);
    assert!(config.banner("id").contains("Gossip: true"));
    let shown = serde_json::Value::from(config.debug_config("id")).to_string();
    assert!(!shown.contains("cg8St"), "{shown}");
    let fault = hcl("encrypt = \"zz\"").unwrap_err();
    assert!(fault.contains("has invalid key: illegal base64 data at input byte 0"), "{fault}");
}

#[test]
fn settings_of_consul_without_effect_are_taken_with_a_warning() {
    let (_, warnings) = hcl("telemetry { circonus_api_app = \"x\" } connect { enabled = true }
         acl_ttl = \"1s\" segments = [] disable_update_check = true
         acl { default_policy = \"deny\" }")
    .unwrap();
    let all = warnings.join("\n");
    for key in ["telemetry.circonus_api_app", "connect.enabled", "acl_ttl"] {
        assert!(all.contains(&format!("\"{key}\" is not yet effective")), "{all}");
    }
    assert!(all.contains("\"segments\" is a Consul Enterprise configuration"));
    assert!(!all.contains("disable_update_check"));
}

#[test]
fn dev_needs_no_directory_and_keeps_nothing() {
    let sources = Sources { dev: true, ..Sources::default() };
    let config = resolve(sources).unwrap().0;
    assert!(config.dev && config.server && config.ui.is_some() && config.data_dir.is_none());
    assert_eq!(config.bind_addr.to_string(), "127.0.0.1");
    assert_eq!(config.gossip_lan.probe_interval, Duration::from_millis(100));
}

#[test]
fn addresses_of_all_forms_are_found() {
    let config = hcl(r#"bind_addr = "{{ GetInterfaceIP \"eth0\" }}"
           client_addr = "127.0.0.1 {{ GetPrivateIP }}"
           addresses { http = "unix:///run/x.sock 127.0.0.2" }
           ports { dns = -1 } recursors = ["8.8.8.8", "1.1.1.1:54"]
           tagged_addresses { lan = "10.9.9.9" }"#)
    .unwrap()
    .0;
    assert_eq!(config.advertise_addr.to_string(), "10.0.0.9");
    assert_eq!(config.client_addrs.len(), 2);
    assert_eq!(config.http_listen[0], Listen::Unix("/run/x.sock".into()));
    assert_eq!(config.http_listen[1], Listen::Tcp("127.0.0.2:8500".parse().unwrap()));
    assert!(config.dns_listen.is_empty());
    assert_eq!(config.dns.recursors[1], "1.1.1.1:54".parse().unwrap());
    assert_eq!(config.tagged_addresses["lan"], "10.9.9.9");
}

#[test]
fn a_reload_takes_over_what_may_change_and_names_the_rest() {
    let dir = Dir::new();
    let needed = "data_dir = \"/nonexistent/x\" bind_addr = \"127.0.0.1\" ";
    let path = dir.file("a.hcl", &format!("{needed} log_level = \"info\" node_name = \"a\""));
    let sources = Sources { paths: vec![path], ..Sources::default() };
    let (config, _) = Config::load(sources).unwrap();
    let text = "log_level = \"debug\" node_name = \"b\" service { name = \"s\" } server = true";
    dir.file("a.hcl", &format!("{needed} {text}"));
    for _ in 0..2 {
        let (new, warnings) = config.reload().unwrap();
        assert_eq!((new.log.level, new.services.len()), (LogLevel::Debug, 1));
        assert_eq!(
            (new.node_name.as_str(), new.server, new.leave_on_terminate),
            ("a", false, true)
        );
        let restart =
            ["server", "node_name"].map(|k| format!("{k} changed; restart to take it over"));
        assert_eq!(warnings, restart);
    }
    dir.file("a.hcl", "foo = 1");
    assert!(config.reload().is_err());
}

#[test]
fn one_expected_server_is_bootstrap() {
    let (config, warnings) = hcl("server = true bootstrap_expect = 1").unwrap();
    assert!(config.bootstrap && config.bootstrap_expect == 0);
    assert!(warnings.iter().any(|w| w.starts_with("bootstrap = true")));
}

#[test]
fn the_shown_configuration_has_consuls_names_and_no_secret() {
    let config = hcl("server = true acl { tokens { master = \"s3cret\" } }").unwrap().0;
    let shown = config.debug_config("id");
    assert_eq!(shown["BindAddr"], "0.0.0.0");
    assert_eq!(shown["ClientAddrs"][0], "127.0.0.1");
    assert_eq!(shown["SerfBindAddrLAN"], "tcp://0.0.0.0:8301");
    assert_eq!(shown["DNSMaxStale"], "87600h0m0s");
    assert_eq!(shown["GRPCPort"], -1);
    assert_eq!(shown["NodeID"], "id");
    assert!(!format!("{shown:?}").contains("s3cret"));
}

#[test]
fn the_web_interface_has_a_path_and_perhaps_a_folder() {
    for (text, want) in [
        ("", None),
        ("ui_content_path = \"/x/\"", None),
        ("ui = true", Some(("/ui/", None))),
        ("ui = true\nui_content_path = \"a//b_c\"", Some(("/a/b_c/", None))),
        ("ui_config { enabled = true\n content_path = \"/-/\" }", Some(("/-/", None))),
        ("ui_dir = \"/srv/ui\"", Some(("/ui/", Some("/srv/ui")))),
        ("ui_config { dir = \"/srv/ui\" }", Some(("/ui/", Some("/srv/ui")))),
    ] {
        let ui = hcl(text).unwrap().0.ui;
        let got =
            ui.as_ref().map(|ui| (&*ui.content_path, ui.dir.as_ref().and_then(|d| d.to_str())));
        assert_eq!(got, want, "{text}");
    }
    for (text, want) in [
        ("ui_content_path = \"a b\"", "alphanumeric, -, _, or /. received: /a b/"),
        ("ui_content_path = \"/\"", "received: //"),
        ("ui_content_path = \"../x\"", "received: /../x/"),
        ("ui = true\nui_dir = \"/x\"", "Both the ui and ui-dir flags were specified"),
    ] {
        let error = hcl(text).unwrap_err();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn syslog_has_a_facility() {
    let facility = |text: &str| hcl(text).unwrap().0.log.syslog.map(Facility::name);
    assert_eq!(facility(""), None);
    assert_eq!(facility("syslog_facility = \"DAEMON\""), None);
    assert_eq!(facility("enable_syslog = true"), Some("LOCAL0"));
    assert_eq!(facility("enable_syslog = true\nsyslog_facility = \"daemon\""), Some("DAEMON"));
    let error = hcl("syslog_facility = \"LOCAL9\"").unwrap_err();
    assert!(error.contains("syslog_facility: invalid syslog facility: LOCAL9"), "{error}");
}

#[test]
fn what_consul_takes_and_forgets_is_taken() {
    let text = "acl_enforce_version_8 = true\nacl_disabled_ttl = \"30s\"\nsegment_limit = 3\n\
                snapshot_agent { x = 1 }\nenable_debug = true\n\
                consul { coordinate { update_batch_size = 1 } }";
    let (_, warnings) = hcl(text).unwrap();
    let warned = |text: &str| warnings.iter().any(|warning| warning.contains(text));
    assert!(warned("config key \"acl_enforce_version_8\" is deprecated and should be removed"));
    assert!(warned("\"acl_disabled_ttl\" is not yet effective"));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(hcl("nonsense = 1").unwrap_err().contains("invalid config key nonsense"));
}

#[test]
fn the_readme_lists_what_has_no_effect_and_nothing_else() {
    let text = include_str!("../../README.md");
    let (_, text) = text.split_once("## Settings of Consul 1.8 without effect").unwrap();
    let (_, text) = text.split_once("no effect.\n").unwrap();
    let (lists, _) = text.split_once("\n## ").unwrap();
    let mut told = Vec::new();
    let mut section = None;
    for word in lists.split_ascii_whitespace() {
        let opens = word.starts_with("{`");
        if opens {
            section = told.pop();
        }
        let closes = word.contains('}');
        if let Some((_, rest)) = word.split_once('`') {
            let key = rest.split('`').next().unwrap();
            told.push(match &section {
                Some(section) => format!("{section}.{key}"),
                None => key.to_owned(),
            });
        }
        if closes {
            section = None;
        }
    }
    told.sort_unstable();
    let works = |effect| matches!(effect, Effect::Start | Effect::Reload);
    let idle = setting::all().filter(|setting| !works(setting.effect));
    let mut idle: Vec<_> = idle.map(|setting| setting.key.to_owned()).collect();
    idle.sort_unstable();
    assert_eq!(told, idle);
}
