//! Opening the log: what must agree, and taking over what a former version left.

use super::chain::{self, Site, Tail};
use super::facts::{Facts, Former, ID, NEWEST, PURGED, VOTE};
use super::frame::Frame;
use super::{Fault, Found, GROUP_BYTES_MAX, SEGMENT_BYTES};
use crate::raft::disk;
use crate::raft::entry::{LogId, Vote};
use std::path::Path;
use std::sync::Arc;

/// Opens the log in `dir`, or begins one with the id `fresh_id`.
pub(super) fn open(dir: &Path, fresh_id: u64) -> Result<(Arc<Facts>, Tail, Found), Fault> {
    disk::make_dir(dir)?;
    let facts = dir.join("log");
    let existed = facts.join("db").exists();
    let facts = Arc::new(Facts::open(&facts)?);
    disk::sync_dir(dir)?;
    let newest: Option<u64> = facts.get(NEWEST)?;
    let former = match newest {
        Some(_) => None,
        None => facts.former()?,
    };
    let kept = match existed {
        false => Kept::Nothing,
        true if newest.is_none() && former.is_none() => Kept::NoEntries,
        true => Kept::Entries,
    };
    let (id, vote) = identity(dir, &facts, kept, fresh_id)?;
    let purged: Option<LogId> = facts.get(PURGED)?;
    let floor = purged.map_or(0, |purged| purged.index + 1);
    let site = Site { dir: dir.join("entries"), id, segment_bytes: SEGMENT_BYTES };
    let (tail, hint) = match newest {
        Some(newest) => {
            let found = chain::recover(site, floor, Arc::clone(&facts), newest)?;
            (found.tail, found.hint)
        }
        None => (take_over(site, floor, former.as_ref(), &facts)?, Vec::new()),
    };
    facts.forget_former()?;
    let last = match tail.next() > floor {
        true => {
            let index = tail.next() - 1;
            let last = tail.chain().read(index, index + 1, 1)?;
            let last = last.first().map(|(entry, _)| entry.log_id);
            Some(last.ok_or_else(|| Fault::Damaged(format!("entry {index} is missing")))?)
        }
        false => purged,
    };
    if last.is_some() && vote.is_none() {
        return Err(Fault::Damaged("there are entries but no vote".into()));
    }
    let committed: Option<LogId> = postcard::from_bytes(&hint).ok();
    // It may have been noted before the entries were written that a crash then took.
    let committed = committed.filter(|committed| last.is_some_and(|last| *committed <= last));
    Ok((facts, tail, Found { id, vote, committed, purged, last }))
}

/// What there was before the opening.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    NoEntries,
    Entries,
}

/// Makes sure that id and vote agree with their second copies.
fn identity(
    dir: &Path,
    facts: &Facts,
    kept: Kept,
    fresh_id: u64,
) -> Result<(u64, Option<Vote>), Fault> {
    let id_file = dir.join("id");
    let in_file = disk::read_sealed(&id_file)?;
    let in_file = in_file.map(|bytes| postcard::from_bytes::<u64>(&bytes));
    let in_file = in_file.transpose().map_err(|_| Fault::Damaged("file `id`".into()))?;
    let vote_in_file = disk::read_sealed(&dir.join(VOTE))?;
    let is_unused = kept != Kept::Entries && vote_in_file.is_none();
    let id = match (facts.id()?, in_file) {
        (Some(fact), Some(file)) if fact == file => fact,
        // Nothing was promised under an id whose file is not yet there.
        (_, None) if is_unused => {
            facts.set(ID, &fresh_id)?;
            disk::write_sealed(&id_file, &postcard::to_stdvec(&fresh_id).expect("a u64"))?;
            fresh_id
        }
        (Some(_) | None, Some(_) | None) => {
            let what = match kept {
                Kept::Nothing => "was lost",
                Kept::NoEntries | Kept::Entries => "is of another server",
            };
            return Err(Fault::Damaged(format!("the log {what}: raft ids differ")));
        }
    };
    Ok((id, vote(facts.get(VOTE)?, vote_in_file)?))
}

/// The later of the two copies of the vote: a crash may fall between writing them.
fn vote(fact: Option<Vote>, file: Option<Vec<u8>>) -> Result<Option<Vote>, Fault> {
    let file: Option<Vote> = file
        .map(|bytes| postcard::from_bytes(&bytes))
        .transpose()
        .map_err(|_| Fault::Damaged("file `vote`".into()))?;
    match (fact, file) {
        (Some(fact), Some(file)) if file >= fact => Ok(Some(file)),
        (Some(fact), Some(_) | None) => Ok(Some(fact)),
        (None, file) => Ok(file),
    }
}

/// Begins the segments, with the entries of a former version if it left some. Until the end of it
/// the former entries count and the segments do not: a crash in between starts it over.
fn take_over(
    site: Site,
    floor: u64,
    former: Option<&Former>,
    facts: &Arc<Facts>,
) -> Result<Tail, Fault> {
    if site.dir.exists() {
        std::fs::remove_dir_all(&site.dir)?;
    }
    disk::make_dir(&site.dir)?;
    let mut tail = Tail::begin(site, floor)?;
    if let Some(former) = former {
        let mut frame = Frame::default();
        former.each(floor, |index, bytes| {
            chain::decode(index, bytes)
                .ok_or_else(|| Fault::Damaged(format!("entry {index} does not check out")))?;
            if frame.sealed_bytes() + bytes.len() as u64 > GROUP_BYTES_MAX && frame.count() > 0 {
                tail.append(&mut frame)?;
                frame.clear();
            }
            if frame.count() == 0 {
                frame.begin(index, &[]);
            }
            frame.push(bytes);
            Ok(())
        })?;
        if frame.count() > 0 {
            tail.append(&mut frame)?;
        }
        tracing::info!("raft log of a former version taken over, {} entries", tail.next() - floor);
    }
    tail.note_in(Arc::clone(facts))?;
    Ok(tail)
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
