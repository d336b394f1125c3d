//! The agent: what it keeps for this node, and how the catalog learns of it.
