//! Behaviour of the endpoint without sockets.
