//! Verbs that speak to an agent: output and exit codes as Consul's command line gives them.

mod support;

use std::process::{Command, Stdio};

use support::cluster::{Agent, Cluster};
use support::{PATIENCE, eventually};

/// Runs a verb against an agent; answers exit code, output and errors.
fn run(agent: &Agent, args: &[&str]) -> (Option<i32>, String, String) {
    // Always the command of this build, whatever the agents are.
    let mut command = Command::new(env!("CARGO_BIN_EXE_reeve"));
    command.env_clear().env("CONSUL_HTTP_ADDR", agent.http_address().to_string());
    let output = command.args(args).stdin(Stdio::null()).output().expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the command speaks UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Expects success and this output.
fn says(agent: &Agent, args: &[&str], want: &str) {
    assert_eq!(run(agent, args), (Some(0), want.to_owned(), String::new()), "{args:?}");
}

/// Expects exit code 1 and errors that hold a text.
fn refuses(agent: &Agent, args: &[&str], want: &str) {
    let (code, output, errors) = run(agent, args);
    assert_eq!((code, output.as_str()), (Some(1), ""), "{args:?}");
    assert!(errors.contains(want), "{args:?}: {errors}");
}

/// Starts one server and waits until it leads.
fn server() -> Cluster {
    let mut cluster = Cluster::loopback();
    cluster.add("cli-server", &["-server", "-bootstrap-expect=1"]);
    cluster.start(0);
    cluster.until_leader();
    cluster
}

#[test]
fn the_pictures_members_are_listed_as_consul_lists_them() {
    let mut cluster = Cluster::loopback().picture();
    for at in 0..4 {
        let names = ["agent128", "agent129", "agent130", "agent131"];
        cluster.until_members(at, &names.map(|name| (name, "alive")));
    }
    let client = cluster.named("agent131");
    assert_eq!(run(client, &["members", "-wan"]), (Some(2), String::new(), String::new()));
    let (code, output, _) = run(client, &["members"]);
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = output.lines().collect();
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let header = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"];
    assert_eq!(cells(lines[0]), header);
    let rows: Vec<Vec<String>> = lines[1..].iter().map(|line| cells(line)).collect();
    let seen: Vec<[&str; 6]> =
        rows.iter().map(|row| [0, 2, 3, 5, 6, 7].map(|column| row[column].as_str())).collect();
    assert_eq!(
        seen,
        [
            ["agent128", "alive", "server", "2", "dc1", "<all>"],
            ["agent129", "alive", "server", "2", "dc1", "<all>"],
            ["agent130", "alive", "server", "2", "dc1", "<all>"],
            ["agent131", "alive", "client", "2", "dc1", "<default>"],
        ]
    );
    // Columns line up: each begins where its header begins.
    for (at, name) in header.iter().enumerate() {
        let column = lines[0].find(name).expect("the header holds its names");
        for (line, row) in lines[1..].iter().zip(&rows) {
            assert!(line[column..].starts_with(&row[at]), "{output}");
        }
    }
    assert_eq!(
        run(client, &["members", "-status=failed"]),
        (Some(2), String::new(), String::new())
    );
    let (_, output, _) = run(client, &["members", "-detailed"]);
    assert!(output.contains("dc=dc1,") && output.contains("role=node,segment=<default>,"));

    let (_, output, _) = run(client, &["operator", "raft", "list-peers"]);
    let voters = output.lines().filter(|line| line.contains("true   3")).count();
    assert_eq!(voters, 3, "{output}");
    assert_eq!(output.lines().filter(|line| line.contains("  leader    ")).count(), 1, "{output}");
    eventually(PATIENCE, "the catalog lists four nodes", || {
        let (_, output, _) = run(client, &["catalog", "nodes"]);
        match output.lines().count() {
            5 => Ok(()),
            _ => Err(output),
        }
    });
}

#[test]
fn keys_are_written_and_read() {
    let cluster = server();
    let agent = &cluster.agents[0];
    says(agent, &["kv", "put", "a/b", "hello"], "Success! Data written to: a/b\n");
    says(agent, &["kv", "get", "a/b"], "hello\n");
    says(agent, &["kv", "get", "-base64", "a/b"], "aGVsbG8=\n");
    says(agent, &["kv", "put", "-flags=42", "a/c"], "Success! Data written to: a/c\n");
    says(agent, &["kv", "get", "-recurse", "a"], "a/b:hello\na/c:\n");
    says(agent, &["kv", "get", "-keys", "a"], "a/\n");
    says(agent, &["kv", "get", "-keys", "-separator=", "a/"], "a/b\na/c\n");
    let (_, output, _) = run(agent, &["kv", "get", "-detailed", "a/c"]);
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].starts_with("CreateIndex      "));
    assert_eq!(lines[1..4], ["Flags            42", "Key              a/c", "LockIndex        0"]);
    assert_eq!(lines[5..], ["Session          -", "Value"]);

    refuses(agent, &["kv", "get", "nope"], "Error! No key exists at: nope\n");
    refuses(
        agent,
        &["kv", "put", "-cas", "-modify-index=1", "a/b", "x"],
        "Error! Did not write to a/b: CAS failed\n",
    );
    let unknown = "-session=00000000-0000-0000-0000-000000000000";
    refuses(
        agent,
        &["kv", "put", "-acquire", unknown, "a/b"],
        "Error! Failed writing data: Unexpected response code: 500 (invalid session",
    );
    says(
        agent,
        &["kv", "export", "a/"],
        "[\n\t{\n\t\t\"key\": \"a/b\",\n\t\t\"flags\": 0,\n\t\t\"value\": \"aGVsbG8=\"\n\t},\n\t\
         {\n\t\t\"key\": \"a/c\",\n\t\t\"flags\": 42,\n\t\t\"value\": \"\"\n\t}\n]\n",
    );
    let (_, tree, _) = run(agent, &["kv", "export"]);
    says(agent, &["kv", "delete", "-recurse"], "Success! Deleted keys with prefix: \n");
    says(agent, &["kv", "export"], "[]\n");
    let (code, imported, _) = run(agent, &["kv", "import", &tree]);
    assert_eq!(code, Some(0));
    assert!(imported.contains("Imported: a/b\nImported: a/c\n"), "{imported}");
    says(agent, &["kv", "get", "a/b"], "hello\n");
    let odd = "sp ace/\u{e9}?#%&+";
    says(agent, &["kv", "put", odd, "x"], &format!("Success! Data written to: {odd}\n"));
    says(agent, &["kv", "get", odd], "x\n");
    says(agent, &["kv", "delete", odd], &format!("Success! Deleted key: {odd}\n"));
    refuses(agent, &["kv", "get", "-datacenter=dc9", "a"], "Unexpected response code: 500");
}

#[test]
fn services_come_and_go() {
    let cluster = server();
    let agent = &cluster.agents[0];
    let file = agent.folder().join("services.hcl");
    let text = "service { name = \"db\" id = \"db1\" port = 1 tags = [\"z\", \"a\"] }\n\
                service { name = \"web\" check { ttl = \"10s\" } }\n";
    // Consul takes repeated blocks under `services` only.
    std::fs::write(&file, text.replace("service {", "services {")).expect("a file");
    let file = file.to_str().expect("a UTF-8 path");
    says(
        agent,
        &["services", "register", file],
        "Registered service: db\nRegistered service: web\n",
    );
    says(
        agent,
        &["services", "register", "-name=api", "-port=80", "-tag=v1", "-meta=k=v"],
        "Registered service: api\n",
    );
    eventually(PATIENCE, "the catalog lists the services", || {
        let (_, output, _) = run(agent, &["catalog", "services", "-tags"]);
        match output.as_str() {
            "api         v1\nconsul      \ndb          a,z\nweb\n" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
    let (_, output, _) = run(agent, &["catalog", "nodes", "-service=api"]);
    assert!(output.contains("\ncli-server  "), "{output}");
    says(
        agent,
        &["maint", "-enable", "-service=db1", "-reason=disk"],
        "Service maintenance is now enabled for \"db1\"\n",
    );
    says(agent, &["maint", "-enable", "-reason=move"], "Node maintenance is now enabled\n");
    let shown = "Node:\n  Name:   cli-server\n  Reason: move\n\nService:\n  ID:     db1\n  Reason: \
                 disk\n\n";
    says(agent, &["maint"], shown);
    says(agent, &["maint", "-disable"], "Node maintenance is now disabled\n");
    says(agent, &["services", "deregister", "-id=db1"], "Deregistered service: db1\n");
    says(
        agent,
        &["services", "deregister", file],
        "Deregistered service: db1\nDeregistered service: web\n",
    );
    eventually(PATIENCE, "the catalog forgets the services", || {
        let (_, output, _) = run(agent, &["catalog", "services"]);
        if output == "api\nconsul\n" { Ok(()) } else { Err(output) }
    });
    refuses(
        agent,
        &["maint", "-enable", "-service=nope"],
        "Error enabling service maintenance: Unexpected response code: 404 (No service",
    );
    let (code, _, errors) = run(agent, &["catalog", "nodes", "-service=nope"]);
    let want = "No nodes match the given query - try expanding your search.\n";
    assert_eq!((code, errors.as_str()), (Some(0), want));
}

#[test]
fn an_agent_is_told_to_reload_join_and_leave() {
    let mut cluster = server();
    let join = cluster.agents[0].address.to_string();
    cluster.add("cli-client", &[]);
    cluster.start(1);
    cluster.until_http(1);
    let client = &cluster.agents[1];
    says(client, &["join", &join], "Successfully joined cluster by contacting 1 nodes.\n");
    refuses(client, &["join", "127.77.2.1"], "Failed to join any nodes.\n");
    cluster.until_members(0, &[("cli-server", "alive"), ("cli-client", "alive")]);
    says(client, &["catalog", "datacenters"], "dc1\n");
    says(client, &["reload"], "Configuration reload triggered\n");
    let (_, output, _) = run(client, &["info"]);
    for line in ["agent:\n", "build:\n", "\nconsul:\n", "\tserver = false\n", "\nserf_lan:\n"] {
        assert!(output.contains(line), "{output}");
    }
    refuses(client, &["force-leave", "nope"], "(agent: No node found with name 'nope')");
    says(client, &["leave"], "Graceful leave complete\n");
    assert!(cluster.agents[1].wait().success());
    cluster.until_members(0, &[("cli-server", "alive"), ("cli-client", "left")]);
    says(&cluster.agents[0], &["force-leave", "-prune", "cli-client"], "");
    cluster.until_members(0, &[("cli-server", "alive")]);
    refuses(
        &cluster.agents[0],
        &["operator", "raft", "remove-peer", "-id=nope"],
        "Error removing peer: Unexpected response code: 500 (id \"nope\" was not found",
    );
}
