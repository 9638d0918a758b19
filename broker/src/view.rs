//! What services see of topics: a snapshot, replaced as a whole.
//!
//! Only what the metadata store has announced gets in here; a service never adds a topic by itself. A
//! request works on the snapshot it began with, so it never sees half of a change.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use folio_storage::Files;
use uuid::Uuid;

use crate::config::TopicSettings;
use crate::defaults::Defaults;
use crate::partition::Partition;

/// A topic as it is served.
#[derive(Debug)]
pub(crate) struct Topic<F: Files> {
    pub(crate) id: Uuid,
    pub(crate) name: Arc<str>,
    /// Shared with the partitions, so that an altered setting reaches them.
    pub(crate) settings: Arc<ArcSwap<TopicSettings>>,
    /// What the topic sets itself.
    pub(crate) own: Vec<(String, String)>,
    /// By partition number.
    pub(crate) partitions: Vec<Served<F>>,
}

/// One partition of a topic, and its role.
#[derive(Debug)]
pub(crate) enum Served<F: Files> {
    /// Takes appends and serves reads.
    Leader(Arc<Partition<F>>),
    /// Neither, and why: recovery refused to guess. The topic's other partitions go on.
    Offline(Arc<str>),
    /// Offline, but what lies below its damage is served.
    Below(Arc<Partition<F>>, Arc<str>),
}

impl<F: Files> Topic<F> {
    /// The partitions that take appends.
    pub(crate) fn online(&self) -> impl Iterator<Item = &Arc<Partition<F>>> {
        self.partitions.iter().filter_map(|one| match one {
            Served::Leader(partition) => Some(partition),
            Served::Offline(_) | Served::Below(..) => None,
        })
    }

    /// The partitions of which anything can be read.
    pub(crate) fn readable(&self) -> impl Iterator<Item = &Arc<Partition<F>>> {
        self.partitions.iter().filter_map(|one| match one {
            Served::Leader(partition) | Served::Below(partition, _) => Some(partition),
            Served::Offline(_) => None,
        })
    }
}

impl<F: Files> Clone for Served<F> {
    fn clone(&self) -> Self {
        match self {
            Self::Leader(partition) => Self::Leader(Arc::clone(partition)),
            Self::Offline(why) => Self::Offline(Arc::clone(why)),
            Self::Below(partition, why) => Self::Below(Arc::clone(partition), Arc::clone(why)),
        }
    }
}

/// All topics at one moment. The id is a topic's identity: one made anew under an old name is another.
#[derive(Debug)]
pub(crate) struct View<F: Files> {
    by_name: HashMap<Arc<str>, Arc<Topic<F>>>,
    by_id: HashMap<Uuid, Arc<Topic<F>>>,
    defaults: Arc<Defaults>,
}

impl<F: Files> View<F> {
    /// Without topics.
    pub(crate) fn new(defaults: Defaults) -> Self {
        Self { by_name: HashMap::new(), by_id: HashMap::new(), defaults: Arc::new(defaults) }
    }

    /// A view of the same topics and `topic`, in place of one with its name or id.
    pub(crate) fn with(&self, topic: Arc<Topic<F>>) -> Self {
        let mut view = self.without(topic.id);
        view.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        view.by_id.insert(topic.id, topic);
        view
    }

    /// A view of the same topics but the one with `id`.
    pub(crate) fn without(&self, id: Uuid) -> Self {
        let mut view = self.with_defaults(&self.defaults);
        if let Some(gone) = view.by_id.remove(&id) {
            view.by_name.remove(&gone.name);
        }
        view
    }

    /// A view of the same topics, with other defaults.
    pub(crate) fn with_defaults(&self, defaults: &Arc<Defaults>) -> Self {
        let (by_name, by_id) = (self.by_name.clone(), self.by_id.clone());
        Self { by_name, by_id, defaults: Arc::clone(defaults) }
    }

    /// A view of the same topics, in which `partition` takes no appends because of `why`.
    pub(crate) fn with_offline(&self, partition: &Partition<F>, why: &Arc<str>) -> Self {
        let Some(topic) = self.named(&partition.topic) else { return self.with_defaults(&self.defaults) };
        let partitions = topic.partitions.iter().map(|served| match served {
            Served::Leader(leader) if leader.key == partition.key => {
                Served::Below(Arc::clone(leader), Arc::clone(why))
            }
            served => served.clone(),
        });
        self.with_partitions(topic, partitions.collect())
    }

    /// A view of the same topics, in which this partition of the topic with `id` is `served` so.
    pub(crate) fn with_served(&self, id: Uuid, number: u32, served: &Served<F>) -> Self {
        let Some(topic) = self.with_id(id) else { return self.with_defaults(&self.defaults) };
        let numbered = topic.partitions.iter().zip(0..);
        let partitions =
            numbered.map(|(before, other)| if other == number { served } else { before }.clone());
        self.with_partitions(topic, partitions.collect())
    }

    fn with_partitions(&self, topic: &Topic<F>, partitions: Vec<Served<F>>) -> Self {
        let (id, name, own) = (topic.id, Arc::clone(&topic.name), topic.own.clone());
        let settings = Arc::clone(&topic.settings);
        self.with(Arc::new(Topic { id, name, settings, own, partitions }))
    }

    /// What holds of topics that do not say.
    pub(crate) fn defaults(&self) -> &Arc<Defaults> {
        &self.defaults
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Topic<F>>> {
        self.by_name.get(name)
    }

    pub(crate) fn with_id(&self, id: Uuid) -> Option<&Arc<Topic<F>>> {
        self.by_id.get(&id)
    }

    /// The topics, in no order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &Arc<Topic<F>>> {
        self.by_id.values()
    }
}
