//! Every counter and sample there is. Samples are milliseconds unless they say otherwise.

use super::{Counter, Level, Sample};

/// Declares statics, and the list of them.
macro_rules! list {
    ($list:ident: $kind:ident { $($(#[$doc:meta])* $id:ident = $name:literal;)* }) => {
        $($(#[$doc])* pub static $id: $kind = $kind::new($name);)*
        pub(super) static $list: &[&$kind] = &[$(&$id),*];
    };
}

list! { COUNTERS: Counter {
    /// Requests of this agent's own edges and loops.
    CLIENT_RPC = "client.rpc";
    /// Of these, those that no server could be asked.
    CLIENT_RPC_FAILED = "client.rpc.failed";
    /// Those that were not asked at all, as `limits.rpc_rate` was reached.
    CLIENT_RPC_EXCEEDED = "client.rpc.exceeded";
    /// Connections to the RPC port.
    RPC_ACCEPT_CONN = "rpc.accept_conn";
    /// Requests that came by RPC.
    RPC_REQUEST = "rpc.request";
    /// Of these, answered with a failure.
    RPC_REQUEST_ERROR = "rpc.request_error";
    /// Reads of this server's tables.
    RPC_QUERY = "rpc.query";
    /// Raft channels opened to this server.
    RPC_RAFT_HANDOFF = "rpc.raft_handoff";
    /// Commands proposed to the log.
    RAFT_APPLY = "raft.apply";
    /// Times that the leader asked a quorum whether it still leads.
    RAFT_VERIFY_LEADER = "raft.verify_leader";
    /// Times that this server became the leader.
    RAFT_STATE_LEADER = "raft.state.leader";
    /// Times that it stood for election.
    RAFT_STATE_CANDIDATE = "raft.state.candidate";
    /// Times that it became a follower.
    RAFT_STATE_FOLLOWER = "raft.state.follower";
    /// Times that it stood because it had not heard of a leader.
    RAFT_HEARTBEAT_TIMEOUT = "raft.transition.heartbeat_timeout";
    /// Times that it stepped back because no quorum had answered.
    RAFT_LEASE_TIMEOUT = "raft.transition.leader_lease_timeout";
    /// Members that joined a pool.
    SERF_MEMBER_JOIN = "serf.member.join";
    /// Members that left.
    SERF_MEMBER_LEFT = "serf.member.left";
    /// Members that failed.
    SERF_MEMBER_FAILED = "serf.member.failed";
    /// Members that changed their tags.
    SERF_MEMBER_UPDATE = "serf.member.update";
    /// User events heard.
    SERF_EVENTS = "serf.events";
    /// Bytes of gossip received.
    MEMBERLIST_UDP_RECEIVED = "memberlist.udp.received";
    /// Bytes of gossip sent.
    MEMBERLIST_UDP_SENT = "memberlist.udp.sent";
} }

list! { SAMPLES: Sample {
    /// Writes to the key/value store.
    KVS_APPLY = "kvs.apply";
    /// Transactions that may write.
    TXN_APPLY = "txn.apply";
    /// Sessions made and ended.
    SESSION_APPLY = "session.apply";
    /// Sessions renewed.
    SESSION_RENEW = "session.renew";
    /// Settings of autopilot.
    AUTOPILOT_APPLY = "autopilot.apply";
    /// Prepared queries made, changed and removed.
    QUERY_APPLY = "prepared-query.apply";
    /// Prepared queries run.
    QUERY_EXECUTE = "prepared-query.execute";
    /// Prepared queries explained.
    QUERY_EXPLAIN = "prepared-query.explain";
    /// Steps of a restore.
    SNAPSHOT_APPLY = "snapshot.apply";
    /// Batches of coordinates.
    COORDINATE_APPLY = "coordinate.apply";
    /// Registrations.
    CATALOG_REGISTER = "catalog.register";
    /// Deregistrations.
    CATALOG_DEREGISTER = "catalog.deregister";
    /// From proposing an entry to its application here.
    RAFT_COMMIT_TIME = "raft.commitTime";
    /// Application of an entry's commands.
    RAFT_FSM_APPLY = "raft.fsm.apply";
    /// Time since a voter last answered the leader, looked at twice a heartbeat.
    RAFT_LEADER_LAST_CONTACT = "raft.leader.lastContact";
    /// Entries and heartbeats taken from the leader.
    RAFT_APPEND_ENTRIES = "raft.rpc.appendEntries";
    /// Writing of a snapshot.
    RAFT_SNAPSHOT_CREATE = "raft.snapshot.create";
    /// Replacing the state by a snapshot.
    RAFT_FSM_RESTORE = "raft.fsm.restore";
    /// Consistent reads' question to a quorum.
    RPC_CONSISTENT_READ = "rpc.consistentRead";
    /// Looks of the leader at the whole pool.
    LEADER_RECONCILE = "leader.reconcile";
    /// Updates of members that still spread, looked at once an interval; a number.
    SERF_QUEUE_INTENT = "serf.queue.Intent";
    /// Pieces of news that still spread, looked at once an interval; a number.
    SERF_QUEUE_EVENT = "serf.queue.Event";
    /// Questions of DNS about the own domain.
    DNS_DOMAIN_QUERY = "dns.domain_query";
    /// Questions of DNS about addresses.
    DNS_PTR_QUERY = "dns.ptr_query";
} }

/// Blocking queries that wait at present.
pub static QUERIES_BLOCKING: Level = Level::new();
