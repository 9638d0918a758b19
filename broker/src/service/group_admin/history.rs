//! What administrators replaced in groups, in the metadata. May wait for the disk: never on a loop.
//!
//! Groups come and go, and their histories outlive them: of all together [`BYTES_MAX`] are kept, of [`GROUPS_MAX`]
//! groups, those that were changed last.

use folio_storage::metadata::{
    CommitError, Compare, Entry, GroupChange, Key, Operation, Range, Revision, Transaction, Value,
};

use crate::engine::{Engine, now};
use crate::error::{Fault, ServiceError};
use crate::metadata::MetadataStore;
use crate::service::topics;

/// Oldest first.
pub(super) fn of(engine: &Engine, group: &str) -> Vec<GroupChange> {
    read(engine, group).1
}

/// Keeps what a change is about to replace, with as much of what came before as `group.history.max` and a record's size
/// allow.
///
/// # Errors
/// It cannot be kept, and so is not to be replaced.
pub(super) fn push(engine: &Engine, group: &str, change: &GroupChange) -> Result<(), ServiceError> {
    let most = engine.config.group_history_max as usize;
    if most == 0 {
        return Ok(());
    }
    alter(engine, group, |changes| {
        changes.push(change.clone());
        let too_many = changes.len().saturating_sub(most);
        changes.drain(..too_many);
        while changes.len() > 1 && Value::GroupHistory(changes.clone()).encode().is_err() {
            changes.remove(0);
        }
    })
    .map_err(|error| match error {
        CommitError::TooLarge => {
            let count = change.replaced.len();
            let text = format!(
                "what the group has in {count} partitions is too much to be kept: change fewer at a time"
            );
            ServiceError::new(Fault::LimitReached, text)
        }
        error => topics::of_commit(engine, &error),
    })
}

/// Forgets the latest change, if it is still this one.
///
/// # Errors
/// The metadata could not be written.
pub(super) fn pop(engine: &Engine, group: &str, change: &GroupChange) -> Result<(), ServiceError> {
    let popped = alter(engine, group, |changes| {
        changes.pop_if(|last| last == change);
    });
    popped.map_err(|error| topics::of_commit(engine, &error))
}

fn read(engine: &Engine, group: &str) -> (Option<Revision>, Vec<GroupChange>) {
    let key = Key::GroupHistory(group.to_owned());
    // The present is never forgotten.
    let entries = engine.dir.range(&Range::Key(key), None).map_or(Vec::new(), |(_, found)| found);
    match entries.into_iter().next() {
        Some(Entry { value: Value::GroupHistory(changes), modified, .. }) => (Some(modified), changes),
        _ => (None, Vec::new()),
    }
}

fn alter(
    engine: &Engine,
    group: &str,
    mut change: impl FnMut(&mut Vec<GroupChange>),
) -> Result<(), CommitError> {
    let mut attempts = ATTEMPTS;
    loop {
        let key = Key::GroupHistory(group.to_owned());
        let (modified, mut changes) = read(engine, group);
        change(&mut changes);
        let mut transaction =
            Transaction { compares: vec![as_it_was(&key, modified)], operations: Vec::new() };
        if changes.is_empty() {
            transaction.operations.push(Operation::Delete(key));
        } else {
            let value = Value::GroupHistory(changes);
            for (old, modified) in surplus(&others(engine, &key), size_of(&value)) {
                transaction.compares.push(as_it_was(&old, Some(modified)));
                transaction.operations.push(Operation::Delete(old));
            }
            transaction.operations.push(Operation::Put(key, value));
        }
        match engine.dir.commit(transaction, now()) {
            Err(CommitError::Conflict(_)) if attempts > 0 => attempts -= 1, // somebody else was quicker
            done => return done.map(drop),
        }
    }
}

fn as_it_was(key: &Key, modified: Option<Revision>) -> Compare {
    match modified {
        Some(modified) => Compare::Modified(key.clone(), modified),
        None => Compare::Absent(key.clone()),
    }
}

/// The histories of all groups but one, with their sizes.
fn others(engine: &Engine, but: &Key) -> Vec<(Key, Revision, usize)> {
    let entries = engine.dir.range(&Range::GroupHistories, None).map_or(Vec::new(), |(_, found)| found);
    let others = entries.into_iter().filter(|entry| entry.key != *but);
    others.map(|entry| (entry.key, entry.modified, size_of(&entry.value))).collect()
}

/// The histories that have to go when one of `size` bytes is added: those that were changed longest ago.
fn surplus(histories: &[(Key, Revision, usize)], size: usize) -> Vec<(Key, Revision)> {
    let mut by_age: Vec<_> = histories.iter().collect();
    by_age.sort_unstable_by_key(|(_, modified, _)| *modified);
    let mut bytes: usize = size + by_age.iter().map(|(.., size)| size).sum::<usize>();
    let mut groups = 1 + by_age.len();
    let mut gone = Vec::new();
    for (key, modified, size) in by_age {
        if bytes <= BYTES_MAX && groups <= GROUPS_MAX {
            break;
        }
        bytes -= size;
        groups -= 1;
        gone.push((key.clone(), *modified));
    }
    gone
}

/// One that is too large for a record is refused with the transaction.
fn size_of(value: &Value) -> usize {
    value.encode().map_or(0, |bytes| bytes.len())
}

/// How often somebody else may be quicker.
const ATTEMPTS: usize = 10;
/// Of the histories of all groups.
const BYTES_MAX: usize = 16 << 20;
/// Groups that have a history.
const GROUPS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_longest_ago_goes_first() {
        let history =
            |number: u64, size| (Key::GroupHistory(number.to_string()), Revision::new(number), size);
        let gone = |histories: &[_], size| {
            surplus(histories, size).into_iter().map(|(_, modified)| modified.get()).collect::<Vec<_>>()
        };
        let few = [history(3, BYTES_MAX / 4), history(1, BYTES_MAX / 4), history(2, BYTES_MAX / 4)];
        assert!(gone(&few, BYTES_MAX / 4).is_empty());
        assert_eq!(gone(&few, BYTES_MAX / 4 + 1), [1]);
        assert_eq!(gone(&few, BYTES_MAX), [1, 2, 3]);
        let many: Vec<_> = (0..GROUPS_MAX as u64 + 1).rev().map(|number| history(number, 1)).collect();
        assert!(gone(&many[2..], 1).is_empty());
        assert_eq!(gone(&many, 1), [0, 1]);
    }
}
