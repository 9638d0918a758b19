//! Requests, answers and their order.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use folio_channel::{
    ChannelError, ChannelLimits, CloseCause, Codec, EmbeddedChannel, LoopLocal, NotPushed, OutboundQueue,
    Pusher, ReadBuf, Reply, RequestHandler, Responder, Service, Stage, initializer,
};

use crate::frames::{Answer, Frames, Handle, answer, echo, frame, frames, serving};

/// A loop that keeps replies until it is told otherwise.
#[derive(Default)]
struct Desk {
    parked: Vec<(BytesMut, Reply<Answer>)>,
    /// Answer everything that is parked at the end of the turn.
    answers_at_turn_end: bool,
    turns: usize,
}

impl LoopLocal for Desk {
    type Message = bool;

    fn message(&mut self, answers_at_turn_end: bool) {
        self.answers_at_turn_end = answers_at_turn_end;
    }

    fn turn_end(&mut self, _: Instant) {
        self.turns += 1;
        if self.answers_at_turn_end {
            for (request, reply) in self.parked.drain(..) {
                reply.send(answer(request));
            }
        }
    }
}

fn park(desk: &mut Desk, request: BytesMut, reply: Responder<'_, Answer>) {
    match request.first() {
        Some(b'!') => reply.send(answer(request)),
        Some(b'-') => reply.none(),
        Some(b'?') => drop(reply),
        _ => desk.parked.push((request, reply.later())),
    }
}

impl Desk {
    fn answer(&mut self, request: &str) {
        let at = self.parked.iter().position(|(parked, _)| parked == request.as_bytes()).unwrap();
        let (request, reply) = self.parked.remove(at);
        reply.send(answer(request));
    }
}

fn parking<const IN_ORDER: bool>(limits: ChannelLimits) -> EmbeddedChannel<Desk> {
    EmbeddedChannel::with_limits(Desk::default(), limits, serving::<Desk, _, IN_ORDER>(park))
}

#[test]
fn answers_leave_in_the_order_of_the_requests_whatever_order_they_come_in() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a", "b", "!now", "-none", "c"]));
    assert_eq!(channel.read_outbound(), b"");
    channel.local().answer("c");
    channel.local().answer("b");
    channel.run_turn();
    assert_eq!(channel.read_outbound(), b"");
    channel.local().answer("a");
    channel.run_turn();
    assert_eq!(channel.take_writes().len(), 1, "all four in one write");
    channel.write_inbound(&frames(["!next"]));
    assert_eq!(channel.read_outbound(), frames(["!next"]));
}

#[test]
fn the_bytes_of_answers_in_order_are_those_of_the_requests_in_order() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a", "b", "!now", "-none", "c"]));
    for request in ["c", "a", "b"] {
        channel.local().answer(request);
        channel.run_turn();
    }
    assert_eq!(channel.read_outbound(), frames(["a", "b", "!now", "c"]));
}

#[test]
fn answers_that_may_overtake_leave_as_they_come() {
    let mut channel = parking::<false>(ChannelLimits::default());
    channel.write_inbound(&frames(["a", "b", "!now", "-none", "c"]));
    assert_eq!(channel.read_outbound(), frames(["!now"]));
    for request in ["c", "a", "b"] {
        channel.local().answer(request);
        channel.run_turn();
        assert_eq!(channel.read_outbound(), frame(request.as_bytes()));
    }
}

#[test]
fn what_turn_end_answers_leaves_in_the_same_turn_in_one_write() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.local().answers_at_turn_end = true;
    channel.write_inbound(&frames(["a", "b", "c"]));
    let writes = channel.take_writes();
    assert_eq!((writes.len(), writes[0].len()), (1, 1));
    assert_eq!(channel.run_until_idle(), 0, "nothing was left for another turn");
}

#[test]
fn a_message_alone_makes_a_turn_that_ends_with_turn_end() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a"]));
    let before = channel.local().turns;
    channel.event_loop().clone().send(true).unwrap();
    assert_eq!(channel.run_until_idle(), 1);
    assert_eq!(channel.local().turns, before + 1);
    assert_eq!(channel.read_outbound(), frames(["a"]));
}

#[test]
fn an_answer_from_another_thread_finds_its_way() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a"]));
    let (request, reply) = channel.local().parked.pop().unwrap();
    std::thread::spawn(move || reply.send(answer(request))).join().unwrap();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["a"]));
}

#[test]
fn a_request_that_is_dropped_unanswered_closes_the_channel() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["!before", "?"]));
    assert_eq!(channel.read_outbound(), frames(["!before"]));
    assert!(channel.close_cause().unwrap().to_string().contains("dropped without an answer"));

    let mut channel = parking::<false>(ChannelLimits::default());
    channel.write_inbound(&frames(["a"]));
    channel.local().parked.clear();
    channel.run_until_idle();
    assert!(channel.close_cause().unwrap().to_string().contains("dropped without an answer"));
}

#[test]
fn a_reply_to_a_channel_that_has_ended_reaches_nobody_and_harms_nobody() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a", "b"]));
    assert!(!channel.local().parked[0].1.is_closed());
    channel.channel().close();
    channel.run_turn();
    assert!(channel.close_cause().is_some());
    let mut parked = std::mem::take(&mut channel.local().parked);
    let (_, reply) = parked.pop().unwrap();
    assert!(reply.is_closed());
    assert!(matches!(reply.push(answer("x")), Err(NotPushed::Closed(_))));
    reply.send(answer("b"));
    drop(parked);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), b"");
}

#[test]
fn requests_in_flight_are_bounded_in_number() {
    let limits = ChannelLimits { in_flight_max: 3, ..ChannelLimits::default() };
    for_both_orders(&limits, |channel| {
        channel.write_inbound(&frames(["a", "b", "c", "d", "e"]));
        assert_eq!(channel.local().parked.len(), 3);
        channel.write_inbound(&frames(["f"]));
        assert_eq!(channel.local().parked.len(), 3, "the socket is not even read");
        assert_eq!(channel.unconsumed(), frames(["d", "e"]).len());
        channel.local().answer("a");
        channel.run_until_idle();
        assert_eq!(channel.local().parked.len(), 3, "one more was let in");
        channel.local().answers_at_turn_end = true;
        channel.run_turn();
        channel.run_until_idle();
        assert_eq!(channel.read_outbound(), frames(["a", "b", "c", "d", "e", "f"]));
    });
}

#[test]
fn requests_in_flight_are_bounded_in_bytes() {
    let limits = ChannelLimits { in_flight_bytes_max: 6, ..ChannelLimits::default() };
    for_both_orders(&limits, |channel| {
        channel.write_inbound(&frames(["aaa", "bbb", "c"]));
        assert_eq!(channel.local().parked.len(), 2, "the one that goes beyond is the last");
        channel.local().answer("aaa");
        channel.run_until_idle();
        assert_eq!(channel.local().parked.len(), 2);
        channel.local().answers_at_turn_end = true;
        channel.run_turn();
        channel.run_until_idle();
        assert_eq!(channel.read_outbound(), frames(["aaa", "bbb", "c"]));
    });
}

#[test]
fn a_protocol_of_one_request_at_a_time_looks_at_the_next_when_the_one_before_is_answered() {
    struct OneAtATime;
    impl Codec for OneAtATime {
        type Request = BytesMut;
        type Response = Answer;
        const IN_ORDER: bool = true;
        const IN_FLIGHT_MAX: usize = 1;
        fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<BytesMut>, ChannelError> {
            Frames::<true>.decode(input)
        }
        fn encode(&mut self, response: Answer, out: &mut OutboundQueue) -> Result<(), ChannelError> {
            Frames::<true>.encode(response, out)
        }
    }
    let mut channel = EmbeddedChannel::new(
        Desk::default(),
        initializer(|_, pipeline| {
            let handler = RequestHandler::new(OneAtATime, Handle(park));
            pipeline.add_last("requests", Stage::inbound(handler));
            Ok(())
        }),
    );
    channel.write_inbound(&frames(["!now", "a", "!behind", "b"]));
    assert_eq!(channel.read_outbound(), frames(["!now"]));
    channel.local().answer("a");
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["a", "!behind"]));
    channel.local().answer("b");
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["b"]));
}

fn for_both_orders(limits: &ChannelLimits, claim: fn(&mut EmbeddedChannel<Desk>)) {
    claim(&mut parking::<true>(limits.clone()));
    claim(&mut parking::<false>(limits.clone()));
}

#[test]
fn a_service_that_is_not_ready_leaves_the_input_unread_until_the_channel_is_woken() {
    /// Ready as often as the number says.
    struct Reluctant(Arc<AtomicUsize>);
    impl Service<()> for Reluctant {
        type Request = BytesMut;
        type Response = Answer;
        fn poll_ready(&mut self, (): &mut ()) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ready| ready.checked_sub(1)).is_ok()
        }
        fn call(&mut self, (): &mut (), request: BytesMut, reply: Responder<'_, Answer>) {
            reply.send(answer(request));
        }
    }
    let ready = Arc::new(AtomicUsize::new(2));
    let mut channel = {
        let ready = Arc::clone(&ready);
        EmbeddedChannel::new(
            (),
            initializer(move |_, pipeline| {
                let handler = RequestHandler::new(Frames::<true>, Reluctant(Arc::clone(&ready)));
                pipeline.add_last("requests", Stage::inbound(handler));
                Ok(())
            }),
        )
    };
    channel.write_inbound(&frames(["a", "b", "c", "d"]));
    channel.write_inbound(&frames(["e"]));
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["a", "b"]));
    assert_eq!(channel.unconsumed(), frames(["c", "d"]).len(), "the socket is not read");
    ready.store(1, Ordering::Relaxed);
    channel.channel().wake();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["c"]));
    ready.store(10, Ordering::Relaxed);
    channel.event_loop().clone().wake_paused();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["d", "e"]));
}

#[test]
fn a_pushed_frame_holds_no_slot_and_overtakes() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a", "b"]));
    channel.local().parked[1].1.push(answer("part 1")).unwrap();
    channel.local().parked[1].1.push(answer("part 2")).unwrap();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["part 1", "part 2"]));
    channel.local().answers_at_turn_end = true;
    channel.run_turn();
    assert_eq!(channel.read_outbound(), frames(["a", "b"]));
}

#[test]
fn pushed_frames_are_bounded_and_given_back_while_the_peer_takes_nothing() {
    let limits = ChannelLimits { pushed_max: 2, outbound_heap_bytes_high: 50, ..ChannelLimits::default() };
    let mut channel = parking::<true>(limits);
    channel.write_inbound(&frames(["a"]));
    let (_, reply) = channel.local().parked.pop().unwrap();
    reply.push(answer("1")).unwrap();
    reply.push(answer("2")).unwrap();
    assert!(matches!(reply.push(answer("3")), Err(NotPushed::Full(Answer::Frame(frame))) if frame == "3"));
    channel.run_until_idle();
    reply.push(answer("3")).unwrap();
    channel.set_socket_room(0);
    reply.push(answer(vec![0; 60])).unwrap();
    channel.run_until_idle();
    assert!(matches!(reply.push(answer("4")), Err(NotPushed::Full(_))), "above the water mark");
    channel.set_socket_room(1000);
    reply.push(answer("4")).unwrap();
    reply.none();
    channel.run_until_idle();
    assert!(channel.channel().is_open());
}

#[test]
fn frames_pushed_before_the_channel_is_there_are_its_first() {
    struct Preface;
    impl Codec for Preface {
        type Request = BytesMut;
        type Response = Answer;
        const IN_ORDER: bool = false;
        fn open(&mut self, out: &mut OutboundQueue) -> Result<(), ChannelError> {
            out.tail().put_slice(b"preface");
            Ok(())
        }
        fn decode(&mut self, input: &mut ReadBuf) -> Result<Option<BytesMut>, ChannelError> {
            Frames::<false>.decode(input)
        }
        fn encode(&mut self, response: Answer, out: &mut OutboundQueue) -> Result<(), ChannelError> {
            Frames::<false>.encode(response, out)
        }
    }
    let slot: Arc<Mutex<Option<Pusher<Answer>>>> = Arc::default();
    let mut channel = {
        let slot = Arc::clone(&slot);
        EmbeddedChannel::new(
            (),
            initializer(move |_, pipeline| {
                let handler = RequestHandler::new(Preface, Handle(echo));
                let pusher = handler.pusher();
                pusher.push(answer("first")).map_err(|_| ChannelError::internal("full"))?;
                *slot.lock().unwrap() = Some(pusher);
                pipeline.add_last("requests", Stage::inbound(handler));
                Ok(())
            }),
        )
    };
    let pusher = slot.lock().unwrap().take().unwrap();
    pusher.push(answer("second")).unwrap();
    channel.run_until_idle();
    let mut expected = b"preface".to_vec();
    expected.extend(frames(["first", "second"]));
    assert_eq!(channel.read_outbound(), expected);
    channel.channel().close();
    channel.run_until_idle();
    assert!(pusher.is_closed());
    assert!(matches!(pusher.push(answer("late")), Err(NotPushed::Closed(_))));
}

#[test]
fn a_peer_that_has_finished_sending_gets_what_it_is_owed_and_then_the_end() {
    let mut channel = parking::<true>(ChannelLimits::default());
    channel.write_inbound(&frames(["a", "b"]));
    channel.finish_inbound();
    assert!(channel.close_cause().is_none() && !channel.channel().is_open());
    channel.local().answer("a");
    channel.run_until_idle();
    channel.set_socket_room(1);
    channel.local().answer("b");
    channel.run_until_idle();
    assert!(channel.close_cause().is_none(), "half an answer is no answer");
    channel.set_socket_room(100);
    assert_eq!(channel.read_outbound(), frames(["a", "b"]));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Peer)));

    let mut channel = parking::<true>(ChannelLimits::default());
    channel.finish_inbound();
    assert!(matches!(channel.close_cause(), Some(CloseCause::Peer)), "nothing is owed");
}

#[test]
fn requests_that_waited_for_room_when_the_peer_finished_are_still_answered() {
    let limits = ChannelLimits { in_flight_max: 1, ..ChannelLimits::default() };
    let mut channel = parking::<true>(limits);
    channel.write_inbound(&frames(["a", "b", "c"]));
    channel.finish_inbound();
    channel.local().answers_at_turn_end = true;
    channel.run_turn();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["a", "b", "c"]));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Peer)));
}

#[test]
fn a_peer_that_has_finished_is_not_owed_anything_for_longer_than_the_linger() {
    let limits = ChannelLimits { half_close_linger: Duration::from_secs(2), ..ChannelLimits::default() };
    let mut channel = parking::<true>(limits);
    channel.write_inbound(&frames(["a"]));
    channel.finish_inbound();
    channel.advance(Duration::from_millis(1999));
    assert!(channel.close_cause().is_none());
    channel.advance(Duration::from_millis(1));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Peer)));
}

#[test]
fn a_peer_that_finishes_while_no_room_is_left_for_its_requests_is_noticed_at_once() {
    let limits = ChannelLimits {
        in_flight_max: 1,
        half_close_linger: Duration::from_secs(2),
        ..ChannelLimits::default()
    };
    let mut channel = parking::<true>(limits.clone());
    channel.write_inbound(&frames(["a"]));
    channel.finish_inbound();
    assert!(channel.close_cause().is_none() && !channel.channel().is_open());
    channel.advance(Duration::from_secs(2));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Peer)));

    // What comes along with the end is a request like others; then the end is noticed behind the last.
    let mut channel = parking::<true>(limits);
    channel.write_inbound(&frames(["a"]));
    channel.write_inbound(&frames(["b"]));
    channel.finish_inbound();
    assert!(channel.channel().is_open());
    channel.local().answer("a");
    channel.run_until_idle();
    assert!(!channel.channel().is_open() && channel.close_cause().is_none());
    channel.local().answer("b");
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), frames(["a", "b"]));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Peer)));
}

#[test]
fn the_service_is_told_that_the_channel_has_ended() {
    struct Mourner(Arc<AtomicUsize>);
    impl Service<()> for Mourner {
        type Request = BytesMut;
        type Response = Answer;
        fn call(&mut self, (): &mut (), _: BytesMut, reply: Responder<'_, Answer>) {
            reply.none();
        }
        fn closed(&mut self, (): &mut ()) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let told = Arc::new(AtomicUsize::new(0));
    let mut channel = {
        let told = Arc::clone(&told);
        EmbeddedChannel::new(
            (),
            initializer(move |_, pipeline| {
                let handler = RequestHandler::new(Frames::<true>, Mourner(Arc::clone(&told)));
                pipeline.add_last("requests", Stage::inbound(handler));
                Ok(())
            }),
        )
    };
    channel.write_inbound(&[0xff]);
    assert_eq!(told.load(Ordering::Relaxed), 1);
}

#[test]
fn request_bytes_split_off_outlive_the_turns_that_follow() {
    let mut channel = parking::<true>(ChannelLimits::default());
    for round in 0..100_u8 {
        channel.write_inbound(&frame(&[b'a' + round % 26; 200]));
    }
    for (round, (request, _)) in channel.local().parked.iter().enumerate() {
        assert!(request.iter().all(|byte| usize::from(*byte) == usize::from(b'a') + round % 26));
    }
    channel.local().answers_at_turn_end = true;
    channel.run_turn();
    assert_eq!(channel.read_outbound().len(), 100 * 201);
}
