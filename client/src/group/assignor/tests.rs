//! Kafka's own divisions of a table of cases, and properties of ours.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

/// `assignor|topic:partitions,...|member instance topics generation owned assigned|...`, a line a case: what the
/// classes RangeAssignor, StickyAssignor and CooperativeStickyAssignor of kafka-clients 4.4.0 made of random groups.
/// The sticky ones go on from line to line, with members that come and go, and topics that grow.
static KAFKAS_OWN: &str = include_str!("kafka-4.4.txt");

struct Case {
    line: &'static str,
    assignor: Assignor,
    topics: Topics,
    members: Vec<Member>,
    kafkas: Division,
}

fn cases() -> Vec<Case> {
    KAFKAS_OWN.lines().map(Case::parse).collect()
}

impl Case {
    fn parse(line: &'static str) -> Self {
        let mut parts = line.split('|');
        let assignor = Assignor::of_name(parts.next().unwrap()).unwrap();
        let topics = list(parts.next().unwrap()).into_iter().map(|tp| (tp.topic, tp.partition)).collect();
        let mut members = Vec::new();
        let mut kafkas = Vec::new();
        for part in parts {
            let words: Vec<_> = part.split(' ').collect();
            members.push(Member {
                id: words[0].to_owned(),
                instance: (words[1] != "-").then(|| words[1].to_owned()),
                topics: words[2].split(',').map(Arc::from).collect(),
                generation: words[3].parse().unwrap(),
                owned: list(words[4]),
            });
            kafkas.push(list(words[5]));
        }
        Self { line, assignor, topics, members, kafkas }
    }
}

fn list(text: &str) -> Vec<TopicPartition> {
    let of = |entry: &str| {
        let (topic, number) = entry.split_once(':').unwrap();
        TopicPartition::new(topic, number.parse().unwrap())
    };
    if text == "-" { Vec::new() } else { text.split(',').map(of).collect() }
}

fn loads(division: &Division) -> Vec<usize> {
    let mut loads: Vec<_> = division.iter().map(Vec::len).collect();
    loads.sort_unstable();
    loads
}

/// How many partitions stay with a member that had them.
fn kept(members: &[Member], division: &Division) -> usize {
    let both = members.iter().zip(division);
    both.map(|(member, gets)| gets.iter().filter(|got| member.owned.contains(got)).count()).sum()
}

/// Who could take a partition from whom and leave both better off.
fn is_balanced(members: &[Member], division: &Division) -> bool {
    let pairs = (0..members.len()).flat_map(|a| (0..members.len()).map(move |b| (a, b)));
    !pairs.into_iter().any(|(from, to)| {
        division[from].len() > division[to].len() + 1
            && division[from].iter().any(|partition| members[to].topics.contains(&partition.topic))
    })
}

/// Nothing twice, nothing to who did not ask, nothing that is not there. Gives what was not given to anybody.
fn left_over(topics: &Topics, members: &[Member], division: &Division) -> BTreeSet<TopicPartition> {
    let wanted = topics.iter().filter(|(topic, _)| members.iter().any(|m| m.topics.contains(topic)));
    let mut left: BTreeSet<_> = wanted
        .flat_map(|(topic, count)| (0..*count).map(move |number| TopicPartition::new(topic.clone(), number)))
        .collect();
    assert_eq!(division.len(), members.len());
    for (member, gets) in members.iter().zip(division) {
        assert!(gets.is_sorted());
        for partition in gets {
            assert!(member.topics.contains(&partition.topic), "{partition} to {}", member.id);
            assert!(left.remove(partition), "{partition} twice, or not there");
        }
    }
    left
}

#[test]
fn range_divides_as_kafka_does() {
    let cases = cases().into_iter().filter(|case| case.assignor == Assignor::Range);
    let mut count = 0;
    for case in cases {
        assert_eq!(case.assignor.divide(&case.topics, &case.members), case.kafkas, "{}", case.line);
        count += 1;
    }
    assert_eq!(count, 60);
}

#[test]
fn sticky_is_as_even_as_kafkas_and_moves_no_more() {
    let cases = cases().into_iter().filter(|case| case.assignor == Assignor::Sticky);
    let mut count = 0;
    for case in cases {
        let ours = case.assignor.divide(&case.topics, &case.members);
        let left = left_over(&case.topics, &case.members, &ours);
        assert!(left.is_empty(), "{left:?} of {}", case.line);
        assert!(is_balanced(&case.members, &ours), "{ours:?} of {}", case.line);
        let equal = case.members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
        if equal {
            assert_eq!(loads(&ours), loads(&case.kafkas), "{}", case.line);
        }
        assert!(kept(&case.members, &ours) >= kept(&case.members, &case.kafkas), "{ours:?} of {}", case.line);
        count += 1;
    }
    assert_eq!(count, 72);
}

#[test]
fn cooperative_sticky_keeps_as_much_as_kafkas_and_holds_back_no_more() {
    let cases = cases().into_iter().filter(|case| case.assignor == Assignor::CooperativeSticky);
    let mut count = 0;
    for case in cases {
        let ours = case.assignor.divide(&case.topics, &case.members);
        let left = left_over(&case.topics, &case.members, &ours);
        let kafkas = left_over(&case.topics, &case.members, &case.kafkas);
        assert!(left.len() <= kafkas.len(), "{left:?}, not {kafkas:?}, of {}", case.line);
        assert!(kept(&case.members, &ours) >= kept(&case.members, &case.kafkas), "{ours:?} of {}", case.line);
        count += 1;
    }
    assert_eq!(count, 72);
}

#[test]
fn what_members_say_to_the_sticky_ones_are_kafkas_bytes() {
    let had = list("b:2,a:1,b:0");
    assert_eq!(sticky::user_data(&[], -1), None);
    let bytes = sticky::user_data(&had, 5).unwrap();
    let expected = "0000000200016100000001000000010001620000000200000000000000020000".to_owned() + "0005";
    assert_eq!(hex(&bytes), expected);
    assert_eq!(sticky::previous(&bytes), (list("a:1,b:0,b:2"), 5));
    assert_eq!(sticky::previous(&bytes[..bytes.len() - 4]), (list("a:1,b:0,b:2"), -1), "before generations");
    assert_eq!(sticky::previous(b"nonsense"), (Vec::new(), -1));
    assert_eq!(cooperative_sticky::user_data(-1).unwrap().as_ref(), [0xff; 4]);
    assert_eq!(cooperative_sticky::user_data(5).unwrap().as_ref(), [0, 0, 0, 5]);
}

#[test]
fn what_a_member_says_comes_back_at_the_leader() {
    let topics: Vec<Arc<str>> = vec!["b".into(), "a".into()];
    let owned = list("a:1,b:0");
    for (assignor, kept, generation) in [
        (Assignor::Range, Vec::new(), -1),
        (Assignor::Sticky, list("a:7"), 3),
        (Assignor::CooperativeSticky, owned.clone(), 3),
    ] {
        let metadata = assignor.metadata(&topics, &owned, &list("a:7"), 3);
        let read = assignor.read("m".to_owned(), None, &metadata);
        let topics = vec!["a".into(), "b".into()];
        let expected = Member { id: "m".to_owned(), instance: None, topics, owned: kept, generation };
        assert_eq!(read, expected);
    }
    assert_eq!(read_assignment(&assignment(&owned)), Ok(owned));
    assert_eq!(read_assignment(b""), Ok(Vec::new()));
    assert!(read_assignment(b"nonsense").is_err());
}

#[test]
fn a_member_that_makes_no_sense_gets_nothing_and_the_others_all() {
    let topics = Topics::from([("t".into(), 3)]);
    for assignor in [Assignor::Range, Assignor::Sticky, Assignor::CooperativeSticky] {
        let sound = assignor.read("a".to_owned(), None, &assignor.metadata(&["t".into()], &[], &[], -1));
        let broken = assignor.read("b".to_owned(), None, b"nonsense");
        assert_eq!(assignor.divide(&topics, &[broken, sound]), [list("-"), list("t:0,t:1,t:2")]);
    }
}

#[test]
fn of_two_that_say_they_had_the_same_the_later_generation_is_right() {
    let topics = Topics::from([("t".into(), 2)]);
    let member = |id: &str, owned: &str, generation| Member {
        id: id.to_owned(),
        topics: vec!["t".into()],
        owned: list(owned),
        generation,
        ..Member::default()
    };
    let zombie = member("a", "t:0,t:1", 1);
    let current = member("b", "t:0", 2);
    let division = Assignor::Sticky.divide(&topics, &[zombie, current]);
    assert_eq!(division, [list("t:1"), list("t:0")]);
}

/// Random members with random wishes, and what they had, true or not.
fn groups() -> impl Strategy<Value = (Topics, Vec<Member>)> {
    let topics = proptest::collection::btree_map("[a-e]", 1..9_u32, 1..5);
    let member = (
        proptest::collection::btree_set("[a-f]", 1..5),
        proptest::collection::btree_set(("[a-f]", 0..9_u32), 0..9),
        -1..3_i32,
        proptest::option::of("[a-z]"),
    );
    (topics, proptest::collection::vec(member, 1..7)).prop_map(|(topics, members)| {
        let topics: Topics = topics.into_iter().map(|(topic, count)| (topic.into(), count)).collect();
        let members =
            members.into_iter().enumerate().map(|(at, (wants, owned, generation, instance))| Member {
                id: format!("m{at}"),
                instance,
                topics: wants.into_iter().map(Into::into).collect(),
                owned: owned.into_iter().map(|(topic, number)| TopicPartition::new(topic, number)).collect(),
                generation,
            });
        (topics, members.collect())
    })
}

/// What members make of a division: they keep what they get of what they had, and then have what they get.
fn apply(members: &mut [Member], division: &Division, generation: i32) -> bool {
    let mut revoked = false;
    for (member, gets) in members.iter_mut().zip(division) {
        revoked |= member.owned.iter().any(|had| !gets.contains(had));
        member.owned.clone_from(gets);
        member.generation = generation;
    }
    revoked
}

proptest! {
    #[test]
    fn everything_goes_to_somebody_who_wants_it_and_nothing_twice((topics, members) in groups()) {
        for assignor in [Assignor::Range, Assignor::Sticky] {
            let division = assignor.divide(&topics, &members);
            prop_assert!(left_over(&topics, &members, &division).is_empty());
        }
    }

    #[test]
    fn sticky_is_balanced_and_a_second_time_moves_nothing((topics, mut members) in groups()) {
        let division = Assignor::Sticky.divide(&topics, &members);
        prop_assert!(is_balanced(&members, &division));
        apply(&mut members, &division, 9);
        prop_assert_eq!(Assignor::Sticky.divide(&topics, &members), division);
    }

    #[test]
    fn one_that_joins_takes_only_what_it_needs((topics, mut members) in groups()) {
        let all: Vec<Arc<str>> = topics.keys().cloned().collect();
        members.iter_mut().for_each(|member| member.topics.clone_from(&all));
        let division = Assignor::Sticky.divide(&topics, &members);
        apply(&mut members, &division, 9);
        members.push(Member { id: "new".to_owned(), topics: all, generation: -1, ..Member::default() });
        let after = Assignor::Sticky.divide(&topics, &members);
        let moved = division.iter().map(Vec::len).sum::<usize>() - kept(&members, &after);
        prop_assert_eq!(moved, after[members.len() - 1].len());
    }

    #[test]
    fn cooperative_gives_nothing_that_another_still_has_and_is_done_in_two_rounds_or_three((topics, mut members) in groups()) {
        // What members have is had by one at a time: anything else is somebody's lie.
        let mut seen = BTreeSet::new();
        for member in &mut members {
            member.owned.retain(|partition| seen.insert(partition.clone()));
        }
        let has_equals = members.windows(2).all(|pair| pair[0].topics == pair[1].topics);
        let mut rounds = 0;
        let last = loop {
            rounds += 1;
            let before: HashMap<_, _> = members
                .iter()
                .enumerate()
                .flat_map(|(at, member)| member.owned.iter().map(move |partition| (partition.clone(), at)))
                .collect();
            let division = Assignor::CooperativeSticky.divide(&topics, &members);
            for (at, gets) in division.iter().enumerate() {
                for partition in gets {
                    prop_assert!(before.get(partition).is_none_or(|owner| *owner == at), "{partition} too early");
                }
            }
            let held_back = left_over(&topics, &members, &division);
            let revoked = apply(&mut members, &division, 8 + rounds);
            prop_assert!(revoked || held_back.is_empty(), "held back, and nobody joins again");
            if !revoked {
                break division;
            }
        };
        // The last only finds that nothing is left to do.
        prop_assert!(rounds <= if has_equals { 2 } else { 3 }, "{rounds} rounds");
        prop_assert!(is_balanced(&members, &last));
    }
}

#[test]
fn three_thousand_partitions_are_divided_among_three_hundred_members_quickly() {
    let topics: Topics = BTreeMap::from([("t".into(), 3000)]);
    let member = |at: usize| Member {
        id: format!("m{at:03}"),
        topics: vec!["t".into()],
        generation: -1,
        ..Member::default()
    };
    let mut members = vec![member(0)];
    let division = Assignor::Sticky.divide(&topics, &members);
    apply(&mut members, &division, 1);
    members.extend((1..300).map(member)); // the worst: one has all
    let begun = std::time::Instant::now();
    let division = Assignor::Sticky.divide(&topics, &members);
    assert!(division.iter().all(|gets| gets.len() == 10));
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
