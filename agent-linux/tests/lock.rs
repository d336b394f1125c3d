//! `reeve lock`, driven as a process: one holder, several holders, signals, lost locks, and an
//! election that agents' deaths and partitions do not split.

mod support;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use support::cluster::{Agent, Cluster};
use support::{Folder, PATIENCE, eventually, lab};

/// Flags of a lock's key and of a semaphore's, as Consul's clients know them.
const LOCK_FLAGS: u64 = 0x2ddc_cbc0_58a5_0c18;
const SEMAPHORE_FLAGS: u64 = 0xe0f6_9a2b_aa41_4de0;

/// A script that holds until there is a file `go`, and tells that it does.
const HOLD: &str = "touch held-$0 && until [ -e go ]; do sleep 0.05; done";

fn alone() -> Cluster {
    let mut cluster = Cluster::loopback();
    cluster.add("solo", &["-server", "-bootstrap-expect=1"]);
    cluster.start(0);
    cluster.until_http(0);
    cluster.until_leader();
    cluster
}

/// Starts `lock` in a folder; the script's `$0` is the name.
fn start(agent: &Agent, folder: &Folder, words: &[&str], script: &str, name: &str) -> Child {
    let mut command = agent.command(&["lock", "-shell=false"]);
    command.args(words).args(["sh", "-c", script, name]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the command runs")
}

fn until_file(path: &Path) {
    eventually(PATIENCE, &format!("{} is there", path.display()), || {
        if path.exists() { Ok(()) } else { Err("it is not".to_string()) }
    });
}

fn ended(mut child: Child) -> Output {
    eventually(PATIENCE, "the verb ends", || match child.try_wait() {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    child.wait_with_output().expect("it has ended")
}

fn tell(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("signal sent");
}

fn code(status: ExitStatus) -> i32 {
    status.code().expect("no signal ended it")
}

#[test]
fn a_lock_has_one_holder_and_leaves_no_key() {
    let (cluster, folder) = (alone(), Folder::new("lock"));
    let agent = &cluster.agents[0];
    let holder = start(agent, &folder, &["a/b"], HOLD, "first");
    until_file(&folder.path().join("held-first"));
    let entry = agent.http().get("/v1/kv/a/b/.lock").json();
    assert_eq!(entry[0]["Flags"].as_u64(), Some(LOCK_FLAGS));
    let session = entry[0]["Session"].as_str().expect("it is locked").to_string();
    let row = agent.http().get(&format!("/v1/session/info/{session}")).json();
    assert_eq!(row[0]["TTL"], "15s");
    let name = row[0]["Name"].as_str().expect("a name");
    assert!(name.starts_with("Consul lock for 'sh -c touch") && name.ends_with("at 'a/b'"));
    let late = ended(start(agent, &folder, &["-timeout=1s", "a/b"], HOLD, "second"));
    assert_eq!(code(late.status), 1);
    let text = String::from_utf8_lossy(&late.stderr).into_owned();
    assert_eq!(text.trim(), "Shutdown triggered or timeout during lock acquisition");
    assert!(!folder.path().join("held-second").exists());
    let third = start(agent, &folder, &["a/b"], HOLD, "third");
    std::fs::write(folder.path().join("go"), "").expect("a file");
    for child in [holder, third] {
        assert_eq!(code(ended(child).status), 0);
    }
    assert!(folder.path().join("held-third").exists());
    assert_eq!(agent.http().get("/v1/kv/a/?keys").status, 404);
    assert_eq!(agent.http().get("/v1/session/list").text().trim(), "[]");
}

#[test]
fn the_childs_end_is_told_if_that_is_wanted() {
    let (cluster, folder) = (alone(), Folder::new("lock"));
    let script = "[ \"$CONSUL_LOCK_HELD\" = true ] || exit 0; exit 3";
    for (flag, wanted) in [("-child-exit-code", 2), ("-child-exit-code=false", 0)] {
        let output = ended(start(&cluster.agents[0], &folder, &[flag, "x"], script, "x"));
        assert_eq!(code(output.status), wanted);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(text.trim(), "Error running handler: exit status 3");
    }
    let occupied = cluster.agents[0].http().put("/v1/kv/other/.lock", "somebody's own");
    assert_eq!(occupied.status, 200);
    let output = ended(start(&cluster.agents[0], &folder, &["other"], script, "x"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(output.status), 1);
    assert!(text.contains("Existing key does not match lock use"), "{text}");
}

#[test]
fn a_child_is_told_of_signals_and_of_a_lost_lock() {
    let (cluster, folder) = (alone(), Folder::new("lock"));
    let agent = &cluster.agents[0];
    let script = "trap 'touch usr1' USR1; trap 'touch term; exit 0' TERM; touch held-$0; \
                  while :; do sleep 0.05; done";
    let holder = start(agent, &folder, &["-child-exit-code", "x"], script, "first");
    until_file(&folder.path().join("held-first"));
    tell(&holder, Signal::USR1);
    until_file(&folder.path().join("usr1"));
    tell(&holder, Signal::TERM);
    assert_eq!(code(ended(holder).status), 0);
    assert!(folder.path().join("term").exists());
    std::fs::remove_file(folder.path().join("term")).expect("a file");
    let holder = start(agent, &folder, &["x"], script, "second");
    until_file(&folder.path().join("held-second"));
    let entry = agent.http().get("/v1/kv/x/.lock").json();
    let session = entry[0]["Session"].as_str().expect("it is locked").to_string();
    assert_eq!(agent.http().put(&format!("/v1/session/destroy/{session}"), "").status, 200);
    ended(holder);
    assert!(folder.path().join("term").exists());
}

#[test]
fn a_semaphore_has_as_many_holders_as_it_says() {
    let (cluster, folder) = (alone(), Folder::new("lock"));
    let agent = &cluster.agents[0];
    let both = ["a", "b"].map(|name| start(agent, &folder, &["-n=2", "s"], HOLD, name));
    until_file(&folder.path().join("held-a"));
    until_file(&folder.path().join("held-b"));
    let entry = agent.http().get("/v1/kv/s/.lock").json();
    assert_eq!(entry[0]["Flags"].as_u64(), Some(SEMAPHORE_FLAGS));
    let late = ended(start(agent, &folder, &["-n=2", "-timeout=1s", "s"], HOLD, "c"));
    assert_eq!(code(late.status), 1);
    let other = ended(start(agent, &folder, &["-n=3", "s"], HOLD, "c"));
    let text = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(text.contains("semaphore limit conflict (lock: 2, local: 3)"), "{text}");
    std::fs::write(folder.path().join("go"), "").expect("a file");
    for child in both {
        assert_eq!(code(ended(child).status), 0);
    }
    assert_eq!(agent.http().get("/v1/kv/s/?keys").status, 404);
}

/// Somebody who stands for election again and again, with the agent of its own host.
struct Contender(Child);

impl Contender {
    fn stand(agent: &Agent, folder: &Folder) -> Contender {
        // A second leader finds the folder there.
        let term = "mkdir leader || { echo $0 >>split; exit 1; }; echo $0 >>terms; \
                    trap 'rmdir leader; exit 0' TERM; while :; do sleep 0.05; done";
        let stand = "while :; do \"$@\"; sleep 0.5; done";
        let verb = agent.command(&["lock", "-shell=false", "election", "sh", "-c", term]);
        let mut command = Command::new("sh");
        command.args(["-c", stand, "sh"]).arg(verb.get_program()).args(verb.get_args());
        command.arg(&agent.name).env("CONSUL_HTTP_ADDR", agent.http_address().to_string());
        command.current_dir(folder.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Contender(command.spawn().expect("the command runs"))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

#[test]
fn an_election_never_has_two_leaders() {
    if !lab::allowed("an_election_never_has_two_leaders") {
        return;
    }
    let (mut cluster, folder) = (Cluster::lab().picture(), Folder::new("election"));
    let terms = || -> Vec<String> {
        let told = std::fs::read_to_string(folder.path().join("terms")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    };
    let next = |count: usize| {
        // A failure is found out, and then the key stays free for its lock-delay of 15 s.
        eventually(2 * PATIENCE, "a leader is elected", || match terms() {
            terms if terms.len() > count => Ok(terms[count].clone()),
            terms => Err(format!("{terms:?}")),
        })
    };
    let contenders: Vec<Contender> =
        cluster.agents[..3].iter().map(|agent| Contender::stand(agent, &folder)).collect();
    let first = next(0);
    cluster.named(&first).kill();
    let second = next(1);
    assert_ne!(second, first);
    cluster.named(&first).start();
    cluster.until_leader();
    let cut = cluster.named(&second).address;
    cluster.lab.as_ref().expect("a lab").cut(cut);
    let third = next(2);
    assert_ne!(third, second);
    cluster.lab.as_ref().expect("a lab").heal(cut);
    cluster.until_leader();
    assert_eq!(terms().len(), 3, "a leader stays while nothing happens to it: {:?}", terms());
    let split = std::fs::read_to_string(folder.path().join("split")).unwrap_or_default();
    assert_eq!(split, "", "led beside another");
    drop(contenders);
    eventually(PATIENCE, "the last leader goes", || {
        if folder.path().join("leader").exists() { Err("it leads".to_string()) } else { Ok(()) }
    });
}
