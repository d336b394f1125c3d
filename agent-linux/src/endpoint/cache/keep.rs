//! Reads that nobody can block on: an answer is kept until it is too old for an asker.

use super::shelf::{Entry, Key};
use super::{Cache, Cached, Control, common, fresh};
use agent_core::model::request::{Answer, Error, Request};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An answer and when the servers gave it.
pub(super) struct Kept {
    pub(super) answer: Answer,
    pub(super) asked: Instant,
}

impl Kept {
    fn told(&self, age: Duration) -> Cached {
        Cached { answer: self.answer.clone(), age: Some(age) }
    }
}

impl Control {
    /// Whether an answer of this age is taken without asking the servers.
    fn takes(&self, age: Duration) -> bool {
        !self.must_revalidate && self.max_age.is_none_or(|most| age <= most)
    }
}

impl Cache {
    /// Tells the kept answer, or asks for a new one; those who come meanwhile wait for it.
    pub(super) async fn keep(
        &self,
        key: Key,
        request: Request,
        control: Control,
    ) -> Result<Cached, Error> {
        let entry = self.shelf.entry(&key, || Entry::Kept(Arc::default()));
        let Entry::Kept(kept) = entry else { return fresh(self.endpoint.serve(request).await) };
        let mut kept = kept.lock().await;
        let age = kept.as_ref().map_or(Duration::MAX, |kept| kept.asked.elapsed());
        if let Some(kept) = kept.as_ref().filter(|_| control.takes(age)) {
            return Ok(kept.told(age));
        }
        let asked = Instant::now();
        match self.endpoint.serve(common(&request)).await {
            Ok(answer) => {
                *kept = Some(Kept { answer: answer.clone(), asked });
                Ok(Cached { answer, age: None })
            }
            Err(error) => match kept.as_ref().filter(|_| age <= control.stale_if_error) {
                Some(kept) => Ok(kept.told(age)),
                None => Err(error),
            },
        }
    }
}
