//! What a device tells about itself: lent definitions, and the messages made of them.

use super::{Client, Error};
use crate::health::{Plan, Status};
use crate::wire::frame::HEADER_BYTES;
use crate::wire::memory::{LIST_MAX, Lent};
use crate::wire::message::{Ask, VERSION, emit};
use core::net::SocketAddr;
use heapless::{String, Vec};

/// Most services of a device.
pub const SERVICES_MAX: usize = 32;

/// What a device is, for as long as it runs.
#[derive(Clone, Copy, Debug)]
pub struct Profile<'a> {
    /// The node's name, unique in the datacentre.
    pub node: &'a str,
    /// The node's ID, a UUID that the device keeps for life.
    pub node_id: [u8; 16],
    /// The datacentre.
    pub datacenter: &'a str,
    /// The node's IP address as text, as others reach it.
    pub address: &'a str,
    /// The ACL token's secret, or empty.
    pub token: &'a str,
    /// The node's metadata, at most [`LIST_MAX`] pairs.
    pub meta: &'a [(&'a str, &'a str)],
    /// RPC addresses (`ip:8300`) of servers that are known beforehand; gossip brings others.
    pub servers: &'a [SocketAddr],
    /// Its services, at most [`SERVICES_MAX`].
    pub services: &'a [Service<'a>],
    /// Its checks.
    pub checks: &'a [Check<'a>],
}

/// A service instance of a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Service<'a> {
    /// Unique on the node.
    pub id: &'a str,
    /// The service's name.
    pub name: &'a str,
    /// Its tags, at most [`LIST_MAX`].
    pub tags: &'a [&'a str],
    /// Its own address, empty for the node's.
    pub address: &'a str,
    /// Its port, 0 for none.
    pub port: u16,
    /// Its metadata, at most [`LIST_MAX`] pairs.
    pub meta: &'a [(&'a str, &'a str)],
}

/// A health check of a device.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// Unique on the node.
    pub id: &'a str,
    /// A name for people.
    pub name: &'a str,
    /// The ID of the instance it is about, or empty for the node.
    pub service_id: &'a str,
    /// `ttl`, `tcp` ... for people.
    pub kind: &'a str,
    /// Notes for people.
    pub notes: &'a str,
    /// How it is kept.
    pub plan: Plan,
}

fn list<T: Clone>(items: &[T]) -> Option<Vec<T, LIST_MAX>> {
    Vec::from_slice(items).ok()
}

impl<'a> Profile<'a> {
    /// Makes the message that opens a registration; nothing if the metadata has too many pairs.
    pub(super) fn hello(&self, reply_bytes_max: u16) -> Option<Ask<Lent<'a>>> {
        Some(Ask::Hello {
            version: VERSION,
            reply_bytes_max,
            datacenter: self.datacenter,
            node: self.node,
            node_id: self.node_id,
            address: self.address,
            token: self.token,
            meta: list(self.meta)?,
        })
    }
}

impl<'a> Service<'a> {
    /// Makes the message that registers it; nothing if a list is too long.
    pub(super) fn ask(&self) -> Option<Ask<Lent<'a>>> {
        Some(Ask::Service {
            id: self.id,
            name: self.name,
            tags: list(self.tags)?,
            address: self.address,
            port: self.port,
            meta: list(self.meta)?,
        })
    }
}

impl Check<'_> {
    /// Makes the message that tells how it stands.
    pub(super) fn ask<'b>(&'b self, status: Status, output: &'b str) -> Ask<Lent<'b>> {
        Ask::Check {
            id: self.id,
            name: self.name,
            service_id: self.service_id,
            kind: self.kind,
            notes: self.notes,
            status,
            output,
        }
    }
}

impl<const CHECKS: usize, const OUTPUT: usize, const BUFFER: usize>
    Client<'_, CHECKS, OUTPUT, BUFFER>
{
    /// Tells whether all that is to be said fits. Not inlined: a board's stack has no room for this
    /// and for more at once.
    ///
    /// # Errors
    ///
    /// As [`Client::new`].
    #[inline(never)]
    pub fn measure(profile: &Profile<'_>) -> Result<(), Error> {
        if profile.services.len() > SERVICES_MAX {
            return Err(Error::Services);
        }
        let mut scratch = [0; BUFFER];
        let room = &mut scratch[HEADER_BYTES..];
        let hello = profile.hello(Self::REPLY_BYTES_MAX).and_then(|ask| emit(&ask, room));
        hello.ok_or(Error::Node)?;
        for (at, service) in profile.services.iter().enumerate() {
            service.ask().and_then(|ask| emit(&ask, room)).ok_or(Error::Service(at))?;
        }
        let mut output = String::<OUTPUT>::new();
        while output.push('x').is_ok() {}
        for (at, check) in profile.checks.iter().enumerate() {
            if at == CHECKS {
                return Err(Error::Checks);
            }
            emit(&check.ask(check.plan.status, &output), room).ok_or(Error::Check(at))?;
        }
        Ok(())
    }
}
