//! Rows, commands and queries.
