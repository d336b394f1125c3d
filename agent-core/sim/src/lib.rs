//! A pool in memory: seeded, discrete events, virtual time. Equal seeds replay exactly.
//!
//! ```text
//! scenario   the measured rows: idle traffic, joins, failures, stalls, partitions, storms, churn
//! script     text -> steps -> transcript
//! world      the queue of events, and everybody on it: start, join, kill, stall, run, until
//! ledger     what full members told, who sees whom, and which failure was false
//! network    latency, loss, duplication, reordering, cuts in one or both directions
//! node       one member: engine, clock with drift, stalls, lag, traffic
//! engine     a production state machine behind its five calls: full member or leaf
//! ```
//!
//! Nothing of the protocol is modelled here: the engines are those that agents and boards run. An
//! exchange by stream is one step at one instant, and counts with TCP's headers.

pub mod engine;
pub mod ledger;
pub mod network;
pub mod node;
pub mod scenario;
pub mod script;
pub mod world;

pub use engine::{Engine, Kind};
pub use node::Node;
pub use world::World;
