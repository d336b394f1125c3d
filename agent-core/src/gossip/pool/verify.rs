//! Full members look after suspects among leaves themselves, and tell each other first: of
//! suspects and of newcomers.
//!
//! Leaves find out who does not answer; full members decide. Where those are few, each probes one
//! of thousands a period, rumours pass it by, and nobody that it hears would confirm what a leaf
//! says. So a round of verification, several times a probe period as long as a member is suspect,
//! sends the suspect a probe that says so (whose answer refutes), makes us an accuser once some of
//! them were not answered, and tells other full members of both.

use alloc::vec::Vec;

use super::Pool;
use super::effects::Due;
use crate::gossip::identity::Identity;
use crate::gossip::news::{Accusation, News};
use crate::wire::packet::{Header, Message, State, Update};

/// About this many full members verify a suspicion where there are more of them.
const VERIFIERS: u64 = 32;

/// Most suspects of one round.
const SUSPECTS_MAX: usize = 128;

/// Rounds without an answer after which we accuse, too: one of them may have been lost, twice.
const ROUNDS: u8 = 4;

/// Suspects told of in one datagram: an update and an accusation each.
const TOLD_MAX: usize = 20;

impl Pool {
    /// Arms the next round, if somebody is suspect in a pool that has leaves.
    pub(super) fn arm_verification(&mut self) {
        let wanted = self.roster.leaves > 0 && !self.effects.suspicions.is_empty();
        if wanted && !self.verify_armed {
            self.verify_armed = true;
            self.effects.arm(self.config.gossip_period, Due::Verify);
        }
    }

    /// Tells how many full members there are besides us.
    fn peers(&self) -> usize {
        self.foca.num_members().saturating_sub(self.roster.leaves)
    }

    /// Tells whether suspects are verified, whoever they are: most members are leaves.
    fn among_leaves(&self) -> bool {
        self.roster.leaves > self.peers()
    }

    /// Tells how many can confirm an accusation, besides the first accuser.
    pub(super) fn witnesses(&self, suspect: &Identity) -> usize {
        if self.among_leaves() || self.roster.is_leaf(suspect.node) {
            self.peers()
        } else {
            usize::MAX
        }
    }

    pub(super) fn verify_due(&mut self) {
        self.verify_armed = false;
        let own = *self.foca.identity();
        let (all, among) = (self.among_leaves(), self.peers() as u64 + 1);
        let roster = &self.roster;
        let wanted = |suspect: &Identity| {
            let lot = (suspect.node ^ own.node).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            (all || roster.is_leaf(suspect.node)) && lot % among < VERIFIERS
        };
        let suspects = self.effects.suspicions.verify(SUSPECTS_MAX, wanted);
        // Who is slow to hear waits longer before it believes that there was no answer.
        let rounds = u64::from(ROUNDS) * self.effects.stretch;
        let mut claims = Vec::new();
        for (identity, incarnation, before) in suspects {
            let suspect = Update { identity, incarnation, state: State::Suspect };
            let header = self.header(identity, Message::Ping(0));
            self.effects.send_word(&header, &[suspect], &[]);
            let accused = u64::from(before) >= rounds;
            if accused {
                let witnesses = self.witnesses(&identity);
                self.effects.accuse(identity, incarnation, own.node, witnesses);
            }
            claims.push((suspect, accused));
        }
        self.tell_peers(&claims);
        self.arm_verification();
    }

    /// Tells some full members who is suspect, and whom we accuse.
    fn tell_peers(&mut self, claims: &[(Update, bool)]) {
        let accuser = self.foca.identity().node;
        let peers = self.some_peers();
        for part in claims.chunks(TOLD_MAX) {
            let updates: Vec<Update> = part.iter().map(|(suspect, _)| *suspect).collect();
            let accused = part.iter().filter(|(_, accused)| *accused);
            let news: Vec<News<'_>> = accused
                .map(|(Update { identity, incarnation, .. }, _)| {
                    let Identity { node, generation, .. } = *identity;
                    let incarnation = *incarnation;
                    News::Accusation(Accusation { node, generation, incarnation, accuser })
                })
                .collect();
            for peer in &peers {
                let about = |update: &&Update| update.identity.node != peer.node;
                let others: Vec<Update> = updates.iter().filter(about).copied().collect();
                let header = self.header(*peer, Message::Gossip);
                self.effects.send_word(&header, &others, &news);
            }
        }
    }

    /// Tells some full members who announced itself to us. A leaf does so to one full member, and
    /// where those are few, the rounds of gossip may miss them.
    pub(super) fn tell_newcomers(&mut self) {
        let newcomers = core::mem::take(&mut self.newcomers);
        if newcomers.is_empty() {
            return;
        }
        for peer in self.some_peers() {
            let header = self.header(peer, Message::Gossip);
            for part in newcomers.chunks(TOLD_MAX) {
                self.effects.send_word(&header, part, &[]);
            }
        }
    }

    /// Picks `fanout` of the live full members at random.
    pub(super) fn some_peers(&mut self) -> Vec<Identity> {
        let peers = self.roster.records.iter().filter(|record| record.live() && record.full());
        let peers: Vec<Identity> = peers.map(|record| *record.identity()).collect();
        let first = self.dice.below(peers.len() as u64) as usize;
        let some = peers.len().min(self.config.fanout.into());
        peers.iter().cycle().skip(first).take(some).copied().collect()
    }

    /// Heads a datagram that is sent outside of foca.
    pub(super) fn header(&self, target: Identity, message: Message) -> Header {
        let (source, incarnation) = (*self.foca.identity(), self.effects.incarnation);
        Header { pool: self.label, source, incarnation, target, message }
    }

    /// Sends one piece of news to one member.
    pub(super) fn send_news(&mut self, to: Identity, news: &News<'_>) {
        let header = self.header(to, Message::Broadcast);
        self.effects.send_word(&header, &[], &[*news]);
    }
}
