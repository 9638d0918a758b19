//! Idempotent producers: ids that no two of them share, and which of them a partition remembers.
//!
//! Ids come in blocks. Before one of a block is given away the metadata says that the block is: so a broker that dies
//! wastes the rest of it, and never gives an id twice.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use folio_record::ProducerId;
use folio_storage::ActiveProducer;
use folio_storage::metadata::{self, CommitError, Compare, Key, Operation, Transaction, Value};

use super::topics;
use crate::engine::{Engine, now};
use crate::error::{Fault, ServiceError};
use crate::metadata::MetadataStore;

/// Who a producer is, from its first batch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: i16,
}

/// What a producer says of itself when it asks who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) transactional_id: Option<&'a str>,
    /// Who it was before; both are -1 in one that was nobody.
    pub(crate) id: ProducerId,
    pub(crate) epoch: i16,
}

/// Ids that may be given away without asking anybody.
#[derive(Debug)]
pub(crate) struct ProducerIds(Mutex<Range<i64>>);

impl ProducerIds {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(0..0))
    }

    fn next(&self) -> Option<ProducerId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next().map(ProducerId::new)
    }

    fn refill(&self, block: Range<i64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = block;
    }
}

/// Makes somebody of a producer, and tells `answer`, now or from the admin thread.
///
/// One without transactions becomes somebody new each time, as in Kafka: it raises its own epoch when it has to.
/// Transactions are refused in a way that clients tell their users at once.
pub(crate) fn init(
    engine: &Engine,
    claim: Claim<'_>,
    answer: impl FnOnce(Result<Identity, ServiceError>) + Send + 'static,
) {
    if let Err(refused) = check(claim) {
        return answer(Err(refused));
    }
    match engine.producer_ids.next() {
        Some(id) => answer(Ok(Identity { id, epoch: 0 })),
        None => engine.admin.run(move |engine| {
            answer(allocate(engine).map(|id| Identity { id, epoch: 0 }));
        }),
    }
}

fn check(claim: Claim<'_>) -> Result<(), ServiceError> {
    if let Some(id) = claim.transactional_id {
        let text = format!("transactional id {id:?}: this broker has no transactions yet");
        return Err(ServiceError::new(Fault::TransactionsUnsupported, text));
    }
    if (claim.id == ProducerId::NONE) != (claim.epoch == -1) {
        let text = format!("producer id {} and epoch {}: one without the other", claim.id, claim.epoch);
        return Err(ServiceError::new(Fault::InvalidRequest, text));
    }
    Ok(())
}

/// An id that no producer was ever given. May wait for the disk.
///
/// # Errors
/// The metadata could not be written.
pub(crate) fn allocate(engine: &Engine) -> Result<ProducerId, ServiceError> {
    for _ in 0..ATTEMPTS {
        if let Some(id) = engine.producer_ids.next() {
            return Ok(id);
        }
        match take_block(&engine.dir) {
            Ok(block) => engine.producer_ids.refill(block),
            // Somebody else was quicker.
            Err(CommitError::Conflict(_)) => {}
            Err(error) => return Err(topics::of_commit(engine, &error)),
        }
    }
    Err(ServiceError::new(Fault::TooBusy, "everybody wants a producer id at once; try again"))
}

fn take_block(store: &impl MetadataStore) -> Result<Range<i64>, CommitError> {
    let key = Key::ProducerIds;
    // The present is never forgotten.
    let entries =
        store.range(&metadata::Range::Key(key.clone()), None).map_or(Vec::new(), |(_, found)| found);
    let (first, compare) = match entries.into_iter().next() {
        Some(metadata::Entry { value: Value::ProducerIds(next), modified, .. }) => {
            (next, Compare::Modified(key.clone(), modified))
        }
        _ => (0, Compare::Absent(key.clone())),
    };
    let next = first.checked_add(BLOCK).ok_or(CommitError::Impossible)?;
    let operations = vec![Operation::Put(key, Value::ProducerIds(next))];
    store.commit(Transaction { compares: vec![compare], operations }, now())?;
    Ok(first..next)
}

/// The idempotent producers that a partition remembers, by id. Waits for whoever appends: not for a loop.
///
/// # Errors
/// There is no such partition here.
pub(crate) fn describe(
    engine: &Engine,
    topic: &str,
    number: impl Into<i64>,
) -> Result<Vec<ActiveProducer>, ServiceError> {
    Ok(topics::partition(engine, topic, number)?.log.producers())
}

/// Ids in a block, as in Kafka.
const BLOCK: i64 = 1000;
/// How often somebody else may be quicker.
const ATTEMPTS: usize = 10;
