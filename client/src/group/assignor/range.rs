//! Each topic by itself: the first members get the first partitions, the very first ones one more if it does not come
//! out even. Members with a name of their own come first, by that; the others by their ids.

use super::{Division, Member, Topics};
use crate::TopicPartition;

pub(super) fn divide(topics: &Topics, members: &[Member]) -> Division {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&at| {
        let member = &members[at];
        let name = member.instance.as_deref();
        (name.is_none(), name, member.id.as_str())
    });
    let mut division = vec![Vec::new(); members.len()];
    for (topic, &count) in topics {
        let wanting: Vec<usize> =
            order.iter().copied().filter(|&at| members[at].topics.contains(topic)).collect();
        let Ok(among) = u32::try_from(wanting.len()) else { continue };
        if among == 0 {
            continue;
        }
        let (each, extra) = (count / among, count % among);
        let mut first = 0;
        for (number, at) in (0_u32..).zip(wanting) {
            let behind = first + each + u32::from(number < extra);
            division[at].extend((first..behind).map(|number| TopicPartition::new(topic.clone(), number)));
            first = behind;
        }
    }
    division
}
