//! Peers that nothing is heard of.

use std::time::Duration;

use bytes::BytesMut;
use folio_channel::{
    ChannelError, CloseCause, EmbeddedChannel, IdleTimeout, LoopLocal, Reply, RequestHandler, Responder,
    Stage, initializer,
};

use crate::frames::{Answer, Frames, Handle, answer, frames};

/// Keeps the replies to requests that begin with `w`; answers all others at once.
#[derive(Default)]
struct Waiting(Vec<Reply<Answer>>);

impl LoopLocal for Waiting {
    type Message = ();
    fn message(&mut self, (): ()) {}
}

fn call(local: &mut Waiting, request: BytesMut, reply: Responder<'_, Answer>) {
    match request.first() {
        Some(b'w') => local.0.push(reply.later()),
        _ => reply.send(answer(request)),
    }
}

fn channel() -> EmbeddedChannel<Waiting> {
    EmbeddedChannel::new(
        Waiting::default(),
        initializer(|_, pipeline| {
            pipeline.add_last("idle", Stage::inbound(IdleTimeout::new(LIMIT)));
            pipeline.add_last("requests", Stage::inbound(RequestHandler::new(Frames::<true>, Handle(call))));
            Ok(())
        }),
    )
}

fn is_idle(channel: &EmbeddedChannel<Waiting>) -> bool {
    match channel.close_cause() {
        Some(CloseCause::Failed(error)) => matches!(*error, ChannelError::Idle(LIMIT)),
        _ => false,
    }
}

const LIMIT: Duration = Duration::from_secs(10);
const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_silent_peer_is_closed_when_the_limit_is_over() {
    let mut channel = channel();
    channel.advance(LIMIT - MOMENT);
    assert!(channel.close_cause().is_none());
    channel.advance(MOMENT);
    assert!(is_idle(&channel));
}

#[test]
fn whatever_is_received_begins_the_limit_anew() {
    let mut channel = channel();
    for _ in 0..5 {
        channel.advance(LIMIT - MOMENT);
        channel.write_inbound(&frames(["hello"])[..3]); // half a request is a sign of life
        channel.write_inbound(&frames(["hello"])[3..]);
    }
    channel.advance(LIMIT - MOMENT);
    assert!(channel.close_cause().is_none());
    channel.advance(MOMENT);
    assert!(is_idle(&channel));
}

#[test]
fn a_peer_that_waits_for_its_answer_is_not_idle() {
    let mut channel = channel();
    channel.write_inbound(&frames(["wait"]));
    channel.advance(3 * LIMIT);
    assert!(channel.close_cause().is_none());
    channel.local().0.remove(0).send(answer("at last"));
    channel.run_turn();
    assert_eq!(channel.read_outbound(), frames(["at last"]));
    channel.advance(LIMIT);
    channel.advance(LIMIT);
    assert!(is_idle(&channel));
}

#[test]
fn a_peer_that_takes_nothing_of_what_waits_for_it_is_idle_though_it_is_owed_more() {
    let mut channel = channel();
    channel.write_inbound(&frames(["wait"]));
    channel.set_socket_room(2);
    channel.write_inbound(&frames(["a", "b"]));
    channel.channel().write_and_flush(&b"pushed"[..]);
    channel.run_turn();
    channel.advance(LIMIT / 2);
    channel.set_socket_room(1); // something is taken
    channel.advance(LIMIT - MOMENT);
    assert!(channel.close_cause().is_none());
    channel.advance(MOMENT);
    assert!(is_idle(&channel));
}
