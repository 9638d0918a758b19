//! Frames that answer nothing: a service that has something to push of its own accord.

use bytes::{Bytes, BytesMut};
use folio_channel::{
    ChannelLimits, EmbeddedChannel, LoopLocal, RequestHandler, Responder, Service, Stage, initializer,
};

use crate::frames::{Answer, Frames, answer, frame, frames};

/// What the loop has for its channel.
#[derive(Default)]
struct Source {
    left: usize,
    pushed: usize,
    requests: usize,
}

impl LoopLocal for Source {
    type Message = usize;

    fn message(&mut self, more: usize) {
        self.left += more;
    }

    fn turn_end(&mut self, _: std::time::Instant) {}
}

const SIZE: usize = 1000;
const LOW: usize = 10_000;
const HIGH: usize = 30_000;

struct Stream;

impl Service<Source> for Stream {
    type Request = BytesMut;
    type Response = Answer;

    fn call(&mut self, local: &mut Source, request: BytesMut, reply: Responder<'_, Answer>) {
        local.requests += 1;
        reply.send(answer(request));
    }

    fn next_push(&mut self, local: &mut Source) -> Option<Answer> {
        local.left = local.left.checked_sub(1)?;
        local.pushed += 1;
        Some(Answer::Raw(Bytes::from(vec![b'p'; SIZE]).into()))
    }
}

fn channel() -> EmbeddedChannel<Source> {
    let limits = ChannelLimits {
        outbound_bytes_low: LOW,
        outbound_bytes_high: HIGH,
        outbound_heap_bytes_high: 1 << 20,
        ..ChannelLimits::default()
    };
    let served = initializer(|_, pipeline| {
        pipeline.add_last("requests", Stage::inbound(RequestHandler::new(Frames::<false>, Stream)));
        Ok(())
    });
    EmbeddedChannel::with_limits(Source::default(), limits, served)
}

#[test]
fn what_there_is_to_push_leaves_behind_the_answer_in_the_same_write() {
    let mut channel = channel();
    channel.local().left = 2;
    channel.write_inbound(&frames(["a"]));
    let writes = channel.take_writes();
    assert_eq!(writes.len(), 1);
    let bytes: usize = writes[0].iter().map(folio_channel::Outbound::len).sum();
    assert_eq!(bytes, frame(b"a").len() + 2 * SIZE);
}

#[test]
fn a_channel_that_is_woken_pushes_without_a_request() {
    let mut channel = channel();
    channel.local().left = 3;
    channel.channel().wake();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 3 * SIZE);
}

#[test]
fn a_peer_that_takes_nothing_is_pushed_no_more_than_the_low_mark_and_everything_later() {
    let mut channel = channel();
    channel.set_socket_room(0);
    channel.local().left = 1000;
    channel.channel().wake();
    channel.run_until_idle();
    assert_eq!(channel.local().pushed * SIZE, LOW);
    assert!(channel.channel().is_writable());
    let mut taken = 0;
    while taken < 1000 * SIZE {
        channel.set_socket_room(2 * SIZE + 1);
        assert!(channel.run_until_idle() < 100, "it does not turn for nothing");
        let more = channel.read_outbound().len();
        assert!(more > 0, "{taken} bytes, and nothing more comes");
        taken += more;
        assert!(channel.pending() <= LOW + SIZE);
    }
    assert_eq!(channel.local().left, 0);
}

#[test]
fn requests_are_answered_in_the_middle_of_a_stream_without_end() {
    let mut channel = channel();
    channel.local().left = 1_000_000;
    channel.channel().wake();
    for round in 1..=50 {
        channel.set_socket_room(usize::MAX);
        channel.write_inbound(&frames(["a"]));
        channel.run_turn();
        assert!(channel.local().requests >= round - 1, "{round}: {}", channel.local().requests);
        assert!(channel.local().pushed > round, "the stream goes on");
    }
}
