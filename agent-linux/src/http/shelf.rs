//! Instances that were shown before are shown again without writing them anew.
//!
//! Whoever asks a server for a service gets rows that the store shares: where all of them are the
//! very same as at an earlier time, so is the text. A thread keeps the last few texts together
//! with their rows, so that no other row can have come to their place in memory.

use agent_core::model::health::Instance;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// Texts that a thread keeps.
const TEXTS_MAX: usize = 8;

/// Bytes of all texts that a thread keeps.
const BYTES_MAX: usize = 256 * 1024;

/// A text, and what it shows.
struct Kept {
    rows: Vec<Instance>,
    is_pretty: bool,
    text: Vec<u8>,
}

/// Texts, the one that was used last in front.
#[derive(Default)]
struct Shelf(VecDeque<Kept>);

thread_local! {
    static SHELF: RefCell<Shelf> = RefCell::default();
}

/// Shows rows as `write` does, which is called only where this thread does not have the text.
pub(super) fn shown(
    rows: Vec<Instance>,
    is_pretty: bool,
    write: impl FnOnce(&[Instance]) -> Vec<u8>,
) -> Vec<u8> {
    SHELF.with_borrow_mut(|shelf| shelf.shown(rows, is_pretty, write))
}

impl Shelf {
    fn shown(
        &mut self,
        rows: Vec<Instance>,
        is_pretty: bool,
        write: impl FnOnce(&[Instance]) -> Vec<u8>,
    ) -> Vec<u8> {
        let is_it = |kept: &Kept| kept.is_pretty == is_pretty && are_same(&kept.rows, &rows);
        if let Some(at) = self.0.iter().position(is_it) {
            self.0.swap(0, at);
            return self.0[0].text.clone();
        }
        let text = write(&rows);
        if text.len() <= BYTES_MAX {
            self.0.push_front(Kept { rows, is_pretty, text: text.clone() });
            while self.0.len() > TEXTS_MAX || self.bytes() > BYTES_MAX {
                self.0.pop_back();
            }
        }
        text
    }

    /// Counts the bytes of all texts.
    fn bytes(&self) -> usize {
        self.0.iter().map(|kept| kept.text.len()).sum()
    }
}

/// Tells whether two lists have the very same rows, not only equal ones.
fn are_same(one: &[Instance], other: &[Instance]) -> bool {
    let is_same = |(a, b): (&Instance, &Instance)| {
        Arc::ptr_eq(&a.node, &b.node)
            && Arc::ptr_eq(&a.service, &b.service)
            && a.checks.len() == b.checks.len()
            && a.checks.iter().zip(&b.checks).all(|(a, b)| Arc::ptr_eq(a, b))
    };
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance { node: Arc::default(), service: Arc::default(), checks: vec![Arc::default()] }
    }

    /// Shows rows; tells whether they had to be written.
    fn is_written(shelf: &mut Shelf, rows: &[Instance], is_pretty: bool, length: usize) -> bool {
        let mut is_written = false;
        let text = shelf.shown(rows.to_vec(), is_pretty, |_| {
            is_written = true;
            vec![b'x'; length]
        });
        assert_eq!(text.len(), length);
        is_written
    }

    #[test]
    fn only_the_very_same_rows_have_the_same_text() {
        let (mut shelf, rows) = (Shelf::default(), [instance(), instance()]);
        assert!(is_written(&mut shelf, &rows, false, 10));
        assert!(!is_written(&mut shelf, &rows, false, 10));
        assert!(is_written(&mut shelf, &rows, true, 12), "another layout");
        assert!(is_written(&mut shelf, &rows[..1], false, 5), "fewer");
        let mut other = rows.to_vec();
        other[1].checks = vec![Arc::default()];
        assert!(is_written(&mut shelf, &other, false, 10), "equal is not enough");
        other[0].checks.clear();
        assert!(is_written(&mut shelf, &other, false, 10), "a check less");
        assert!(
            !is_written(&mut shelf, &rows, false, 10) && !is_written(&mut shelf, &rows, true, 12)
        );
    }

    #[test]
    fn only_so_much_is_kept() {
        let mut shelf = Shelf::default();
        let lists: Vec<_> = (0..=TEXTS_MAX).map(|_| [instance()]).collect();
        for list in &lists {
            assert!(is_written(&mut shelf, list, false, 10));
        }
        assert!(is_written(&mut shelf, &lists[0], false, 10), "the oldest made room");
        assert!(!is_written(&mut shelf, &lists[TEXTS_MAX], false, 10));
        assert!(is_written(&mut shelf, &lists[1], false, BYTES_MAX));
        assert!((shelf.0.len(), shelf.bytes()) == (1, BYTES_MAX));
        assert!(is_written(&mut shelf, &lists[2], false, BYTES_MAX + 1));
        assert!(is_written(&mut shelf, &lists[2], false, BYTES_MAX + 1), "too long to keep");
        assert!(!is_written(&mut shelf, &lists[1], false, BYTES_MAX));
    }
}
