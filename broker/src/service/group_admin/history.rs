//! What administrators replaced in groups, in the metadata. May wait for the disk: never on a loop.

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
        let compare = match modified {
            Some(modified) => Compare::Modified(key.clone(), modified),
            None => Compare::Absent(key.clone()),
        };
        let operation = match changes.is_empty() {
            true => Operation::Delete(key),
            false => Operation::Put(key, Value::GroupHistory(changes)),
        };
        let transaction = Transaction { compares: vec![compare], operations: vec![operation] };
        match engine.dir.commit(transaction, now()) {
            Err(CommitError::Conflict(_)) if attempts > 0 => attempts -= 1, // somebody else was quicker
            done => return done.map(drop),
        }
    }
}

/// How often somebody else may be quicker.
const ATTEMPTS: usize = 10;
