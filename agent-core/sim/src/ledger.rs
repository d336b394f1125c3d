//! What members told their applications, who sees whom by that, and which failure was false.

use agent_core::gossip::{Change, Event};
use agent_core::time::Instant;

use crate::engine::Told;

/// One thing told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// When, by the world's clock.
    pub at: Instant,
    /// By which member.
    pub by: usize,
    /// What.
    pub told: Told,
}

impl Entry {
    /// Tells the change of a member, and its name, if that is what was told.
    pub fn change(&self) -> Option<(Change, &str)> {
        match &self.told {
            Told::Full(Event::Member { name, change, .. }) => Some((*change, name)),
            Told::Full(_) | Told::Leaf(_) => None,
        }
    }
}

/// A set of members.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Set(Vec<u64>);

impl Set {
    /// Adds a member or takes it out.
    pub fn put(&mut self, member: usize, inside: bool) {
        let (word, bit) = (member / 64, 1 << (member % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        if inside {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    /// Tells whether a member is inside.
    pub fn holds(&self, member: usize) -> bool {
        self.0.get(member / 64).is_some_and(|word| word & (1 << (member % 64)) != 0)
    }

    fn words(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied().chain(std::iter::repeat(0))
    }

    /// Tells whether two sets hold the same members.
    pub fn same(&self, other: &Self) -> bool {
        let words = self.0.len().max(other.0.len());
        self.words().zip(other.words()).take(words).all(|(one, two)| one == two)
    }

    /// Tells whether every member of this set is in another one.
    pub fn within(&self, other: &Self) -> bool {
        self.0.iter().zip(other.words()).all(|(one, two)| one & !two == 0)
    }

    /// Tells whether no member is in both sets.
    pub fn apart(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(one, two)| one & two == 0)
    }

    /// Counts the members.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

/// Everything that was told.
#[derive(Default)]
pub struct Ledger {
    /// In order of time.
    pub entries: Vec<Entry>,
    /// Whether joins and updates are left out of the entries: there are N² of them in a pool of N.
    pub brief: bool,
    /// Whom each member sees alive, by what it told.
    seen: Vec<Set>,
    /// Failures told of members that did well: when, by whom, about whom.
    pub false_failures: Vec<(Instant, usize, usize)>,
}

impl Ledger {
    /// Notes what a member told. `about` is the member at the address in question, `well` says
    /// that it is up and has been for long.
    pub(crate) fn note(&mut self, entry: Entry, about: Option<usize>, well: bool) {
        if let (Some((change, _)), Some(about)) = (entry.change(), about) {
            match change {
                Change::Joined => self.row(entry.by).put(about, true),
                Change::Updated => {}
                Change::Leaving | Change::Left | Change::Failed | Change::Reaped => {
                    self.row(entry.by).put(about, false);
                }
            }
            if change == Change::Failed && well {
                self.false_failures.push((entry.at, entry.by, about));
            }
        }
        let common = matches!(entry.change(), Some((Change::Joined | Change::Updated, _)));
        if !(self.brief && common) {
            self.entries.push(entry);
        }
    }

    fn row(&mut self, by: usize) -> &mut Set {
        if by >= self.seen.len() {
            self.seen.resize_with(by + 1, Set::default);
        }
        &mut self.seen[by]
    }

    /// Forgets what a member saw: it starts again.
    pub(crate) fn blind(&mut self, by: usize) {
        *self.row(by) = Set::default();
        self.row(by).put(by, true);
    }

    /// Tells whom a full member sees alive, itself included.
    pub fn seen(&self, by: usize) -> &Set {
        &self.seen[by]
    }

    /// Counts the changes of one kind.
    pub fn changes(&self, change: Change) -> usize {
        self.entries.iter().filter(|entry| entry.change().is_some_and(|(c, _)| c == change)).count()
    }

    /// Walks what one member told.
    pub fn by(&self, by: usize) -> impl Iterator<Item = &Told> {
        self.entries.iter().filter(move |entry| entry.by == by).map(|entry| &entry.told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_compare_by_their_members() {
        let (mut one, mut two) = (Set::default(), Set::default());
        for member in [3, 64, 200] {
            one.put(member, true);
        }
        two.put(3, true);
        assert!(two.within(&one) && !one.within(&two) && !one.same(&two));
        two.put(64, true);
        two.put(200, true);
        two.put(500, true);
        assert!(one.within(&two) && !one.same(&two));
        two.put(500, false);
        assert!(one.same(&two) && one.holds(200) && !one.holds(201));
        let mut other = Set::default();
        other.put(201, true);
        assert!(one.apart(&other) && !one.apart(&two));
        assert_eq!(one.count(), 3);
    }
}
