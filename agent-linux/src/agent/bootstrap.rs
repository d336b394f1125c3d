//! The first configuration of consensus: when a server may write it, and with whom.
//!
//! Only a server that was told how many servers to expect (or to bootstrap alone) writes it, once
//! it sees that many servers whose logs are all empty. Servers that were told nothing wait to be
//! found.
//! Source: <https://developer.hashicorp.com/consul/docs/install/bootstrapping>.

use crate::raft::Server;

/// A server of the LAN pool, as far as bootstrapping is concerned.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Candidate {
    /// Its place in consensus and its RPC address.
    pub server: Server,
    /// How many servers it expects, 0 for no word on that.
    pub expect: u32,
    /// Whether it was told to bootstrap alone.
    pub bootstrap: bool,
    /// Whether it takes part in votes.
    pub voter: bool,
}

/// What a server with an empty log does next.
#[derive(PartialEq, Debug)]
pub(super) enum Decision {
    /// Not enough servers yet, or another one will do it.
    Wait,
    /// Two servers were told different things: nobody may bootstrap.
    Conflict(String),
    /// Ask these servers whether their logs are empty, then begin with exactly them.
    Begin(Vec<Server>),
}

/// Decides for the server `own` among `candidates`, which include it.
pub(super) fn decide(own: u64, expect: u32, candidates: &[Candidate]) -> Decision {
    if expect == 0 {
        return Decision::Wait;
    }
    for other in candidates.iter().filter(|candidate| candidate.server.id != own) {
        let name = &other.server.name;
        if other.bootstrap {
            return Decision::Conflict(format!("server {name} has bootstrap set"));
        }
        if other.expect != 0 && other.expect != expect {
            return Decision::Conflict(format!(
                "server {name} expects {} servers, this one expects {expect}",
                other.expect
            ));
        }
    }
    let voters: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.voter).collect();
    let begins = |voter: &&&Candidate| voter.expect != 0 || voter.server.id == own;
    let first = voters.iter().filter(begins).map(|voter| voter.server.id).min();
    if voters.len() < expect as usize || first != Some(own) {
        return Decision::Wait;
    }
    Decision::Begin(voters.iter().map(|voter| voter.server.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u64, expect: u32) -> Candidate {
        let server = Server {
            id,
            node_id: format!("node-{id}"),
            name: format!("s{id}"),
            address: "127.0.0.1:8300".parse().unwrap(),
        };
        Candidate { server, expect, bootstrap: false, voter: true }
    }

    #[test]
    fn a_server_told_nothing_waits() {
        assert_eq!(decide(1, 0, &[candidate(1, 0), candidate(2, 0)]), Decision::Wait);
    }

    #[test]
    fn servers_that_expect_nothing_count() {
        let all = [candidate(1, 3), candidate(2, 0), candidate(3, 0)];
        assert_eq!(decide(1, 3, &all[..2]), Decision::Wait);
        let Decision::Begin(servers) = decide(1, 3, &all) else { panic!("three are enough") };
        assert_eq!(servers.iter().map(|server| server.id).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn of_several_that_expect_only_the_first_begins() {
        let all = [candidate(1, 0), candidate(2, 3), candidate(3, 3)];
        assert!(matches!(decide(2, 3, &all), Decision::Begin(_)));
        assert_eq!(decide(3, 3, &all), Decision::Wait);
    }

    #[test]
    fn a_differing_word_stops_it() {
        let all = [candidate(1, 3), candidate(2, 5), candidate(3, 0)];
        assert!(matches!(decide(1, 3, &all), Decision::Conflict(text) if text.contains("s2")));
        let mut alone = candidate(2, 0);
        alone.bootstrap = true;
        assert!(matches!(decide(1, 2, &[candidate(1, 2), alone]), Decision::Conflict(_)));
    }

    #[test]
    fn servers_without_a_vote_do_not_count() {
        let mut third = candidate(3, 0);
        third.voter = false;
        let all = [candidate(1, 3), candidate(2, 0), third];
        assert_eq!(decide(1, 3, &all), Decision::Wait);
    }
}
