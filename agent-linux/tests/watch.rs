//! Watches: the verb in all its types, and those of the configuration with their handlers.

mod support;

use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use support::cluster::{Agent, Cluster};
use support::{Folder, PATIENCE, eventually, loopback, reeve};

/// One server that elects itself, with more flags.
fn server(flags: &[&str]) -> Cluster {
    let mut cluster = Cluster::loopback();
    cluster.add("n1", &[&["-server", "-bootstrap-expect=1"][..], flags].concat());
    cluster.start(0);
    cluster.until_leader();
    cluster
}

/// Runs `watch` and answers what it shows.
fn shown(agent: &Agent, arguments: &[&str]) -> Value {
    let output = agent.cli(&[&["watch"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A `watch` that runs until it is dropped.
struct Watching(Child);

impl Watching {
    fn start(agent: &Agent, arguments: &[&str]) -> Self {
        let mut command = Command::new(reeve());
        command.arg("watch").args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.env("CONSUL_HTTP_ADDR", agent.http_address().to_string()).env("SHELL", "/bin/sh");
        Self(command.spawn().expect("reeve starts"))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until so many events of the name `deploy` were heard; answers them.
fn until_heard(agent: &Agent, count: usize) -> Vec<Value> {
    eventually(PATIENCE, "events are heard", || {
        let list = agent.http().get("/v1/event/list?name=deploy").json();
        let list = list.as_array().cloned().unwrap_or_default();
        if list.len() == count { Ok(list) } else { Err(format!("{list:?}")) }
    })
}

/// Waits until a file has these lines.
fn until_lines(file: &Path, wanted: &[String]) {
    eventually(PATIENCE, &format!("lines of {}", file.display()), || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().eq(wanted) { Ok(()) } else { Err(text) }
    });
}

/// Waits until a file's last line is this.
fn until_last_line(file: &Path, wanted: &str) {
    eventually(PATIENCE, &format!("last line of {}", file.display()), || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().last() == Some(wanted) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn every_type_shows_what_the_agent_knows() {
    let cluster = server(&[]);
    let agent = &cluster.agents[0];
    let http = agent.http();
    let web = json!({"Name": "web", "Tags": ["a", "b"], "Check": {"TTL": "1h"}});
    assert_eq!(http.put("/v1/agent/service/register", web.to_string()).status, 200);
    http.put("/v1/kv/a/b", "1");
    http.put("/v1/event/fire/deploy", "pay");
    until_heard(agent, 1);
    for (arguments, path) in [
        (vec!["-type=nodes"], "/v1/catalog/nodes"),
        (vec!["-type=services"], "/v1/catalog/services"),
        (vec!["-type=service", "-service=web"], "/v1/health/service/web"),
        (vec!["-type=service", "-service=web", "-tag=a", "-tag=x"], "/v1/health/service/none"),
        (
            vec!["-type=service", "-service=web", "-passingonly=true"],
            "/v1/health/service/web?passing",
        ),
        (vec!["-type=checks"], "/v1/health/state/any"),
        (vec!["-type=checks", "-state=critical"], "/v1/health/state/critical"),
        (vec!["-type=checks", "-service=web"], "/v1/health/checks/web"),
        (vec!["-type=event", "-name=deploy"], "/v1/event/list"),
        (vec!["-type=event", "-name=none"], "/v1/event/list?name=none"),
    ] {
        assert_eq!(shown(agent, &arguments), http.get(path).json(), "{arguments:?}");
    }
    let rows = http.get("/v1/kv/a/b").json();
    let index = &rows[0]["ModifyIndex"];
    let row = json!({"Key": "a/b", "CreateIndex": index, "ModifyIndex": index, "LockIndex": 0,
                     "Flags": 0, "Value": "MQ==", "Session": ""});
    assert_eq!(shown(agent, &["-type=key", "-key=a/b"]), row);
    assert_eq!(shown(agent, &["-type=keyprefix", "-prefix=a/"]), json!([row]));
    for nothing in [["-type=key", "-key=zz"], ["-type=keyprefix", "-prefix=zz"]] {
        assert_eq!(shown(agent, &nothing), Value::Null);
    }
    let text = agent.cli(&["watch", "-type=services"]).stdout;
    let want = "{\n    \"consul\": [],\n    \"web\": [\n        \"a\",\n        \"b\"\n    ]\n}\n";
    assert_eq!(String::from_utf8_lossy(&text), want);
}

#[test]
fn a_command_runs_for_each_new_result_until_it_fails() {
    let cluster = server(&[]);
    let agent = &cluster.agents[0];
    let folder = Folder::new("watch");
    let file = folder.path().join("seen");
    let script = format!(
        "cat > {0}.json; echo $CONSUL_INDEX >> {0}; ! grep -q ZW5k {0}.json",
        file.display()
    );
    let mut watching = Watching::start(agent, &["-type=key", "-key=k", &script]);
    until_lines(&file, &["1".to_owned()]);
    let mut lines = vec!["1".to_owned()];
    for value in ["x", "y"] {
        agent.http().put("/v1/kv/k", value);
        agent.http().put("/v1/kv/other", value);
        let index = agent.http().get("/v1/kv/k").json()[0]["ModifyIndex"].to_string();
        lines.push(index);
        until_lines(&file, &lines);
    }
    agent.http().put("/v1/kv/k", "end");
    let status = eventually(PATIENCE, "the watch ends", || match watching.0.try_wait() {
        Ok(Some(status)) => Ok(status),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(status.code(), Some(1));
    for (command, what) in [
        (["-shell=false", "/nonexistent"].as_slice(), "Error starting handler: fork/exec /nonex"),
        (&["-shell=false", "no-such-thing"], "Error starting handler: exec: \"no-such-thing\": "),
        (&["exit 3"], "Error executing handler: exit status 3"),
    ] {
        let ended = agent.cli(&[&["watch", "-type=nodes"], command].concat());
        assert_eq!(ended.status.code(), Some(1));
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(told.contains(what), "{told}");
    }
}

#[test]
fn each_event_is_handed_over_once() {
    let cluster = server(&[]);
    let agent = &cluster.agents[0];
    let folder = Folder::new("watch-event");
    let file = folder.path().join("seen");
    let script = format!("cat >> {}", file.display());
    let _watching = Watching::start(agent, &["-type=event", "-name=deploy", &script]);
    until_lines(&file, &["[]".to_owned()]);
    let mut wanted = vec![json!([])];
    for (count, payload) in ["a", "b", "c"].into_iter().enumerate() {
        agent.http().put("/v1/event/fire/deploy", payload);
        agent.http().put("/v1/event/fire/other", payload);
        let heard = until_heard(agent, count + 1);
        wanted.push(json!([heard[count]]));
        eventually(PATIENCE, "the event is handed over", || {
            let seen = std::fs::read_to_string(&file).unwrap_or_default();
            let seen: Result<Vec<Value>, _> = seen.lines().map(serde_json::from_str).collect();
            match seen {
                Ok(seen) if seen == wanted => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}

/// A place that HTTP handlers send to: answers 200, and hands heads and bodies on.
fn receiver() -> (String, mpsc::Receiver<(String, String)>) {
    let address: Ipv4Addr = loopback();
    let listener = TcpListener::bind((address, 0)).expect("a listener");
    let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).expect("a line");
                let lower = line.to_lowercase();
                if let Some(value) = lower.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                head += &lower;
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            lines.read_exact(&mut body).expect("a body");
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            lines.get_mut().write_all(answer).expect("answered");
            if sender.send((head, String::from_utf8(body).expect("text"))).is_err() {
                return;
            }
        }
    });
    (url, received)
}

#[test]
fn watches_of_the_configuration_call_their_handlers_and_change_on_reload() {
    let folder = Folder::new("watch-config");
    let config = folder.path().join("watch.json");
    let seen = |name: &str| folder.path().join(name);
    let script = |key: &str, name: &str| {
        let line = format!("echo $CONSUL_INDEX >> {}; cat >> {0}", seen(name).display());
        json!({"type": "key", "key": key, "args": ["sh", "-c", line]})
    };
    let (url, posts) = receiver();
    let hook = json!({"type": "keyprefix", "prefix": "p/", "handler_type": "http",
                      "http_handler_config": {"path": url, "header": {"X-Mine": ["1"]}}});
    let write = |watches: Value| {
        let text = json!({"watches": watches}).to_string();
        std::fs::write(&config, text).expect("configuration");
    };
    write(json!([script("a", "first"), hook]));
    let cluster = server(&[&format!("-config-file={}", config.display())]);
    let agent = &cluster.agents[0];
    until_last_line(&seen("first"), "null");
    let (head, body) = posts.recv_timeout(PATIENCE).expect("the present result");
    assert_eq!(body, "null\n");
    assert!(head.starts_with("post /hook http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-consul-index: 1\r\n") && head.contains("\r\nx-mine: 1\r\n"));
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    agent.http().put("/v1/kv/a", "1");
    agent.http().put("/v1/kv/p/x", "1");
    let index = agent.http().get("/v1/kv/a").json()[0]["ModifyIndex"].clone();
    let row = json!({"Key": "a", "CreateIndex": index, "ModifyIndex": index, "LockIndex": 0,
                     "Flags": 0, "Value": "MQ==", "Session": ""});
    eventually(PATIENCE, "the script is called", || {
        let text = std::fs::read_to_string(seen("first")).expect("written before");
        let last = text.lines().last().and_then(|line| serde_json::from_str::<Value>(line).ok());
        if last.as_ref() == Some(&row) { Ok(()) } else { Err(text) }
    });
    let (_, body) = posts.recv_timeout(PATIENCE).expect("the new result");
    assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON")[0]["Key"], "p/x");
    // One goes, one stays, one comes.
    write(json!([hook, script("b", "second")]));
    agent.signal(Signal::HUP);
    until_last_line(&seen("second"), "null");
    let before = std::fs::read_to_string(seen("first")).expect("written before");
    agent.http().put("/v1/kv/a", "2");
    agent.http().put("/v1/kv/b", "2");
    agent.http().put("/v1/kv/p/y", "2");
    let (_, body) = posts.recv_timeout(PATIENCE).expect("the new result");
    let keys = serde_json::from_str::<Value>(&body).expect("JSON");
    assert_eq!(keys.as_array().map(Vec::len), Some(2), "it went on where it was: {keys}");
    eventually(PATIENCE, "the new script is called", || {
        let text = std::fs::read_to_string(seen("second")).expect("written before");
        if text.contains("\"Mg==\"") { Ok(()) } else { Err(text) }
    });
    assert_eq!(std::fs::read_to_string(seen("first")).expect("written before"), before);
    // What is no watch is refused, and those that run stay.
    write(json!([{"type": "foo", "args": ["true"]}]));
    let reload = agent.cli(&["reload"]);
    let told = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(
        told.contains("watches[0]: Failed to parse watch: Unsupported watch type: foo"),
        "{told}"
    );
    agent.http().put("/v1/kv/p/z", "3");
    posts.recv_timeout(PATIENCE).expect("the watch goes on");
}

#[test]
fn a_service_of_the_agent_is_watched_by_the_configuration() {
    let folder = Folder::new("watch-service");
    let file = folder.path().join("seen");
    let line = format!("echo $CONSUL_INDEX >> {}; cat >> {0}", file.display());
    let watch = json!({"type": "agent_service", "service_id": "web", "args": ["sh", "-c", line]});
    let config = folder.path().join("watch.json");
    let web = json!({"name": "web", "port": 80});
    let text = json!({"watches": [watch], "services": [web]}).to_string();
    std::fs::write(&config, text).expect("configuration");
    let cluster = server(&[&format!("-config-file={}", config.display())]);
    let http = cluster.agents[0].http();
    let mut wanted = Vec::new();
    for port in [80, 81, 82] {
        let web = json!({"Name": "web", "Port": port}).to_string();
        assert_eq!(http.put("/v1/agent/service/register", web).status, 200);
        let shown = http.get("/v1/agent/service/web").text();
        assert!(shown.contains("\"ContentHash\""), "{shown}");
        wanted.extend(["0".to_owned(), shown.trim_end().to_owned()]);
        until_lines(&file, &wanted);
    }
}
