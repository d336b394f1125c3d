//! Answers for many tasks at once, handed out where those tasks run.
//!
//! To wake a task of another runtime takes a call to the kernel each time. So answers that are
//! there together go in one parcel to each runtime, which hands them out there.

use std::collections::HashMap;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

/// Who waits for an answer, and where.
pub(super) struct Waiter<T> {
    answer: oneshot::Sender<T>,
    home: Handle,
}

impl<T: Send + 'static> Waiter<T> {
    /// A waiter on the runtime that this is called within, and where its answer comes.
    pub(super) fn new() -> (Self, oneshot::Receiver<T>) {
        let (answer, answered) = oneshot::channel();
        (Self { answer, home: Handle::current() }, answered)
    }

    /// Tells whether it has given up.
    pub(super) fn is_gone(&self) -> bool {
        self.answer.is_closed()
    }
}

/// Answers that go to one runtime.
type Parcel<T> = Vec<(oneshot::Sender<T>, T)>;

/// Answers each of the waiters; one that gave up needs no answer. Called within a runtime.
pub(super) fn deliver<T: Send + 'static>(answers: impl IntoIterator<Item = (Waiter<T>, T)>) {
    let here = Handle::current().id();
    let mut parcels: HashMap<Id, (Handle, Parcel<T>)> = HashMap::new();
    for (Waiter { answer: waiter, home }, answer) in answers {
        if home.id() == here {
            let _ = waiter.send(answer);
        } else {
            let (_, parcel) = parcels.entry(home.id()).or_insert_with(|| (home, Parcel::new()));
            parcel.push((waiter, answer));
        }
    }
    for (home, parcel) in parcels.into_values() {
        home.spawn(async move {
            for (waiter, answer) in parcel {
                let _ = waiter.send(answer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, ThreadId};
    use tokio::runtime::{Builder, Runtime};

    /// Waits on a runtime of its own; answers what came, and the thread that it came on.
    async fn wait(home: &Runtime, number: u32) -> (Waiter<u32>, oneshot::Receiver<ThreadId>) {
        let (sender, receiver) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        home.spawn(async move {
            let (waiter, answered) = Waiter::new();
            assert!(sender.send(waiter).is_ok(), "somebody waits for it");
            assert_eq!(answered.await, Ok(number));
            let _ = tell.send(thread::current().id());
        });
        (receiver.await.expect("a waiter"), told)
    }

    #[test]
    fn everybody_is_answered_where_he_waits() {
        let runtime = || Builder::new_multi_thread().worker_threads(1).build().expect("a thread");
        let (own, far) = (runtime(), runtime());
        own.block_on(async {
            let mut waiters = Vec::new();
            let mut told = Vec::new();
            for number in 0..6 {
                let home = if number % 2 == 0 { &own } else { &far };
                let (waiter, thread) = wait(home, number).await;
                waiters.push((waiter, number));
                told.push(thread);
            }
            let (gone, answered) = Waiter::new();
            drop(answered);
            assert!(gone.is_gone() && !waiters[0].0.is_gone());
            waiters.insert(1, (gone, 9));
            deliver(waiters);
            let mut threads = Vec::new();
            for thread in told {
                threads.push(thread.await.expect("it was answered"));
            }
            assert!(threads.chunks(2).all(|two| two == &threads[..2]) && threads[0] != threads[1]);
        });
        own.shutdown_background();
        far.shutdown_background();
    }
}
