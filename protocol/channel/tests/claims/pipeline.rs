//! Stages, and the bytes between them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use folio_channel::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ChannelLimits,
    ChannelOutboundHandler, CloseCause, EmbeddedChannel, Outbound, ReadBuf, Stage, initializer,
};

use crate::frames::{echo, frame, frames, serving};
use crate::stages::{Flip, Log, Shout, Until, Witness, alone, lines};

#[test]
fn received_bytes_go_from_the_first_stage_to_the_last_and_sent_bytes_the_other_way() {
    let log = Log::default();
    let mut channel = {
        let log = Arc::clone(&log);
        EmbeddedChannel::new(
            (),
            initializer(move |_, pipeline| {
                for name in ["first", "second"] {
                    pipeline.add_last(name, Stage::duplex(Witness { name, log: Arc::clone(&log) }));
                }
                pipeline.add_last("shout", Stage::inbound(Shout));
                Ok(())
            }),
        )
    };
    assert_eq!(lines(&log), ["first added", "second added", "first active", "second active"]);
    channel.write_inbound(b"ab");
    assert_eq!(channel.read_outbound(), b"AB");
    let expected = [
        "first read ab",
        "second read ab",
        "second write 1 bytes",
        "first write 1 bytes",
        "second write 1 bytes",
        "first write 1 bytes",
    ];
    assert_eq!(lines(&log), expected);
    channel.channel().close();
    channel.run_turn();
    assert_eq!(lines(&log), ["first inactive: closed by this side", "second inactive: closed by this side"]);
}

#[test]
fn a_stage_that_transforms_sees_both_directions_and_keeps_the_order() {
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("flip", Stage::duplex(Flip)).add_last("flop", Stage::duplex(Flip));
            pipeline.add_last("again", Stage::duplex(Flip)).add_last("shout", Stage::inbound(Shout));
            Ok(())
        }),
    );
    channel.write_inbound(b"HELLO"); // three flips: the last stage sees `hello`, and its answer is flipped thrice
    assert_eq!(channel.read_outbound(), b"hello");
}

#[test]
fn a_request_split_at_every_byte_is_answered_once_and_whole() {
    let request = frames(["a", "", "three", "and a longer one"]);
    for at in 0..=request.len() {
        let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
        channel.write_inbound(&request[..at]);
        channel.write_inbound(&request[at..]);
        assert_eq!(channel.read_outbound(), request, "split at {at}");
        assert_eq!(channel.unconsumed(), 0);
    }
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    for byte in &request {
        channel.write_inbound(std::slice::from_ref(byte));
    }
    assert_eq!(channel.read_outbound(), request);
}

#[test]
fn a_hundred_requests_in_one_read_are_answered_by_one_write_of_one_part() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    let requests: Vec<u8> = (0..100_u8).flat_map(|number| frame(&[number; 20])).collect();
    channel.write_inbound(&requests);
    let writes = channel.take_writes();
    assert_eq!(writes.iter().map(Vec::len).collect::<Vec<_>>(), [1]);
    assert!(matches!(&writes[0][0], Outbound::Bytes(bytes) if bytes[..] == requests[..]));
}

#[test]
fn a_stage_replaced_in_mid_stream_leaves_its_unread_bytes_to_its_successor() {
    for cut in 0..8 {
        let mut channel = EmbeddedChannel::new(
            (),
            initializer(|_, pipeline| {
                let successor = Some(Stage::inbound(Shout));
                pipeline.add_last("until", Stage::inbound(Until { limit: 3, successor }));
                Ok(())
            }),
        );
        channel.write_inbound(&b"123body"[..cut]);
        channel.write_inbound(&b"123body"[cut..]);
        assert_eq!(channel.read_outbound(), b"BODY", "cut at {cut}");
        assert_eq!(channel.stage_names(), ["successor"]);
    }
}

#[test]
fn a_stage_removed_in_mid_stream_leaves_its_unread_bytes_to_the_next() {
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(|_, pipeline| {
            pipeline.add_last("until", Stage::inbound(Until { limit: 3, successor: None }));
            pipeline.add_last("shout", Stage::inbound(Shout));
            Ok(())
        }),
    );
    channel.write_inbound(b"123body");
    assert_eq!(channel.read_outbound(), b"BODY");
    assert_eq!(channel.stage_names(), ["shout"]);
}

#[test]
fn edits_posted_through_a_handle_are_applied_in_order_between_two_units_of_input() {
    let log = Log::default();
    let mut channel = EmbeddedChannel::new((), alone("shout", || Stage::inbound(Shout)));
    let witness = |name| Stage::duplex(Witness { name, log: Arc::clone(&log) });
    channel.write_inbound(b"before");
    let pipeline = channel.channel().pipeline();
    pipeline.add_first("b", witness("b")).add_before("b", "a", witness("a")).add_after(
        "b",
        "c",
        witness("c"),
    );
    pipeline.add_last("z", Stage::inbound(Shout)).remove("z").replace("b", "d", witness("d"));
    channel.write_inbound(b"x");
    assert_eq!(channel.stage_names(), ["a", "d", "c", "shout"]);
    assert_eq!(channel.read_outbound(), b"BEFOREX");
    let seen = lines(&log);
    // Each was told once that it is active, though the channel was active long before.
    assert_eq!(seen.iter().filter(|line| line.ends_with("active")).count(), 4, "{seen:?}");
    let reads: Vec<_> = seen.iter().filter(|line| line.contains("read")).collect();
    assert_eq!(reads, ["a read x", "d read x", "c read x"]);
}

#[test]
fn an_edit_that_cannot_be_made_closes_the_channel() {
    type EditBadly = fn(&mut EmbeddedChannel<()>);
    let bad: [EditBadly; 3] = [
        |channel| {
            channel.channel().pipeline().remove("nobody");
        },
        |channel| {
            channel.channel().pipeline().add_last("shout", Stage::inbound(Shout));
        },
        |channel| {
            channel.channel().pipeline().replace("nobody", "somebody", Stage::inbound(Shout));
        },
    ];
    for edit in bad {
        let mut channel = EmbeddedChannel::new((), alone("shout", || Stage::inbound(Shout)));
        edit(&mut channel);
        channel.channel().flush();
        channel.run_turn();
        let cause = channel.close_cause().unwrap();
        assert!(
            matches!(&cause, CloseCause::Failed(error) if matches!(**error, ChannelError::Internal(_))),
            "{cause}"
        );
    }
}

#[test]
fn a_handler_is_never_entered_while_one_is_running() {
    /// Writes, edits, wakes and closes while it is being called, and holds a lock all the time.
    struct Busy {
        running: Arc<Mutex<()>>,
        calls: usize,
    }
    impl Busy {
        fn act(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            let _guard = self.running.try_lock().map_err(|_| ChannelError::internal("re-entered"))?;
            self.calls += 1;
            if self.calls < 20 {
                ctx.write(&b"."[..]);
                ctx.channel().wake();
                ctx.pause_reading();
                ctx.resume_reading();
                ctx.fire_channel_read(BytesMut::from(&b"x"[..]));
            }
            Ok(())
        }
    }
    impl ChannelHandler<()> for Busy {}
    impl ChannelInboundHandler<()> for Busy {
        fn channel_read(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            input: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            input.consume(input.len());
            self.act(ctx)
        }
        fn channel_woken(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            self.act(ctx)
        }
    }
    impl ChannelOutboundHandler<()> for Busy {
        fn write(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            item: Outbound,
        ) -> Result<(), ChannelError> {
            let _guard = self.running.try_lock().map_err(|_| ChannelError::internal("re-entered"))?;
            ctx.write(item);
            Ok(())
        }
    }
    let running = Arc::new(Mutex::new(()));
    let mut channel = EmbeddedChannel::new(
        (),
        initializer(move |_, pipeline| {
            for name in ["one", "two", "three"] {
                pipeline.add_last(name, Stage::duplex(Busy { running: Arc::clone(&running), calls: 0 }));
            }
            pipeline.add_last("end", Stage::inbound(Shout));
            Ok(())
        }),
    );
    channel.write_inbound(b"go");
    channel.run_until_idle();
    assert!(channel.channel().is_open());
    assert!(channel.read_outbound().len() > 20);
}

#[test]
fn an_error_closes_the_channel_after_what_was_answered_before_it() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    let mut input = frames(["good"]);
    input.push(0xff);
    channel.write_inbound(&input);
    assert_eq!(channel.read_outbound(), frames(["good"]));
    let cause = channel.close_cause().unwrap();
    assert_eq!(cause.to_string(), "the peer broke the protocol: a frame of 255 bytes");
    assert!(
        !channel.channel().is_open() && !channel.channel().is_active() && !channel.channel().is_writable()
    );
}

#[test]
fn bytes_that_leave_the_last_stage_are_a_bug_that_closes_the_channel() {
    let mut channel = EmbeddedChannel::new((), alone("flip", || Stage::duplex(Flip)));
    channel.write_inbound(b"x");
    assert!(channel.close_cause().unwrap().to_string().contains("hands bytes on"));
}

#[test]
fn closing_sends_what_was_written_before_and_reads_no_more() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    channel.set_socket_room(2);
    channel.write_inbound(&frames(["first"]));
    let closed = channel.channel().close();
    channel.run_turn();
    channel.write_inbound(&frames(["second"]));
    assert!(!closed.is_done() && !channel.channel().is_open());
    channel.set_socket_room(100);
    assert_eq!(channel.read_outbound(), frames(["first"]));
    assert!(matches!(closed.get(), Some(CloseCause::Local)));
}

#[test]
fn a_peer_that_takes_nothing_is_not_waited_for_longer_than_the_close_linger() {
    let limits = ChannelLimits { close_linger: Duration::from_secs(3), ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(echo));
    channel.set_socket_room(0);
    channel.write_inbound(&frames(["answer"]));
    channel.channel().close();
    channel.run_turn();
    channel.advance(Duration::from_secs(2));
    channel.set_socket_room(1); // progress: it is waited for again
    channel.advance(Duration::from_millis(2999));
    assert!(channel.close_cause().is_none());
    channel.advance(Duration::from_millis(1));
    assert!(matches!(channel.close_cause(), Some(CloseCause::Local)));
}
