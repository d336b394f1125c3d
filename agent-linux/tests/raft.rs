//! Three servers of consensus in one process, over real sockets and files, with a toy state
//! machine.
#![allow(clippy::unwrap_used)]

mod support;

use agent_core::model::Index;
use agent_core::model::request::{Error, Kind, Reply};
use agent_linux::raft::{Compaction, Freeze, Options, Raft, Server, StateMachine};
use agent_linux::rpc::server::{Handler, Limits, serve};
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::until;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Keeps every command and its index.
#[derive(Default)]
struct Toy(Mutex<Vec<(Index, Vec<u8>)>>);

impl Toy {
    fn all(&self) -> Vec<(Index, Vec<u8>)> {
        self.0.lock().unwrap().clone()
    }

    fn has(&self, command: &[u8]) -> bool {
        self.0.lock().unwrap().iter().any(|(_, known)| known == command)
    }
}

impl StateMachine for Toy {
    fn apply(&self, index: Index, entry: &[u8]) -> Result<Reply, Error> {
        match entry {
            b"damaged" => return Err(Error::with(Kind::Failed, "no command of ours")),
            b"refused" => return Err(Error::with(Kind::Invalid, "not this one")),
            _ => self.0.lock().unwrap().push((index, entry.to_vec())),
        }
        Ok(Reply::Done)
    }

    fn freeze(&self) -> Freeze {
        let all = self.all();
        Box::new(move |to| to.write_all(&postcard::to_stdvec(&all).unwrap()))
    }

    fn restore(&self, from: &mut dyn io::Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        *self.0.lock().unwrap() = postcard::from_bytes(&bytes).map_err(io::Error::other)?;
        Ok(())
    }
}

/// Requests are not what is tested here.
#[derive(Clone)]
struct Nobody;

impl Handler for Nobody {
    async fn serve(self, _: Vec<u8>) -> Vec<u8> {
        Vec::new()
    }
}

struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reeve-it-{}-{count}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One server, running.
struct Node {
    raft: Raft,
    toy: Arc<Toy>,
    server: Server,
    listener: JoinHandle<()>,
}

impl Node {
    async fn start(dir: Option<&Dir>, name: &str, address: Option<SocketAddr>) -> Self {
        Self::start_with(dir, name, address, None).await
    }

    /// Starts with a time between looks whether a snapshot is due.
    async fn start_with(
        dir: Option<&Dir>,
        name: &str,
        address: Option<SocketAddr>,
        look: Option<Duration>,
    ) -> Self {
        let options = Options {
            data_dir: dir.map(|dir| dir.0.clone()),
            compaction: Compaction { every: 100, look, keep: 20 },
            ..Options::default()
        };
        let toy = Arc::new(Toy::default());
        let raft = Raft::open(options, toy.clone()).await.unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = TcpListener::bind(address.unwrap_or(any)).await.unwrap();
        let server = Server {
            id: raft.id(),
            node_id: format!("uuid-of-{name}"),
            name: name.into(),
            address: listener.local_addr().unwrap(),
        };
        let listener = tokio::spawn(serve(listener, Nobody, Some(raft.clone()), Limits::default()));
        Self { raft, toy, server, listener }
    }

    /// Stops without a word to the others.
    async fn kill(self) -> Server {
        self.listener.abort();
        self.raft.shutdown().await;
        self.server
    }

    async fn put(&self, command: &str) -> Result<Reply, Error> {
        self.raft.propose(command.as_bytes().to_vec()).await?
    }
}

/// Waits for a leader that is ready and tells its place.
async fn leader(nodes: &[Node]) -> usize {
    let ready = |node: &Node| node.raft.leadership().borrow().established;
    until("a leader", || nodes.iter().any(ready)).await;
    nodes.iter().position(ready).unwrap()
}

async fn three(dirs: &[Dir]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for (place, dir) in dirs.iter().enumerate() {
        nodes.push(Node::start(Some(dir), &format!("s{place}"), None).await);
    }
    let servers = nodes.iter().map(|node| node.server.clone()).collect();
    nodes[0].raft.bootstrap(servers).await.unwrap();
    nodes
}

async fn agree(nodes: &[Node], command: &[u8]) {
    until("all to have applied it", || nodes.iter().all(|node| node.toy.has(command))).await;
    let first = nodes[0].toy.all();
    assert!(nodes.iter().all(|node| node.toy.all() == first));
}

fn dirs() -> Vec<Dir> {
    (0..3).map(|_| Dir::new()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_comes_back_as_a_follower() {
    let dirs = dirs();
    let mut nodes = three(&dirs).await;
    let place = leader(&nodes).await;
    for count in 0..50 {
        assert_eq!(nodes[place].put(&format!("a{count}")).await, Ok(Reply::Done));
    }
    let refused = nodes[place].put("refused").await;
    assert_eq!(refused, Err(Error::with(Kind::Invalid, "not this one")));
    agree(&nodes, b"a49").await;
    let elsewhere = nodes[(place + 1) % 3].put("x").await;
    assert_eq!(elsewhere, Err(Error::new(Kind::NoLeader)));

    let killed = nodes.remove(place).kill().await;
    let start = Instant::now();
    let next = leader(&nodes).await;
    assert_eq!(nodes[next].put("after").await, Ok(Reply::Done));
    println!("a write was accepted {:?} after the leader was killed", start.elapsed());
    assert_ne!(nodes[next].raft.leader().unwrap().id, killed.id);

    let back = Node::start(Some(&dirs[place]), &killed.name, Some(killed.address)).await;
    assert_eq!(back.server, killed, "the same id after a restart");
    nodes.push(back);
    agree(&nodes, b"after").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_when_all_restart() {
    let dirs = dirs();
    let mut nodes = three(&dirs).await;
    let place = leader(&nodes).await;
    // More than one snapshot's worth.
    for count in 0..250 {
        nodes[place].put(&format!("b{count}")).await.unwrap();
    }
    let indexes: BTreeSet<Index> = nodes[place].toy.all().iter().map(|(index, _)| *index).collect();
    assert_eq!(indexes.len(), 250, "every command has an index of its own");
    let stats = nodes[place].raft.stats();
    assert_eq!(stats["state"], "Leader");
    assert_eq!(stats["num_peers"], "2");
    until("a snapshot", || nodes[place].raft.stats()["last_snapshot_index"] != "0").await;
    let mut stopped = Vec::new();
    for node in nodes.drain(..) {
        stopped.push(node.kill().await);
    }
    for (server, dir) in stopped.into_iter().zip(&dirs) {
        let node = Node::start(Some(dir), &server.name, Some(server.address)).await;
        assert_eq!(node.server, server);
        nodes.push(node);
    }
    let place = leader(&nodes).await;
    assert!(matches!(
        nodes[0].raft.bootstrap(vec![nodes[0].server.clone()]).await,
        Err(agent_linux::raft::Error::Initialized)
    ));
    nodes[place].put("again").await.unwrap();
    agree(&nodes, b"again").await;
    assert_eq!(nodes[0].toy.all().len(), 251);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_server_returns_under_a_new_id_and_catches_up_by_snapshot() {
    let dirs = dirs();
    let mut nodes = three(&dirs).await;
    let place = leader(&nodes).await;
    let victim = (place + 1) % 3;
    let wiped = nodes.remove(victim).kill().await;
    std::fs::remove_dir_all(&dirs[victim].0).unwrap();
    let place = leader(&nodes).await;
    for count in 0..300 {
        nodes[place].put(&format!("c{count}")).await.unwrap();
    }
    let back = Node::start(Some(&dirs[victim]), &wiped.name, Some(wiped.address)).await;
    assert_ne!(back.server.id, wiped.id);
    let new = back.server.clone();
    nodes.push(back);
    nodes[place].raft.add_server(new.clone()).await.unwrap();
    agree(&nodes, b"c299").await;
    let (_, servers) = nodes[place].raft.configuration();
    assert_eq!(servers.len(), 3, "{servers:?}");
    assert!(servers.iter().all(|(server, voter)| *voter && server.id != wiped.id));
    assert_ne!(nodes[2].raft.stats()["last_snapshot_index"], "0");

    // Adding again changes nothing; another address is taken over.
    nodes[place].raft.add_server(new.clone()).await.unwrap();
    let moved = Server { name: "renamed".into(), ..new };
    nodes[place].raft.add_server(moved.clone()).await.unwrap();
    let (_, servers) = nodes[place].raft.configuration();
    assert!(servers.contains(&(moved, true)), "{servers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_removed_but_never_below_a_quorum() {
    let dirs = dirs();
    let mut nodes = three(&dirs).await;
    let place = leader(&nodes).await;
    nodes[place].put("before").await.unwrap();
    agree(&nodes, b"before").await;

    // The leader leaves: the others go on.
    let leaving = nodes[place].server.clone();
    nodes[place].raft.remove_server(leaving.id).await.unwrap();
    let gone = nodes.remove(place);
    until("the old leader to step down", || !gone.raft.is_leader()).await;
    gone.kill().await;
    let place = leader(&nodes).await;
    nodes[place].put("two are left").await.unwrap();
    let (_, servers) = nodes[place].raft.configuration();
    assert_eq!(servers.len(), 2);

    // One of two dies: the other may not remove it, since it could not have confirmed that.
    let leader = nodes.remove(place);
    let other = nodes.remove(0);
    let lost = other.kill().await;
    until("leadership to lapse", || !leader.raft.is_leader()).await;
    assert!(leader.raft.remove_server(lost.id).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_quorum_neither_writes_nor_reads() {
    let dirs = dirs();
    let mut nodes = three(&dirs).await;
    let place = leader(&nodes).await;
    let alone = nodes.remove(place);
    alone.put("one").await.unwrap();
    assert_eq!(alone.raft.lease().await, Ok(()));
    assert_eq!(alone.raft.read_index().await, Ok(()));
    for node in nodes {
        node.kill().await;
    }
    until("leadership to lapse", || !alone.raft.is_leader()).await;
    assert_eq!(alone.raft.leader(), None);
    assert_eq!(alone.put("two").await, Err(Error::new(Kind::NoLeader)));
    assert_eq!(alone.raft.lease().await, Err(Error::new(Kind::NoLeader)));
    assert_eq!(alone.raft.read_index().await, Err(Error::new(Kind::NoLeader)));
    assert!(!alone.toy.has(b"two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_many_proposers_each_have_an_index() {
    let dirs = dirs();
    let nodes = three(&dirs).await;
    let place = leader(&nodes).await;
    let raft = nodes[place].raft.clone();
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let raft = raft.clone();
            tokio::spawn(async move {
                for count in 0..20 {
                    let answer = raft.propose(format!("d{task}-{count}").into_bytes()).await;
                    assert_eq!(answer, Ok(Ok(Reply::Done)));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    nodes[place].put("last").await.unwrap();
    agree(&nodes, b"last").await;
    let all = nodes[place].toy.all();
    assert_eq!(all.len(), 64 * 20 + 1);
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0));
    assert_eq!(all.last().unwrap().0, nodes[place].raft.applied_index());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_cannot_be_understood_stops_the_node() {
    let node = Node::start(None, "dev", None).await;
    node.raft.bootstrap(vec![node.server.clone()]).await.unwrap();
    let nodes = [node];
    leader(&nodes).await;
    nodes[0].put("fine").await.unwrap();
    let answer = nodes[0].put("damaged").await.unwrap_err();
    assert_eq!(answer.kind, Kind::Unknown, "{answer}");
    until("it to stop leading", || !nodes[0].raft.is_leader()).await;
    let after = nodes[0].put("more").await.unwrap_err();
    assert_eq!(after.kind, Kind::Failed, "{after}");
    assert!(after.text.contains("no command of ours"), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_not_ours_are_refused() {
    let node = Node::start(None, "dev", None).await;
    for bytes in [&b""[..], b"\x01", b"\x07abc", &[1, 0, 0, 0, 0, 0, 0], &[0xff; 64]] {
        assert!(!node.raft.handle(bytes).await.is_empty());
    }
    assert_eq!(node.raft.last_log_index(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_due_waits_for_the_next_look() {
    let mut nodes = Vec::new();
    for look in [Duration::from_millis(50), Duration::from_secs(3600)] {
        let node = Node::start_with(None, "alone", None, Some(look)).await;
        node.raft.bootstrap(vec![node.server.clone()]).await.unwrap();
        leader(std::slice::from_ref(&node)).await;
        nodes.push(node);
    }
    for count in 0..250 {
        for node in nodes.iter().rev() {
            node.put(&format!("c{count}")).await.unwrap();
        }
    }
    let covered = |node: &Node| node.raft.stats()["last_snapshot_index"].clone();
    until("a snapshot", || covered(&nodes[0]) != "0").await;
    assert_eq!(covered(&nodes[1]), "0", "the next look is in an hour");
    for node in nodes {
        node.kill().await;
    }
}
