//! Threads that serve connections, on a server: each with a runtime of its own.

use std::io;
use std::sync::OnceLock;
use tokio::runtime::{Builder, Handle, RuntimeFlavor};

/// Threads that serve connections at most.
const LANES_MAX: usize = 8;

/// The runtime of everything else, and those of the lanes.
struct Lanes {
    rest: Handle,
    lanes: Vec<Handle>,
}

static LANES: OnceLock<Lanes> = OnceLock::new();

/// Answers the threads that serve connections, one for each processor; none where one thread does
/// everything. They belong to the process and end with it, as what a request has started may
/// outlive its connection.
pub(super) fn all() -> &'static [Handle] {
    let rest = Handle::current();
    if rest.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return &[];
    }
    &LANES.get_or_init(|| Lanes { rest, lanes: start() }).lanes
}

fn start() -> Vec<Handle> {
    let count = std::thread::available_parallelism().map_or(1, usize::from).min(LANES_MAX);
    let lanes: io::Result<_> = (0..count).map(|_| lane()).collect();
    lanes.unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot start threads for HTTP, it shares those of the rest");
        Vec::new()
    })
}

/// Starts a thread that serves connections.
fn lane() -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let serve = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("http".into()).spawn(serve)?;
    Ok(handle)
}

/// How busy the agent's runtimes are, taken together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Tasks that live.
    pub(crate) tasks: usize,
    /// Threads that run them.
    pub(crate) threads: usize,
}

/// Counts the tasks and threads of all runtimes, whichever the caller runs on.
pub(crate) fn load() -> Load {
    let of = |handle: &Handle| {
        let metrics = handle.metrics();
        Load { tasks: metrics.num_alive_tasks(), threads: metrics.num_workers() }
    };
    let Some(Lanes { rest, lanes }) = LANES.get() else { return of(&Handle::current()) };
    lanes.iter().map(of).fold(of(rest), |sum, lane| Load {
        tasks: sum.tasks + lane.tasks,
        threads: sum.threads + lane.threads,
    })
}
