//! Whatever happens in whatever order: every request is answered once, in its place, within the bounds.

use bytes::BytesMut;
use folio_channel::{ChannelLimits, EmbeddedChannel, LoopLocal, Reply, Responder};
use proptest::prelude::*;

use crate::frames::{Answer, answer, frame, serving};

/// What may happen to a channel.
#[derive(Clone, Debug)]
enum Step {
    /// So many more bytes arrive.
    Arrive(usize),
    /// The peer takes so many more bytes.
    Take(usize),
    /// One of the parked requests is answered; which one.
    Answer(prop::sample::Index),
    /// Nothing.
    Turn,
}

#[derive(Default)]
struct Desk(Vec<(BytesMut, Reply<Answer>)>);

impl LoopLocal for Desk {
    type Message = ();
    fn message(&mut self, (): ()) {}
}

/// The first byte of a request says how it is answered.
fn serve(desk: &mut Desk, request: BytesMut, reply: Responder<'_, Answer>) {
    match request.first() {
        Some(0) => reply.none(),
        Some(1) => reply.send(answer(request)),
        _ => desk.0.push((request, reply.later())),
    }
}

impl Desk {
    fn answer(&mut self, at: usize) {
        let (request, reply) = self.0.remove(at);
        reply.send(answer(request));
    }
}

fn limits() -> ChannelLimits {
    ChannelLimits {
        read_buffer_bytes: 512,
        read_bytes_per_turn: 700,
        outbound_heap_bytes_high: 300,
        in_flight_max: 5,
        in_flight_bytes_max: 400,
        ..ChannelLimits::default()
    }
}

fn requests() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let request = (0..3_u8, prop::collection::vec(any::<u8>(), 0..200)).prop_map(|(kind, mut rest)| {
        rest.insert(0, kind);
        rest
    });
    prop::collection::vec(request, 0..40)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..1500_usize).prop_map(Step::Arrive),
        (0..400_usize).prop_map(Step::Take),
        any::<prop::sample::Index>().prop_map(Step::Answer),
        Just(Step::Turn),
    ];
    prop::collection::vec(step, 0..80)
}

/// Runs the steps, then lets everything that is under way come to its end; returns what the peer has got.
fn run<const IN_ORDER: bool>(requests: &[Vec<u8>], steps: &[Step]) -> Vec<u8> {
    let mut channel =
        EmbeddedChannel::with_limits(Desk::default(), limits(), serving::<Desk, _, IN_ORDER>(serve));
    let input: Vec<u8> = requests.iter().flat_map(|request| frame(request)).collect();
    let mut arrived = 0;
    let mut output = Vec::new();
    channel.set_socket_room(0);
    for step in steps {
        match step {
            Step::Arrive(count) => {
                let to = (arrived + count).min(input.len());
                channel.write_inbound(&input[arrived..to]);
                arrived = to;
            }
            Step::Take(count) => channel.set_socket_room(*count),
            Step::Answer(which) => {
                let parked = channel.local().0.len();
                if parked > 0 {
                    channel.local().answer(which.index(parked));
                }
            }
            Step::Turn => channel.run_turn(),
        }
        output.extend(channel.read_outbound());
        assert!(channel.local().0.len() <= 5, "requests in flight");
        // The mark, the answer that reached it, and those to the requests in flight.
        assert!(channel.pending() <= 300 + 201 + 5 * 201, "{} bytes pending", channel.pending());
        assert!(channel.unconsumed() <= 700 + 201, "{} bytes unconsumed", channel.unconsumed());
    }
    channel.set_socket_room(usize::MAX);
    channel.write_inbound(&input[arrived..]);
    for _ in 0..10_000 {
        channel.run_until_idle();
        if channel.local().0.is_empty() {
            break;
        }
        channel.local().answer(0);
    }
    assert_eq!(channel.unconsumed(), 0);
    assert!(channel.channel().is_open());
    output.extend(channel.read_outbound());
    output
}

fn split(mut output: &[u8]) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while let Some((len, rest)) = output.split_first() {
        let (payload, rest) = rest.split_at(usize::from(*len));
        answers.push(payload.to_vec());
        output = rest;
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_and_in_order(requests in requests(), steps in steps()) {
        let expected: Vec<_> = requests.iter().filter(|request| request[0] != 0).cloned().collect();
        prop_assert_eq!(split(&run::<true>(&requests, &steps)), expected);
    }

    #[test]
    fn every_request_is_answered_once_when_answers_may_overtake(requests in requests(), steps in steps()) {
        let mut expected: Vec<_> = requests.iter().filter(|request| request[0] != 0).cloned().collect();
        let mut answers = split(&run::<false>(&requests, &steps));
        expected.sort_unstable();
        answers.sort_unstable();
        prop_assert_eq!(answers, expected);
    }
}
