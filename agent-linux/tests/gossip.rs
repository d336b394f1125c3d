//! Real agents on loopback: what a pool shows its members, over real sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_core::time::Duration as Span;
use agent_linux::gossip::{Config, Gossip, Member, MemberStatus, Meta, Options};

/// Longest that any condition may take.
const DEADLINE: Duration = Duration::from_secs(20);

fn meta(name: &str, id: u8) -> Meta {
    Meta { rpc_port: 8300, ..Meta::client(name, "dc1", [id.wrapping_mul(7) ^ 0x40; 16], "1.8.7:") }
}

/// Node keys fold a UUID in two, so a test's IDs must not have equal halves.
fn options(name: &str, id: u8) -> Options {
    let mut meta = meta(name, id);
    meta.node_id[0] = id;
    Options {
        bind: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertise: SocketAddr::from(([127, 0, 0, 1], 0)),
        meta,
        config: Config {
            probe_period: Span::from_millis(200),
            probe_timeout: Span::from_millis(80),
            gossip_period: Span::from_millis(50),
            sync_period: Span::from_secs(2),
            reconnect_period: Span::from_secs(1),
            ..Config::lan()
        },
        snapshot_path: None,
        rejoin_after_leave: false,
        keys: None,
    }
}

async fn start(options: Options) -> Gossip {
    Gossip::start(options).await.expect("starts")
}

async fn pool(size: u8) -> Vec<Gossip> {
    let mut agents = Vec::new();
    for id in 1..=size {
        let agent = start(options(&format!("agent{id}"), id)).await;
        if let Some(before) = agents.last() {
            let before: &Gossip = before;
            assert_eq!(agent.join(&[before.local_addr()]).await, (1, Vec::new()));
        }
        agents.push(agent);
    }
    for agent in &agents {
        until(agent, |members| alive(members) == usize::from(size)).await;
    }
    agents
}

fn alive(members: &[Member]) -> usize {
    members.iter().filter(|member| member.status == MemberStatus::Alive).count()
}

fn status(members: &[Member], name: &str) -> Option<MemberStatus> {
    members.iter().find(|member| member.name == name).map(|member| member.status)
}

/// Waits until the members are as wanted.
async fn until(agent: &Gossip, wanted: impl Fn(&[Member]) -> bool) {
    let mut version = agent.subscribe();
    let wait = async {
        while !wanted(&agent.members()) {
            version.changed().await.expect("the agent lives");
        }
    };
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        panic!("members stayed {:#?}", agent.members());
    }
}

async fn stop(agents: Vec<Gossip>) {
    for agent in agents {
        agent.shutdown().await;
    }
}

#[tokio::test]
async fn everybody_sees_everybody_and_their_metadata() {
    let agents = pool(5).await;
    agents[0].update_meta(|meta| meta.raft_id = 77);
    for agent in &agents {
        until(agent, |members| {
            members.iter().any(|member| member.name == "agent1" && member.meta.raft_id == 77)
        })
        .await;
    }
    stop(agents).await;
}

#[tokio::test]
async fn a_killed_member_fails_and_can_be_forced_out_and_pruned() {
    let mut agents = pool(4).await;
    agents.pop().expect("four").shutdown().await;
    for agent in &agents {
        until(agent, |m| status(m, "agent4") == Some(MemberStatus::Failed)).await;
    }
    assert_eq!(agents[0].stats().failed, 1);
    agents[0].force_leave("agent4", false).expect("known");
    for agent in &agents {
        until(agent, |m| status(m, "agent4") == Some(MemberStatus::Left)).await;
    }
    agents[1].force_leave("agent4", true).expect("known");
    for agent in &agents {
        until(agent, |m| status(m, "agent4").is_none()).await;
    }
    let unknown = agents[0].force_leave("agent9", false);
    assert_eq!(unknown, Err("agent: No node found with name 'agent9'".into()));
    stop(agents).await;
}

#[tokio::test]
async fn a_member_that_leaves_is_left_and_never_failed() {
    let mut agents = pool(4).await;
    let leaver = agents.pop().expect("four");
    let began = Instant::now();
    leaver.leave().await;
    assert!(began.elapsed() < Duration::from_secs(4));
    leaver.shutdown().await;
    for agent in &agents {
        until(agent, |members| {
            let status = status(members, "agent4");
            assert_ne!(status, Some(MemberStatus::Failed));
            status == Some(MemberStatus::Left)
        })
        .await;
    }
    stop(agents).await;
}

#[tokio::test]
async fn a_live_member_survives_being_forced_out() {
    let agents = pool(3).await;
    agents[0].force_leave("agent3", true).expect("known");
    for agent in &agents {
        until(agent, |m| status(m, "agent3") == Some(MemberStatus::Alive)).await;
    }
    until(&agents[0], |members| alive(members) == 3).await;
    stop(agents).await;
}

fn snapshot(name: &str) -> PathBuf {
    let file = format!("reeve-gossip-{}-{name}.snapshot", std::process::id());
    std::env::temp_dir().join(file)
}

#[tokio::test]
async fn a_restarted_member_comes_back_by_its_snapshot() {
    let agents = pool(3).await;
    let path = snapshot("restart");
    let mut fourth = options("agent4", 4);
    fourth.snapshot_path = Some(path.clone());
    let agent = start(fourth.clone()).await;
    assert_eq!(agent.join(&[agents[0].local_addr()]).await.0, 1);
    until(&agent, |members| alive(members) == 4).await;
    let saved = async {
        while std::fs::read_to_string(&path).is_ok_and(|text| !text.contains("alive")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, saved).await.expect("a snapshot is written");
    fourth.bind = agent.local_addr();
    agent.shutdown().await;
    drop(agent);
    until(&agents[1], |m| status(m, "agent4") == Some(MemberStatus::Failed)).await;
    let agent = start(fourth.clone()).await;
    for other in &agents {
        until(other, |members| alive(members) == 4).await;
    }
    until(&agent, |members| alive(members) == 4).await;

    agent.leave().await;
    agent.shutdown().await;
    drop(agent);
    let agent = start(fourth.clone()).await;
    assert_eq!(agent.members().len(), 1, "a graceful leave ends the membership");
    assert_eq!(agent.join(&[agents[0].local_addr()]).await.0, 1);
    until(&agent, |members| alive(members) == 4).await;
    agent.leave().await;
    agent.shutdown().await;
    drop(agent);
    fourth.rejoin_after_leave = true;
    let agent = start(fourth).await;
    until(&agent, |members| alive(members) == 4).await;
    agent.shutdown().await;
    stop(agents).await;
    std::fs::remove_file(path).expect("ours");
}

#[tokio::test]
async fn a_member_of_another_datacentre_or_a_taken_name_is_refused_in_words() {
    let agents = pool(2).await;
    let first = agents[0].local_addr();
    let mut foreign = options("stranger", 9);
    foreign.meta.dc = "dc2".into();
    let foreign = start(foreign).await;
    let (contacted, errors) = foreign.join(&[first]).await;
    assert_eq!(contacted, 0);
    assert_eq!(errors[0].1, "Member 'stranger' part of wrong datacenter 'dc2'");

    let twin = start(options("agent2", 8)).await;
    let (contacted, errors) = twin.join(&[first]).await;
    assert_eq!(contacted, 0);
    assert!(errors[0].1.starts_with("Node name 'agent2' is in use"), "{errors:?}");

    let nobody = twin.join(&[SocketAddr::from(([127, 0, 0, 1], 1))]).await;
    assert!(nobody.1[0].1.contains("refused"), "{nobody:?}");
    assert_eq!(agents[0].members().len(), 2);
    stop(vec![foreign, twin]).await;
    stop(agents).await;
}

#[tokio::test]
async fn junk_on_either_socket_changes_nothing() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let agents = pool(2).await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    for len in [0, 1, 7, 1400, 9000] {
        socket.send_to(&vec![1; len], agents[0].local_addr()).await.expect("sends");
    }
    for head in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 1, 0xff, 0xff, 0xff, 0xff], &[1, 1, 0, 0]] {
        let mut stream =
            tokio::net::TcpStream::connect(agents[0].local_addr()).await.expect("connects");
        stream.write_all(head).await.expect("sends");
        stream.shutdown().await.expect("closes");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }
    agents[1].update_meta(|meta| meta.build = "1.8.8:".into());
    until(&agents[0], |members| members.iter().any(|member| member.meta.build == "1.8.8:")).await;
    assert_eq!(alive(&agents[0].members()), 2);
    stop(agents).await;
}
