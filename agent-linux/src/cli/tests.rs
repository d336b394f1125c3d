//! Verbs that need no agent, run in process.

use super::*;

/// Runs a command line; answers exit code, output and errors.
fn run(args: &[&str]) -> (u8, String, String) {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let env = |name: &str| (name == "CONSUL_HTTP_ADDR").then(|| "127.77.0.1:1".to_owned());
    let mut process = Process {
        env: &env,
        input: &mut std::io::empty(),
        output: &mut output,
        errors: &mut errors,
    };
    let code = dispatch(&args, &mut process);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (code, text(output), text(errors))
}

#[test]
fn verbs_are_sorted_and_every_family_has_some() {
    let paths: Vec<&str> = VERBS.iter().map(|verb| verb.spec().path).collect();
    assert!(paths.is_sorted());
    for (family, ..) in FAMILIES {
        assert!(!listing(family).is_empty(), "{family}");
    }
}

#[test]
fn flags_of_every_verb_are_unique_and_its_help_gives_an_example() {
    for verb in VERBS {
        let spec = verb.spec();
        let mut flags = verb.flags();
        flags.extend(client::flags(spec.api));
        let mut names: Vec<&str> = flags.iter().map(|flag| flag.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{}: {names:?}", spec.path);
        let words: Vec<&str> = spec.path.split(' ').chain(["-h"]).collect();
        let (code, output, _) = run(&words);
        assert_eq!(code, 0);
        assert!(output.starts_with(&format!("Usage: reeve {}", spec.path)), "{output}");
        assert!(output.contains(&format!("$ reeve {}", spec.path)), "{output}");
        assert!(output.lines().all(|line| line.len() <= 80), "{output}");
    }
}

#[test]
fn the_list_of_verbs_is_shown_where_it_belongs() {
    let (code, output, errors) = run(&["--help"]);
    assert_eq!((code, errors.as_str()), (0, ""));
    assert!(output.contains("\n    members        Lists the members of a cluster\n"), "{output}");
    for args in [[].as_slice(), &["frob"]] {
        let (code, output, errors) = run(args);
        assert_eq!((code, output.as_str()), (127, ""));
        assert!(errors.starts_with("Usage: reeve [--version] [--help] <command> [<args>]"));
    }
    for (args, wanted) in [
        (["help"].as_slice(), "Usage: reeve [--version]"),
        (&["help", "kv"], "Usage: reeve kv <subcommand>"),
        (&["help", "kv", "get"], "Usage: reeve kv get [options]"),
    ] {
        let (code, output, errors) = run(args);
        assert_eq!((code, errors.as_str()), (0, ""), "{args:?}");
        assert!(output.starts_with(wanted), "{args:?}: {output}");
    }
    for args in [["kv"].as_slice(), &["kv", "frob"], &["operator", "raft"]] {
        let (code, _, errors) = run(args);
        assert_eq!(code, 1);
        assert!(errors.contains("\nSubcommands:\n    "), "{errors}");
    }
}

#[test]
fn faults_in_arguments_are_told_in_consuls_words() {
    for (args, want) in [
        (["members", "-foo"].as_slice(), "flag provided but not defined: -foo\nUsage:\n  -ca-file"),
        (&["kv", "put", "-flags=x", "a"], "invalid value \"x\" for flag -flags: parse error"),
        (&["kv", "put"], "Error! Missing KEY argument"),
        (&["kv", "put", "a", "b", "c"], "Error! Too many arguments (expected 1 or 2, got 3)"),
        (&["kv", "put", "-cas", "a", "b"], "Must specify -modify-index with -cas!"),
        (&["kv", "put", "-cas", "-modify-index=0", "a"], "Must specify -modify-index with -cas!"),
        (&["kv", "delete", "-modify-index=3", "a"], "Cannot specify -modify-index without -cas!"),
        (&["lock", "-n=-1", "a", "b"], "Lock holder limit must be positive"),
        (&["lock", "-monitor-retry=-1", "a", "b"], "Number for 'monitor-retry' must be >= 0"),
        (&["lock", "-timeout=x", "a", "b"], "invalid value \"x\" for flag -timeout: parse error"),
        (&["keyring"], "Usage: reeve keyring [options]"),
        (&["keyring", "-list", "-relay-factor=6"], "Relay factor must be in range: [0, 5]"),
        (&["kv", "put", "-acquire", "a"], "Error! Missing -session (required with"),
        (&["kv", "put", "/a", "b"], "Invalid key. Key must not begin with a '/': /a"),
        (&["kv", "put", "-base64", "a", "*"], "Error! Cannot base 64 decode data:"),
        (&["kv", "put", "a", "@/nonexistent"], "Error! Failed to read file: open /nonexistent: no"),
        (&["kv", "get"], "Error! Missing KEY argument"),
        (&["kv", "get", "a", "-detailed"], "Too many arguments (expected 1, got 2)"),
        (&["kv", "delete"], "Error! Missing KEY argument"),
        (&["kv", "import"], "Error! Missing DATA argument"),
        (&["kv", "import", "xx"], "Cannot unmarshal data: "),
        (&["catalog", "nodes", "x"], "Too many arguments (expected 0, got 1)"),
        (&["join"], "At least one address to join must be specified.\n\nUsage: reeve join"),
        (&["force-leave", "a", "b"], "A single node name must be specified to force leave."),
        (
            &["agent", "-http-port=x"],
            "invalid value \"x\" for flag -http-port: strconv.Atoi: parsing \"x\": invalid syntax\n\
             Usage:\n  -advertise",
        ),
        (&["members", "-status=("], "Failed to compile status regexp: "),
        (
            &["services", "register"],
            "Service registration requires at least one argument or flags.",
        ),
        (&["event"], "Event name must be specified\n\nUsage: reeve event"),
        (&["event", "-name=a", "b", "c"], "Too many command line arguments.\n\nUsage: reeve"),
        (&["event", "-name=a", "-node=("], "Failed to compile node filter regexp: "),
        (&["event", "-name=a", "-tag=t"], "Cannot provide tag filter without service filter."),
        (&["exec"], "Must specify a command to execute\n\nUsage: reeve exec"),
        (&["exec", "-shell=false", "-"], "Cannot configure -shell=false when reading from stdin"),
        (&["exec", "-node=(", "a"], "Failed to compile node filter regexp: "),
        (&["exec", "-tag=a", "a"], "Cannot provide tag filter without service filter."),
        (&["exec", "-wait=x", "a"], "invalid value \"x\" for flag -wait: parse error"),
        (&["watch"], "Watch type must be specified\n\nUsage: reeve watch"),
        (&["watch", "-type=foo"], "Unsupported watch type: foo"),
        (&["watch", "-type=agent_service"], "Type agent_service is not supported in the CLI tool"),
        (&["watch", "-type=connect_roots"], "Type connect_roots is not supported in the CLI tool"),
        (&["watch", "-type=connect_leaf", "-key=a"], "Invalid parameters: [key]"),
        (&["watch", "-type=key"], "Must specify a single key to watch"),
        (&["watch", "-type=nodes", "-key=a"], "Invalid parameters: [key]"),
        (
            &["watch", "-type=service", "-service=a", "-passingonly=x"],
            "Failed to parse passingonly flag: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        (&["services", "register", "-name=a", "f"], "requires arguments or -id, not both."),
        (&["services", "deregister"], "Service deregistration requires at least one argument"),
        (&["maint", "-enable", "-disable"], "Only one of -enable or -disable may be provided"),
        (&["maint", "-reason=x"], "Reason may only be provided with -enable"),
        (&["operator", "raft", "remove-peer"], "an address or id is required for the peer to"),
        (&["validate"], "Must specify at least one config file or directory"),
        (&["agent", "x"], "==> Unexpected extra arguments: [x]"),
        (&["agent", "-join"], "flag needs an argument: -join"),
        (&["agent", "-bind=x", "-data-dir=/nonexistent"], "==> flag -bind: bind_addr: invalid ip"),
        (&["agent", "-hcl", "foo = 1"], "* invalid config key foo"),
    ] {
        let (code, output, errors) = run(args);
        assert_eq!((code, output.as_str()), (1, ""), "{args:?}");
        assert!(errors.contains(want), "{args:?}: {errors}");
    }
}

#[test]
fn leave_tells_its_usage_before_the_fault() {
    let (code, output, errors) = run(&["leave", "x", "y"]);
    assert_eq!((code, errors.as_str()), (1, "Error found unexpected args: [x y]\n"));
    assert!(output.starts_with("Usage: reeve leave [options]\n"), "{output}");
}

#[test]
fn some_verbs_tell_a_fault_in_flags_again_below_their_usage() {
    for (args, want) in [
        (["agent", "-frob"].as_slice(), "==> error parsing flags: "),
        (&["debug", "-frob"], "==> Error parsing flags: "),
        (&["operator", "autopilot", "set-config", "-frob"], "Failed to parse args: "),
    ] {
        let (code, _, errors) = run(args);
        assert_eq!(code, 1);
        let fault = "flag provided but not defined: -frob\n";
        assert!(errors.starts_with(&format!("{fault}Usage:\n  -")), "{args:?}: {errors}");
        assert!(errors.ends_with(&format!("\n{want}{fault}")), "{args:?}: {errors}");
    }
}

#[test]
fn an_agent_that_is_not_there_is_told_in_consuls_words() {
    for (args, want) in [
        (
            ["members"].as_slice(),
            "Error retrieving members: Get \"http://127.77.0.1:1/v1/agent/\
          members?segment=_all\": dial tcp 127.77.0.1:1: connect: connection refused\n",
        ),
        (&["kv", "get", "a"], "Error querying Consul agent: Get \"http://127.77.0.1:1/v1/kv/a\": "),
        (&["kv", "put", "a"], "Error! Failed writing data: Put \"http://127.77.0.1:1/v1/kv/a\": "),
        (&["kv", "delete", "a"], "Error deleting key a: Delete \"http://127.77.0.1:1/v1/kv/a\": "),
        (&["kv", "export"], "Get \"http://127.77.0.1:1/v1/kv/?recurse=\": dial tcp"),
        (&["info"], "Error querying agent: Get \"http://127.77.0.1:1/v1/agent/self\": dial tcp"),
        (&["join", "x"], "Error joining address 'x': Put \"http://127.77.0.1:1/v1/agent/join/x\""),
        (
            &["event", "-name=a"],
            "Error querying Consul agent: Get \"http://127.77.0.1:1/v1/agent/se",
        ),
        (&["watch", "-type=nodes"], "Error querying Consul agent: Get \"http://127.77.0.1:1/v1/ag"),
        (&["reload"], "Error reloading: Put \"http://127.77.0.1:1/v1/agent/reload\": dial tcp"),
        (&["leave"], "Error leaving: Put \"http://127.77.0.1:1/v1/agent/leave\": dial tcp"),
        (&["maint"], "Error querying Consul agent: Get \"http://127.77.0.1:1/v1/agent/self\": "),
        (&["catalog", "nodes"], "Error listing nodes: Get \"http://127.77.0.1:1/v1/catalog/nodes"),
        (&["operator", "raft", "list-peers"], "Error getting peers: Failed to retrieve raft conf"),
        (
            &["kv", "get", "-http-addr=unix:///nonexistent", "a"],
            "dial unix /nonexistent: connect: \
          no such file or directory",
        ),
        (
            &["info", "-token-file=/nonexistent"],
            "Error connecting to Consul agent: Error loading \
          token file: open /nonexistent: no such file or directory",
        ),
    ] {
        let (code, _, errors) = run(args);
        assert_eq!(code, 1, "{args:?}");
        assert!(errors.contains(want), "{args:?}: {errors}");
    }
}

#[test]
fn versions_are_shown() {
    for args in [["version"].as_slice(), &["--version"], &["-v"]] {
        let (code, output, _) = run(args);
        assert_eq!(code, 0);
        assert!(output.starts_with("Consul v1.8.7\nProtocol 2 spoken by default, understands 2"));
    }
    let (_, output, _) = run(&["version", "-format=json"]);
    let json: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(json["Version"], "1.8.7");
}

#[test]
fn keys_are_32_bytes_and_never_the_same() {
    use base64::Engine as _;
    let key = |(_, output, _): (u8, String, String)| {
        base64::engine::general_purpose::STANDARD.decode(output.trim_end()).unwrap()
    };
    let (a, b) = (key(run(&["keygen"])), key(run(&["keygen"])));
    assert_eq!(a.len(), 32);
    assert_ne!(a, b);
}
