//! The stages of one channel, as they are seen and edited from outside.

mod stages;

use std::fmt;

use crate::{Channel, ChannelError, LoopLocal, Stage};

pub(crate) use stages::{Around, Event, Stages};

/// The pipeline as a handler or an initializer sees it: it records edits, which take effect, in order, when the call
/// returns. An edit that names a stage that is not there, or a name that is taken, closes the channel: a bug.
///
/// ```text
///   socket <=> [first] <=> [..] <=> [last]       received bytes go from the first to the last,
///                                                sent ones from the last to the first
/// ```
pub struct ChannelPipeline<'a, L: LoopLocal> {
    edits: &'a mut Vec<Edit<L>>,
}

impl<'a, L: LoopLocal> ChannelPipeline<'a, L> {
    pub(crate) fn new(edits: &'a mut Vec<Edit<L>>) -> Self {
        Self { edits }
    }

    /// Adds a stage next to the socket.
    pub fn add_first(&mut self, name: &'static str, stage: Stage<L>) -> &mut Self {
        self.record(Edit::AddFirst { name, stage })
    }

    /// Adds a stage at the far end.
    pub fn add_last(&mut self, name: &'static str, stage: Stage<L>) -> &mut Self {
        self.record(Edit::AddLast { name, stage })
    }

    /// Adds a stage on the socket's side of the stage `base`.
    pub fn add_before(&mut self, base: &'static str, name: &'static str, stage: Stage<L>) -> &mut Self {
        self.record(Edit::AddBefore { base, name, stage })
    }

    /// Adds a stage on the far side of the stage `base`.
    pub fn add_after(&mut self, base: &'static str, name: &'static str, stage: Stage<L>) -> &mut Self {
        self.record(Edit::AddAfter { base, name, stage })
    }

    /// Removes a stage. Input that it has not consumed goes to the next one.
    pub fn remove(&mut self, name: &'static str) -> &mut Self {
        self.record(Edit::Remove { name })
    }

    /// Puts a stage in the place of the stage `old`. Input that the old one has not consumed is the new one's.
    pub fn replace(&mut self, old: &'static str, name: &'static str, stage: Stage<L>) -> &mut Self {
        self.record(Edit::Replace { old, name, stage })
    }

    fn record(&mut self, edit: Edit<L>) -> &mut Self {
        self.edits.push(edit);
        self
    }
}

/// The pipeline of a channel as other threads see it: edits are posted to the channel's loop, and applied there
/// between two units of input, in order. They do nothing if the channel has ended by then.
pub struct PipelineHandle<L: LoopLocal> {
    channel: Channel<L>,
}

impl<L: LoopLocal> PipelineHandle<L> {
    pub(crate) fn new(channel: Channel<L>) -> Self {
        Self { channel }
    }

    /// See [`ChannelPipeline::add_first`].
    pub fn add_first(&self, name: &'static str, stage: Stage<L>) -> &Self {
        self.post(Edit::AddFirst { name, stage })
    }

    /// See [`ChannelPipeline::add_last`].
    pub fn add_last(&self, name: &'static str, stage: Stage<L>) -> &Self {
        self.post(Edit::AddLast { name, stage })
    }

    /// See [`ChannelPipeline::add_before`].
    pub fn add_before(&self, base: &'static str, name: &'static str, stage: Stage<L>) -> &Self {
        self.post(Edit::AddBefore { base, name, stage })
    }

    /// See [`ChannelPipeline::add_after`].
    pub fn add_after(&self, base: &'static str, name: &'static str, stage: Stage<L>) -> &Self {
        self.post(Edit::AddAfter { base, name, stage })
    }

    /// See [`ChannelPipeline::remove`].
    pub fn remove(&self, name: &'static str) -> &Self {
        self.post(Edit::Remove { name })
    }

    /// See [`ChannelPipeline::replace`].
    pub fn replace(&self, old: &'static str, name: &'static str, stage: Stage<L>) -> &Self {
        self.post(Edit::Replace { old, name, stage })
    }

    fn post(&self, edit: Edit<L>) -> &Self {
        self.channel.post(crate::channel::ChannelOp::Edit(edit));
        self.channel.flush();
        self
    }
}

/// Builds the pipeline of a new channel. Called on the channel's loop.
///
/// Functions are initializers; [`initializer`] makes one of a closure.
pub trait ChannelInitializer<L: LoopLocal>: Send + Sync + 'static {
    /// Adds the stages. `channel` has an id and addresses; a clone of it may be kept. An error closes it.
    fn init_channel(
        &self,
        channel: &Channel<L>,
        pipeline: &mut ChannelPipeline<'_, L>,
    ) -> Result<(), ChannelError>;
}

impl<L, F> ChannelInitializer<L> for F
where
    L: LoopLocal,
    F: Fn(&Channel<L>, &mut ChannelPipeline<'_, L>) -> Result<(), ChannelError> + Send + Sync + 'static,
{
    fn init_channel(
        &self,
        channel: &Channel<L>,
        pipeline: &mut ChannelPipeline<'_, L>,
    ) -> Result<(), ChannelError> {
        self(channel, pipeline)
    }
}

/// Returns the closure as it is, having told the compiler what its arguments are.
///
/// ```
/// use folio_channel::{IdleTimeout, Stage, initializer};
///
/// let quiet_peers_go = initializer::<(), _>(|_channel, pipeline| {
///     pipeline.add_last("idle", Stage::inbound(IdleTimeout::new(std::time::Duration::from_secs(60))));
///     Ok(())
/// });
/// # let _ = quiet_peers_go;
/// ```
pub fn initializer<L, F>(closure: F) -> F
where
    L: LoopLocal,
    F: Fn(&Channel<L>, &mut ChannelPipeline<'_, L>) -> Result<(), ChannelError> + Send + Sync + 'static,
{
    closure
}

/// A change of the stages.
pub(crate) enum Edit<L: LoopLocal> {
    AddFirst { name: &'static str, stage: Stage<L> },
    AddLast { name: &'static str, stage: Stage<L> },
    AddBefore { base: &'static str, name: &'static str, stage: Stage<L> },
    AddAfter { base: &'static str, name: &'static str, stage: Stage<L> },
    Remove { name: &'static str },
    Replace { old: &'static str, name: &'static str, stage: Stage<L> },
}

/// What the pipeline knows of a stage, and the stage may change during a call.
#[derive(Debug)]
pub(crate) struct StageState {
    pub(crate) name: &'static str,
    pub(crate) paused: bool,
    /// Input that was left comes again without any more having arrived.
    pub(crate) rerun: bool,
    /// It is to be woken when the outbound buffer is down to its low marks.
    pub(crate) waits_for_low: bool,
    pub(crate) deadline: Option<std::time::Instant>,
}

impl fmt::Display for StageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
