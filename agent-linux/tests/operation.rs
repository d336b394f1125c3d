//! What operators look at: the log as it is written, the machine; what systemd hears.

mod support;

use flate2::read::GzDecoder;
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use support::cluster::{Agent, Cluster};
use support::{Folder, PATIENCE, eventually, reeve};

/// One server, once it leads.
fn server() -> Cluster {
    let mut cluster = Cluster::loopback();
    cluster.add("watched", &["-server", "-bootstrap-expect=1"]);
    cluster.start(0);
    cluster.until_leader();
    cluster
}

/// Makes the agent log something at each of the levels up to debug.
fn stir(agent: &Agent) {
    agent.http().put("/v1/agent/maintenance?enable=true&reason=stirred", "");
    agent.http().put("/v1/agent/maintenance?enable=false", "");
    agent.http().get("/v1/kv/a?dc=elsewhere");
}

/// Opens the log's stream; answers the head and the rest.
fn follow(agent: &Agent, target: &str, further: &str) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(agent.http_address()).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{further}\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut lines = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).expect("a head") > 0, "{head}");
    }
    (head.to_ascii_lowercase(), lines)
}

/// Takes the chunks off a body.
struct Unchunked<R>(R, Vec<u8>);

impl<R: BufRead> Read for Unchunked<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            self.1 = vec![0; size + 2];
            self.0.read_exact(&mut self.1)?;
            self.1.truncate(size);
        }
        let count = to.len().min(self.1.len());
        to[..count].copy_from_slice(&self.1[..count]);
        self.1.drain(..count);
        Ok(count)
    }
}

#[test]
fn the_log_comes_compressed_line_by_line() {
    let cluster = server();
    let agent = &cluster.agents[0];
    let gzip = "Accept-Encoding: gzip\r\n";
    let (head, rest) = follow(agent, "/v1/agent/monitor?loglevel=debug", gzip);
    assert!(head.starts_with("http/1.1 200") && head.contains("content-encoding: gzip"), "{head}");
    let mut lines = BufReader::new(GzDecoder::new(Unchunked(rest, Vec::new())));
    stir(agent);
    let mut line = String::new();
    while !line.contains("[DEBUG]") {
        line.clear();
        assert!(lines.read_line(&mut line).expect("a line") > 0, "the stream goes on");
    }
}

#[test]
fn the_log_comes_as_json_too() {
    let cluster = server();
    let agent = &cluster.agents[0];
    let (_, rest) = follow(agent, "/v1/agent/monitor?loglevel=debug&logjson", "");
    let mut lines = BufReader::new(Unchunked(rest, Vec::new()));
    stir(agent);
    let mut line = String::new();
    lines.read_line(&mut line).expect("a line");
    let read: serde_json::Value = serde_json::from_str(&line).expect(&line);
    for field in ["@level", "@message", "@timestamp"] {
        assert!(read[field].is_string(), "{line}");
    }
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_verb_monitor_shows_lines_at_once() {
    let cluster = server();
    let agent = &cluster.agents[0];
    let refused = agent.cli(&["monitor", "-log-level=zz"]);
    assert_eq!(refused.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    let want = "Error starting monitor: Unexpected response code: 400 (Bad request: Unknown log \
                level: zz)";
    assert!(errors.contains(want), "{errors}");
    let mut command = Command::new(reeve());
    command.env("CONSUL_HTTP_ADDR", agent.http_address().to_string());
    command.args(["monitor", "-log-level=debug"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut running = Running(command.spawn().expect("the command runs"));
    let mut lines = BufReader::new(running.0.stdout.take().expect("its output"));
    let (done, until) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut line = String::new();
            while !line.contains("[DEBUG]") {
                line.clear();
                assert!(lines.read_line(&mut line).expect("a line") > 0, "the log ended");
            }
            done.send(()).expect("the test waits");
        });
        eventually(PATIENCE, "a line is shown", || {
            stir(agent);
            until.try_recv().map_err(|error| error.to_string())
        });
    });
}

#[test]
fn systemd_hears_when_an_agent_is_ready_and_when_it_stops() {
    if std::env::var("REEVE_UNDER_TEST").is_ok() {
        eprintln!("skipped: Consul is ready only once it has joined somebody");
        return;
    }
    let folder = Folder::new("notify");
    let path = folder.path().join("socket");
    let socket = UnixDatagram::bind(&path).expect("binds");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let heard = || {
        let mut room = [0; 64];
        let len = socket.recv(&mut room).expect("a message");
        String::from_utf8_lossy(&room[..len]).into_owned()
    };
    let mut cluster = Cluster::loopback();
    let agent = cluster.add("told", &["-server", "-bootstrap-expect=1"]);
    let variable = format!("NOTIFY_SOCKET={}", path.display());
    agent.run_by(vec!["env".into(), variable, reeve()]);
    cluster.start(0);
    assert_eq!(heard(), "READY=1");
    assert_eq!(cluster.agents[0].http().get("/v1/agent/self").status, 200, "it answers by now");
    cluster.agents[0].stop(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
}

#[test]
fn the_machine_is_described() {
    let cluster = server();
    let host = cluster.agents[0].http().get("/v1/agent/host").json();
    let number = |part: &str, name: &str| host[part][name].as_u64().unwrap_or(0);
    assert!(number("Memory", "total") >= number("Memory", "available"));
    assert!(number("Memory", "available") > 0 && number("Disk", "total") > 0);
    assert!(number("Host", "bootTime") > 1_600_000_000 && number("Host", "procs") > 1);
    let cpus = host["CPU"].as_array().expect("processors");
    assert_eq!(cpus[0]["cpu"], 0);
    for (part, name) in [("Host", "kernelVersion"), ("Host", "hostname"), ("Disk", "fstype")] {
        assert!(!host[part][name].as_str().unwrap_or_default().is_empty(), "{part}.{name}");
    }
    assert!(host["CollectionTime"].as_u64().unwrap() > 1_600_000_000_000_000_000);
    assert!(host["Errors"].is_null());
}

#[test]
fn the_verb_debug_packs_what_an_agent_tells_of_itself() {
    let cluster = server();
    let agent = &cluster.agents[0];
    let output = agent.folder().join("debug");
    let output = output.display();
    for (flags, want) in [
        (vec!["-duration=1s"], "duration must be longer than 10s"),
        (vec!["-interval=1s"], "interval must be longer than 5s"),
        (vec!["-capture=everything"], "target not found: everything"),
    ] {
        let refused = agent.cli(&[&["debug"][..], &flags].concat());
        assert_eq!(refused.status.code(), Some(1), "{flags:?}");
        let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(errors.trim(), format!("==> Capture validation failed: {want}"));
    }
    let flags = ["debug", "-duration=10s", "-interval=6s", &format!("-output={output}")];
    let done = agent.cli(&flags);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("         Capture: 'metrics, logs, host, agent, cluster'\n"), "{said}");
    assert!(said.ends_with(&format!("    Saved debug archive: {output}.tar.gz\n")), "{said}");
    let list = Command::new("tar").arg("-tzf").arg(format!("{output}.tar.gz")).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    for file in ["index.json", "agent.json", "host.json", "cluster.json"] {
        assert!(list.contains(&format!("debug/{file}\n")), "{list}");
    }
    for (file, count) in [("/metrics.json\n", 3), ("/consul.log\n", 2)] {
        assert_eq!(list.matches(file).count(), count, "{file} in {list}");
    }
    assert!(!std::path::Path::new(&output.to_string()).exists(), "only the archive is left");
}

#[test]
fn the_verb_debug_packs_what_it_has_when_it_is_interrupted() {
    let cluster = server();
    let agent = &cluster.agents[0];
    let output = agent.folder().join("debug");
    let mut command = agent.command(&["debug", "-duration=1h", "-interval=30m"]);
    command.arg(format!("-output={}", output.display()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command runs");
    eventually(PATIENCE, "the log is being captured", || {
        stir(agent);
        let rounds = std::fs::read_dir(&output).map_err(|error| error.to_string())?;
        let mut logs = rounds.flatten().map(|round| round.path().join("consul.log"));
        let begun = logs.any(|log| log.metadata().is_ok_and(|log| log.len() > 0));
        if begun { Ok(()) } else { Err("no log".to_owned()) }
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::INT).expect("signal sent");
    eventually(PATIENCE, "the command ends", || match child.try_wait() {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let done = child.wait_with_output().expect("the command ended");
    assert_eq!(done.status.code(), Some(0));
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(errors.contains("stopping collection due to shutdown signal"), "{errors}");
    let archive = format!("{}.tar.gz", output.display());
    let list = Command::new("tar").arg("-tzf").arg(&archive).output().unwrap();
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    for file in ["/index.json\n", "/consul.log\n", "/metrics.json\n"] {
        assert!(list.contains(file), "{list}");
    }
    assert!(!output.exists(), "only the archive is left");
}

#[test]
fn an_agent_asks_servers_no_more_often_than_it_may_until_a_reload_allows_it() {
    let mut cluster = Cluster::loopback();
    let agent = cluster.add("limited", &["-server", "-bootstrap-expect=1"]);
    let path = agent.folder().join("limits.hcl");
    agent.flag(format!("-config-file={}", path.display()));
    let write = |limits: &str| {
        let text = format!("translate_wan_addrs = true\nlimits {{ {limits} }}\n");
        std::fs::write(&path, text).expect("a file");
    };
    write("rpc_rate = -1");
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    let answer = agent.http().get("/v1/catalog/nodes");
    assert_eq!((answer.status, answer.header("x-consul-translate-addresses")), (200, Some("true")));
    write("rpc_rate = 0 rpc_max_burst = 3");
    assert_eq!(agent.http().put("/v1/agent/reload", "").status, 200);
    let refused = eventually(PATIENCE, "the burst is used up", || {
        let answer = agent.http().get("/v1/catalog/nodes");
        if answer.status == 429 { Ok(answer) } else { Err(answer.text()) }
    });
    assert_eq!(refused.text(), "");
    assert_eq!(agent.http().put("/v1/kv/a", "b").status, 429);
    assert_eq!(agent.http().get("/v1/agent/self").status, 200, "nobody else is asked");
    write("rpc_rate = -1");
    assert_eq!(agent.http().put("/v1/agent/reload", "").status, 200);
    assert_eq!(agent.http().put("/v1/kv/a", "b").text(), "true");
}

#[test]
fn a_client_may_have_as_many_connections_as_the_last_reload_says() {
    let mut cluster = Cluster::loopback();
    let agent = cluster.add("limited", &["-server", "-bootstrap-expect=1"]);
    let path = agent.folder().join("limits.hcl");
    agent.flag(format!("-config-file={}", path.display()));
    let write = |max: u32| {
        let text = format!("limits {{ http_max_conns_per_client = {max} }}\n");
        std::fs::write(&path, text).expect("a file");
    };
    write(100);
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    // Tells whether a further connection is served; one that is not is closed at once.
    let hold = || {
        let mut stream = TcpStream::connect(agent.http_address()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stream.write_all(b"GET /v1/agent/self HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut first = [0; 1];
        match stream.read(&mut first) {
            Ok(1) => Ok(stream),
            other => Err(format!("{other:?}")),
        }
    };
    let mut held: Vec<TcpStream> = (0..6).map(|_| hold().expect("far from the limit")).collect();
    write(4);
    assert_eq!(agent.http().put("/v1/agent/reload", "").status, 200);
    eventually(PATIENCE, "six are more than four", || match hold() {
        Err(_) => Ok(()),
        Ok(_) => Err("one more was served".to_string()),
    });
    held.truncate(2);
    let third = eventually(PATIENCE, "places come free", hold);
    write(100);
    agent.signal(Signal::HUP);
    eventually(PATIENCE, "a reload allows more", || {
        held.push(hold()?);
        if held.len() > 6 { Ok(()) } else { Err(held.len().to_string()) }
    });
    drop(third);
}

#[test]
fn http_is_served_on_a_unix_socket_with_its_mode() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("sockets");
    let socket = folder.path().join("http.sock");
    let mut cluster = Cluster::loopback();
    let listen = format!("addresses {{ http = \"unix://{}\" }}", socket.display());
    let modes = "unix_sockets { mode = \"0640\" }";
    cluster.add("socket", &["-server", "-bootstrap-expect=1", "-hcl", &listen, "-hcl", modes]);
    cluster.start(0);
    let agent = &cluster.agents[0];
    let address = format!("unix://{}", socket.display());
    let verb = |args: &[&str]| {
        let mut command = agent.command(args);
        command.env("CONSUL_HTTP_ADDR", &address).output().expect("the command runs")
    };
    eventually(PATIENCE, "a key is written", || {
        let done = verb(&["kv", "put", "a", "b"]);
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        if done.status.success() { Ok(()) } else { Err(errors) }
    });
    assert_eq!(verb(&["kv", "get", "a"]).stdout, b"b\n");
    let mode = socket.metadata().expect("the socket").permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(TcpStream::connect(agent.http_address()).is_err(), "nothing else is listened on");
}

#[test]
fn a_server_heeds_how_its_page_its_paths_and_its_snapshots_are_set() {
    let folder = Folder::new("site");
    std::fs::write(folder.path().join("index.html"), "own page").expect("a page");
    let mut cluster = Cluster::loopback();
    let dir = format!("-ui-dir={}", folder.path().display());
    let flags = [
        "-server",
        "-bootstrap-expect=1",
        &dir,
        "-ui-content-path=own/path",
        "-syslog",
        "-hcl=disable_http_unprintable_char_filter = true",
        "-hcl=raft_snapshot_interval = \"50ms\"\nraft_snapshot_threshold = 5",
    ];
    cluster.add("set", &flags);
    cluster.start(0);
    cluster.until_leader();
    let agent = &cluster.agents[0];
    assert_eq!(agent.http().get("/own/path/").text(), "own page");
    assert_eq!(agent.http().put("/v1/kv/a%0Ab", "x").text(), "true");
    assert!(agent.http().get("/v1/kv/?keys").text().contains("a\\nb"));
    for count in 0..8 {
        agent.http().put(&format!("/v1/kv/k{count}"), "x");
    }
    eventually(PATIENCE, "a snapshot is taken", || {
        let info = String::from_utf8_lossy(&agent.cli(&["info"]).stdout).into_owned();
        let index =
            info.lines().find_map(|line| line.trim().strip_prefix("last_snapshot_index = "));
        if index.is_some_and(|index| index != "0") { Ok(()) } else { Err(info) }
    });
}
