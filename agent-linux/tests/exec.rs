//! Remote execution: commands on many nodes, what they say, and what is left of it.

mod support;

use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};
use support::cluster::{Agent, Cluster};
use support::{Folder, PATIENCE, eventually};

const ALLOWED: &str = "-hcl=disable_remote_exec=false";

/// One server and two clients; the last one allows nothing.
fn pool() -> Cluster {
    let mut cluster = Cluster::loopback();
    let first = cluster.add("n1", &["-server", "-bootstrap-expect=1", ALLOWED]).address;
    let join = format!("-join={first}");
    cluster.start(0);
    cluster.until_http(0);
    cluster.add("n2", &[&join, ALLOWED]);
    cluster.add("n3", &[&join]);
    cluster.start(1);
    cluster.start(2);
    cluster.until_leader();
    for at in 0..3 {
        cluster.until_members(at, &["n1", "n2", "n3"].map(|name| (name, "alive")));
    }
    cluster
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `exec` and answers its exit code and its lines, sorted: nodes have no order.
fn exec(agent: &Agent, arguments: &[&str], input: &str) -> (Option<i32>, Vec<String>) {
    let arguments = [&["exec", "-wait=5s"], arguments].concat();
    let Output { status, stdout, .. } = agent.cli_fed(&arguments, input.as_bytes());
    let mut lines: Vec<String> = text(&stdout).lines().map(str::to_owned).collect();
    lines.sort();
    (status.code(), lines)
}

#[test]
fn a_command_runs_where_it_is_allowed_and_leaves_nothing_behind() {
    let cluster = pool();
    let n3 = &cluster.agents[2];
    let (code, lines) = exec(n3, &["echo hi; echo err >&2"], "");
    let said = |node: &str| [format!("    {node}: err"), format!("    {node}: hi")];
    let mut wanted = vec![
        "    n1:".to_owned(),
        "    n2:".to_owned(),
        "2 / 2 node(s) completed / acknowledged".to_owned(),
        "==> n1: finished with exit code 0".to_owned(),
        "==> n2: finished with exit code 0".to_owned(),
    ];
    wanted.extend(["n1", "n2"].iter().flat_map(|node| said(node)));
    wanted.sort();
    assert_eq!((code, lines), (Some(0), wanted));
    assert!(n3.log().contains("ignoring remote exec event, disabled."), "{}", n3.log());
    assert_eq!(n3.http().get("/v1/kv/_rexec?recurse").status, 404);
    assert_eq!(n3.http().get("/v1/session/list").text(), "[]");
    assert_eq!(n3.http().get("/v1/event/list").text(), "[]", "it is no event of users");
}

#[test]
fn filters_scripts_and_exit_codes_are_heeded() {
    let cluster = pool();
    let n3 = &cluster.agents[2];
    let done = |node: &str, code: u8| format!("==> {node}: finished with exit code {code}");
    let one = "1 / 1 node(s) completed / acknowledged".to_owned();
    let (code, lines) = exec(n3, &["-node=2$", "exit 3"], "");
    assert_eq!((code, lines), (Some(2), vec![one.clone(), done("n2", 3)]));
    let (code, lines) = exec(n3, &["-node=n1", "-"], "printf script\nexit 1\n");
    let said = "    n1: script".to_owned();
    assert_eq!((code, lines), (Some(2), vec![said, one.clone(), done("n1", 1)]));
    let (code, lines) = exec(n3, &["-node=n1", "-shell=false", "printf", "%s", "a  b"], "");
    let said = "    n1: a  b".to_owned();
    assert_eq!((code, lines), (Some(0), vec![said, one.clone(), done("n1", 0)]));
    let (code, lines) = exec(n3, &["-node=n1", "-shell=false", "/nonexistent"], "");
    assert_eq!((code, lines), (Some(2), vec![one, done("n1", 255)]));
    let (code, lines) = exec(n3, &["-node=none", "true"], "");
    assert_eq!((code, lines), (Some(0), vec!["0 / 0 node(s) completed / acknowledged".into()]));
    let far = n3.cli(&["exec", "-datacenter=dc9", "true"]);
    assert_eq!(far.status.code(), Some(1));
    let told = text(&far.stderr);
    assert!(
        told.starts_with("Failed to create session: Failed to find Consul server in"),
        "{told}"
    );
}

#[test]
fn a_silent_command_is_waited_for_and_one_that_nobody_hears_is_killed() {
    let cluster = pool();
    let n2 = &cluster.agents[1];
    let began = Instant::now();
    let (code, lines) = {
        let output = n2.cli(&["exec", "-wait=500ms", "-verbose", "-node=n1", "sleep 3; echo late"]);
        (output.status.code(), text(&output.stdout))
    };
    assert_eq!(code, Some(0), "{lines}");
    assert!(began.elapsed() >= Duration::from_secs(3));
    assert!(lines.contains("==> n1: heartbeat received\n"), "{lines}");
    assert!(
        lines.contains("    n1: late\n    n1:\n==> n1: finished with exit code 0\n"),
        "{lines}"
    );
    // The session ends; the command must not go on for nobody.
    let folder = Folder::new("exec");
    let file = folder.path().join("pid");
    let line = format!("echo $$ > {}; sleep 600", file.display());
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| n2.cli(&["exec", "-wait=2s", "-node=n1", &line]));
        let pid = eventually(PATIENCE, "the command runs", || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.trim().parse::<u32>().map_err(|_| text)
        });
        let runs = || Path::new(&format!("/proc/{pid}")).exists();
        assert!(runs());
        let sessions = n2.http().get("/v1/session/list").json();
        let id = sessions[0]["ID"].as_str().expect("a session").to_owned();
        n2.http().put(&format!("/v1/session/destroy/{id}"), "");
        eventually(PATIENCE, "the command is gone", || {
            if runs() { Err(format!("{pid} runs")) } else { Ok(()) }
        });
        let output = asker.join().expect("it ends");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_eq!(text(&output.stdout), "0 / 1 node(s) completed / acknowledged\n");
    });
}
