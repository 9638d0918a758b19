//! What a turn does for a channel: reads, writes, deadlines, wake-ups.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use folio_channel::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ChannelLimits,
    ChannelOutboundHandler, EmbeddedChannel, Outbound, ReadBuf, Stage, WriteError, initializer,
};
use folio_mapped::SegmentMap;

use crate::frames::{echo, frame, serving};
use crate::stages::{Flip, Shout, alone};

#[test]
fn a_write_is_done_when_the_socket_has_taken_it_and_fails_when_the_channel_ends_before() {
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    channel.set_socket_room(3);
    let first = channel.channel().write(&b"abc"[..]);
    let second = channel.channel().write(&b"de"[..]);
    assert!(!first.is_done());
    channel.channel().flush();
    channel.run_turn();
    assert!(matches!(first.get(), Some(Ok(()))));
    assert!(second.get().is_none());
    channel.finish_inbound();
    channel.advance(Duration::from_secs(60)); // beyond every linger
    assert!(matches!(second.get(), Some(Err(WriteError::Closed))));
    let late = channel.channel().write_and_flush(&b"f"[..]);
    channel.run_turn();
    assert!(matches!(late.get(), Some(Err(WriteError::Closed))));
}

#[test]
fn a_deadline_comes_at_its_time_and_not_before_however_often_it_was_moved() {
    struct Alarm {
        after: Duration,
    }
    impl ChannelHandler<()> for Alarm {}
    impl ChannelInboundHandler<()> for Alarm {
        fn channel_read(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            input: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            let seconds = u64::from(input.as_slice()[0]);
            input.consume(input.len());
            self.after = Duration::from_secs(seconds);
            ctx.set_deadline(Some(ctx.now() + self.after));
            Ok(())
        }
        fn deadline_reached(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            ctx.write(&b"!"[..]);
            Ok(())
        }
    }
    let mut channel =
        EmbeddedChannel::new((), alone("alarm", || Stage::inbound(Alarm { after: Duration::ZERO })));
    let second = Duration::from_secs(1);
    channel.write_inbound(&[5]);
    channel.advance(4 * second);
    channel.write_inbound(&[5]); // moved away
    channel.advance(4 * second);
    assert_eq!(channel.read_outbound(), b"");
    channel.write_inbound(&[2]); // moved away a little
    channel.write_inbound(&[1]); // and nearer
    channel.advance(second / 2);
    assert_eq!(channel.read_outbound(), b"");
    channel.advance(second / 2);
    assert_eq!(channel.read_outbound(), b"!");
    channel.advance(100 * second);
    assert_eq!(channel.read_outbound(), b"", "once is once");
}

#[test]
fn a_mapped_part_reaches_the_socket_as_a_mapped_part_in_its_place() {
    let map = SegmentMap::heap(64);
    let range = map.appender().unwrap().append(&[std::io::IoSlice::new(b"from the map")]).unwrap();
    let slice = map.slice(range).unwrap();
    let mut channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    channel.set_socket_room(9);
    channel.channel().write(&b"head "[..]);
    channel.channel().write(slice);
    channel.channel().write_and_flush(&b" tail"[..]);
    channel.run_turn();
    channel.set_socket_room(100);
    let writes = channel.take_writes();
    let is_mapped: Vec<Vec<bool>> = writes
        .iter()
        .map(|parts| parts.iter().map(|part| matches!(part, Outbound::Mapped(_))).collect())
        .collect();
    assert_eq!(is_mapped, [vec![false, true], vec![true, false]]);
    let mut channel = EmbeddedChannel::new((), alone("flip", || Stage::duplex(Flip)));
    let slice = map.slice(5..12).unwrap();
    channel.channel().write_and_flush(slice);
    channel.run_turn();
    assert_eq!(channel.read_outbound(), b"THE\0MAP", "a stage that transforms has copied it out");
}

#[test]
fn input_that_never_becomes_a_unit_is_bounded() {
    struct Never;
    impl ChannelHandler<()> for Never {}
    impl ChannelInboundHandler<()> for Never {
        fn channel_read(
            &mut self,
            _: &mut ChannelHandlerContext<'_, ()>,
            _: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            Ok(())
        }
    }
    let limits = ChannelLimits { unfinished_bytes_max: 100_000, ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits((), limits, alone("never", || Stage::inbound(Never)));
    for _ in 0..10 {
        channel.write_inbound(&[0; 10_000]);
    }
    assert_eq!(channel.unconsumed(), 100_000);
    assert!(channel.channel().is_open());
    channel.write_inbound(&[0]);
    assert!(channel.close_cause().unwrap().to_string().contains("no whole unit"));
}

#[test]
fn with_auto_read_off_nothing_is_read_but_what_was_asked_for() {
    let limits = ChannelLimits { read_buffer_bytes: 4096, ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits((), limits, alone("shout", || Stage::inbound(Shout)));
    assert!(channel.channel().config().is_auto_read());
    channel.channel().config().set_auto_read(false);
    channel.run_turn();
    channel.write_inbound(&[b'a'; 5000]);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 0);
    channel.channel().read();
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 4096, "one read of one buffer");
    channel.channel().config().set_auto_read(true);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound().len(), 5000 - 4096);
}

#[test]
fn a_turn_reads_a_bounded_number_of_bytes_of_a_channel() {
    let limits = ChannelLimits {
        read_buffer_bytes: 4096,
        read_bytes_per_turn: 10_000,
        outbound_heap_bytes_high: 1 << 20,
        ..ChannelLimits::default()
    };
    let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(echo));
    let request: Vec<u8> = frame(&[7; 99]).repeat(1000);
    channel.write_inbound(&request);
    let mut turns = 1;
    let mut answered = channel.read_outbound();
    assert!((9_900..=10_000).contains(&answered.len()), "{}", answered.len());
    while answered.len() < request.len() {
        channel.run_turn();
        turns += 1;
        let more = channel.read_outbound();
        assert!((1..=10_100).contains(&more.len()), "{}", more.len());
        answered.extend(more);
    }
    assert_eq!(answered, request);
    assert_eq!(turns, 10);
}

#[test]
fn what_a_channel_is_and_how_it_stands_can_be_asked_from_anywhere() {
    let channel = EmbeddedChannel::new((), serving::<(), _, true>(echo));
    let handle = channel.channel().clone();
    std::thread::spawn(move || {
        assert!(handle.is_open() && handle.is_registered() && handle.is_active() && handle.is_writable());
        assert_eq!(handle.metadata().transport, folio_channel::TransportKind::Embedded);
        assert!(handle.local_address().is_none() && handle.remote_address().is_none());
        assert!(handle.parent().is_none());
        assert!(!handle.close_future().is_done());
        assert_eq!(handle.config().limits().in_flight_max, 1024);
        assert_eq!(handle.event_loop().index(), 0);
    })
    .join()
    .unwrap();
}

/// Holds back what is written: until the turn's end, or for as long as the channel is not writable.
struct Batch {
    held: Vec<Outbound>,
    batches: Arc<Mutex<Vec<usize>>>,
}

impl Batch {
    fn release(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) {
        if !self.held.is_empty() && ctx.is_writable() {
            self.batches.lock().unwrap().push(self.held.len());
            self.held.drain(..).for_each(|item| ctx.write(item));
        }
    }
}

impl ChannelHandler<()> for Batch {}

impl ChannelInboundHandler<()> for Batch {
    fn channel_read(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
        input: &mut ReadBuf,
    ) -> Result<(), ChannelError> {
        ctx.forward(input);
        Ok(())
    }

    fn channel_writability_changed(
        &mut self,
        ctx: &mut ChannelHandlerContext<'_, ()>,
    ) -> Result<(), ChannelError> {
        self.release(ctx);
        Ok(())
    }
}

impl ChannelOutboundHandler<()> for Batch {
    fn write(&mut self, _: &mut ChannelHandlerContext<'_, ()>, item: Outbound) -> Result<(), ChannelError> {
        self.held.push(item);
        Ok(())
    }

    fn flush(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
        self.release(ctx);
        Ok(())
    }

    fn holds_back(&self) -> bool {
        !self.held.is_empty()
    }
}

#[test]
fn a_stage_may_hold_back_what_is_written_until_the_turn_ends_or_the_channel_is_writable() {
    let batches: Arc<Mutex<Vec<usize>>> = Arc::default();
    let mut channel = {
        let batches = Arc::clone(&batches);
        let limits = ChannelLimits { outbound_heap_bytes_high: 4, ..ChannelLimits::default() };
        EmbeddedChannel::with_limits(
            (),
            limits,
            initializer(move |_, pipeline| {
                let batch = |held| Stage::duplex(Batch { held, batches: Arc::clone(&batches) });
                pipeline.add_last("batch", batch(Vec::new())).add_last("batch behind", batch(Vec::new()));
                pipeline.add_last("shout", Stage::inbound(Shout));
                Ok(())
            }),
        )
    };
    channel.write_inbound(b"abc");
    assert_eq!(channel.read_outbound(), b"ABC");
    assert_eq!(std::mem::take(&mut *batches.lock().unwrap()), [3, 3], "one batch of each stage");

    channel.set_socket_room(0);
    channel.write_inbound(b"defg");
    channel.channel().write_and_flush(&b"late"[..]);
    channel.run_until_idle();
    assert_eq!(channel.pending(), 4, "the rest is held back");
    let closed = channel.channel().close();
    channel.run_until_idle();
    assert!(!closed.is_done(), "what is held back is waited for");
    channel.set_socket_room(100);
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), b"DEFGlate");
    assert!(closed.is_done());
}

#[test]
fn a_deadline_that_has_passed_already_comes_once_a_turn() {
    struct Hasty(u32);
    impl ChannelHandler<()> for Hasty {}
    impl ChannelInboundHandler<()> for Hasty {
        fn channel_active(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            ctx.set_deadline(Some(ctx.now()));
            Ok(())
        }
        fn channel_read(
            &mut self,
            _: &mut ChannelHandlerContext<'_, ()>,
            _: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            Ok(())
        }
        fn deadline_reached(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            self.0 += 1;
            ctx.write(&b"."[..]);
            ctx.set_deadline(Some(ctx.now()));
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new((), alone("hasty", || Stage::inbound(Hasty(0))));
    channel.read_outbound();
    channel.run_turn();
    channel.run_turn();
    assert_eq!(channel.read_outbound(), b"..");
}

#[test]
fn a_wake_up_that_comes_while_the_channel_is_being_woken_is_not_lost() {
    struct Insomniac(u32);
    impl ChannelHandler<()> for Insomniac {}
    impl ChannelInboundHandler<()> for Insomniac {
        fn channel_read(
            &mut self,
            _: &mut ChannelHandlerContext<'_, ()>,
            _: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            Ok(())
        }
        fn channel_woken(&mut self, ctx: &mut ChannelHandlerContext<'_, ()>) -> Result<(), ChannelError> {
            ctx.write(&b"."[..]);
            if self.0 > 0 {
                self.0 -= 1;
                ctx.channel().wake();
            }
            Ok(())
        }
    }
    let mut channel = EmbeddedChannel::new((), alone("insomniac", || Stage::inbound(Insomniac(5))));
    channel.channel().wake();
    channel.channel().wake(); // the same, for nobody has looked yet
    channel.run_until_idle();
    assert_eq!(channel.read_outbound(), b"......");
}
