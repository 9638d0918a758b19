//! Posts from other threads: none is lost, and none wakes a loop that is awake.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use folio_channel::{
    ChannelLimits, EventLoopConfig, EventLoopGroup, LoopHandle, LoopLocal, PreparedGroup, Reply, Responder,
};

use crate::frames::{Answer, answer, frame, serving};
use crate::loopback::{Parked, client, loopback, one_loop, parking, round_trip, server};

const LONG: Duration = Duration::from_secs(20);

#[test]
fn no_answer_from_another_thread_is_lost_however_it_meets_the_loop_falling_asleep() {
    let (sender, requests) = mpsc::channel::<Parked>();
    let (_group, address) = server(ChannelLimits::default(), parking(sender));
    let answering = std::thread::spawn(move || {
        for (number, (request, reply)) in requests.into_iter().enumerate() {
            // Different moments: at once, or when the loop is about to sleep, or when it does.
            for _ in 0..(number * 7) % 400 {
                std::hint::spin_loop();
            }
            if number % 50 == 0 {
                std::thread::yield_now();
            }
            reply.send(answer(request));
        }
    });
    let clients: Vec<_> = (0..4_u8)
        .map(|number| {
            let stream = client(address);
            std::thread::spawn(move || {
                for round in 0..3000_u32 {
                    let payload = [&[number][..], &round.to_le_bytes()].concat();
                    assert_eq!(round_trip(&stream, &payload), frame(&payload));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    drop(_group);
    answering.join().unwrap();
}

/// Sends each message on to its peer, one less each time.
struct Bouncer {
    peer: LoopHandle<Bouncer>,
    done: mpsc::Sender<()>,
}

impl LoopLocal for Bouncer {
    type Message = u32;

    fn message(&mut self, left: u32) {
        match left.checked_sub(1) {
            Some(left) => self.peer.send(left).unwrap_or_default(),
            None => self.done.send(()).unwrap_or_default(),
        }
    }
}

#[test]
fn no_message_between_two_loops_is_lost() {
    let config = EventLoopConfig { loops: 2, ..EventLoopConfig::default() };
    let prepared = PreparedGroup::<Bouncer>::new(config).unwrap();
    let handles = prepared.handles().to_vec();
    let (sender, done) = mpsc::channel();
    let group = {
        let handles = handles.clone();
        prepared
            .start(move |index, _| Bouncer { peer: handles[1 - index].clone(), done: sender.clone() })
            .unwrap()
    };
    for start in 0..4_u32 {
        handles[start as usize % 2].send(10_000).unwrap();
    }
    for _ in 0..4 {
        done.recv_timeout(LONG).unwrap();
    }
    group.shutdown(LONG).wait_for(LONG).unwrap().unwrap();
}

/// Wants the numbers from 0 in their order, and says when it has the last.
struct Counting {
    next: u64,
    count: u64,
    done: mpsc::Sender<()>,
}

impl Counting {
    fn start(count: u64) -> (EventLoopGroup<Self>, mpsc::Receiver<()>) {
        let (sender, done) = mpsc::channel();
        let counting = move |_, _| Self { next: 0, count, done: sender.clone() };
        (EventLoopGroup::start(one_loop(ChannelLimits::default()), counting).unwrap(), done)
    }
}

impl LoopLocal for Counting {
    type Message = u64;

    fn message(&mut self, message: u64) {
        assert_eq!(message, self.next);
        self.next += 1;
        if self.next == self.count {
            self.done.send(()).unwrap();
        }
    }
}

#[test]
fn messages_from_one_thread_arrive_in_order_and_in_far_fewer_turns() {
    let (group, done) = Counting::start(100_000);
    let handle = &group.handles()[0];
    for number in 0..100_000 {
        handle.send(number).unwrap();
    }
    done.recv_timeout(LONG).unwrap();
    assert!(group.counters().turns < 50_000, "{} turns", group.counters().turns);
}

#[test]
fn what_is_left_for_a_loop_comes_before_what_is_sent_later_and_wakes_nobody() {
    let (group, done) = Counting::start(31);
    let handle = &group.handles()[0];
    for number in 0..30 {
        handle.leave(number).unwrap();
        // Time enough for a turn of its own, if there were one.
        std::thread::sleep(Duration::from_millis(2));
    }
    handle.send(30).unwrap();
    done.recv_timeout(LONG).unwrap();
    // That of the start, and that of the message.
    assert!(group.counters().turns <= 3, "{} turns", group.counters().turns);
}

#[test]
fn what_is_left_for_a_loop_is_there_once_it_is_woken() {
    let (group, done) = Counting::start(2);
    let handle = &group.handles()[0];
    for number in 0..2 {
        handle.leave(number).unwrap();
    }
    assert_eq!(done.recv_timeout(Duration::from_millis(20)), Err(mpsc::RecvTimeoutError::Timeout));
    handle.wake();
    done.recv_timeout(LONG).unwrap();
}

#[test]
fn answers_of_the_loop_itself_wake_nobody() {
    #[derive(Default)]
    struct Desk(Vec<(BytesMut, Reply<Answer>)>);
    impl LoopLocal for Desk {
        type Message = ();
        fn message(&mut self, (): ()) {}
        fn turn_end(&mut self, _: Instant) {
            for (request, reply) in self.0.drain(..) {
                reply.send(answer(request));
            }
        }
    }
    let park = |desk: &mut Desk, request: BytesMut, reply: Responder<'_, Answer>| {
        desk.0.push((request, reply.later()));
    };
    let group = EventLoopGroup::start(one_loop(ChannelLimits::default()), |_, _| Desk::default()).unwrap();
    let address = group.bind(loopback(), serving::<Desk, _, true>(park)).unwrap().local_address().unwrap();
    let stream = client(address);
    round_trip(&stream, b"warm");
    let before = group.counters();
    for _ in 0..100 {
        round_trip(&stream, b"x");
    }
    let after = group.counters();
    assert_eq!(after.turns - before.turns, 100, "no turn because of the answers alone");
    assert_eq!((after.reads - before.reads, after.writes - before.writes), (100, 100));
}
