//! Back-pressure: what a peer does not take, it does not get more of.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use folio_channel::{
    ChannelError, ChannelHandler, ChannelHandlerContext, ChannelInboundHandler, ChannelLimits,
    EmbeddedChannel, LoopLocal, Outbound, ReadBuf, Responder, Stage, initializer,
};
use folio_mapped::SegmentMap;

use crate::frames::{Answer, echo, frame, serving};

/// Answers every request with a hundred times its size.
#[expect(clippy::needless_pass_by_value, reason = "the shape of a service")]
fn amplify<L: LoopLocal>(_: &mut L, request: BytesMut, reply: Responder<'_, Answer>) {
    reply.send(Answer::Raw(Bytes::from(vec![request[0]; 10_000]).into()));
}

#[test]
fn a_peer_that_floods_and_reads_nothing_costs_bounded_memory_and_gets_everything_in_order_later() {
    let limits = ChannelLimits { outbound_heap_bytes_high: 100_000, ..ChannelLimits::default() };
    let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(amplify));
    channel.set_socket_room(0);
    let flood: Vec<u8> = (0..20_000_u32).flat_map(|number| frame(&[(number % 251) as u8])).collect();
    for piece in flood.chunks(1000) {
        channel.write_inbound(piece);
    }
    channel.run_until_idle();
    assert!(channel.pending() <= 100_000 + 10_000, "{} bytes of answers", channel.pending());
    assert!(channel.unconsumed() <= 1000, "{} bytes of input", channel.unconsumed());
    assert!(!channel.channel().is_writable());

    // Takes it a little at a time.
    let mut answered = Vec::new();
    let mut stuck = 0;
    while stuck < 10 {
        channel.set_socket_room(300_000);
        channel.run_until_idle();
        let more = channel.read_outbound();
        stuck = if more.is_empty() { stuck + 1 } else { 0 };
        assert!(channel.pending() <= 110_000);
        answered.extend(more);
    }
    assert_eq!(answered.len(), 20_000 * 10_000);
    for (number, part) in answered.chunks(10_000).enumerate() {
        assert!(part.iter().all(|byte| usize::from(*byte) == number % 251), "answer {number}");
    }
}

#[test]
fn each_high_mark_stops_the_reading_and_its_low_mark_resumes_it() {
    let map = SegmentMap::heap(1 << 16);
    let range = map.appender().unwrap().append(&[std::io::IoSlice::new(&[9; 1000])]).unwrap();
    let mapped = map.slice(range).unwrap();
    let heap = Bytes::from(vec![9; 1000]);
    let defaults = ChannelLimits::default;
    let cases = [
        (
            "bytes",
            ChannelLimits { outbound_bytes_high: 10_000, outbound_bytes_low: 4000, ..defaults() },
            true,
        ),
        ("heap bytes", ChannelLimits { outbound_heap_bytes_high: 10_000, ..defaults() }, false),
        ("parts", ChannelLimits { outbound_parts_high: 10, ..defaults() }, true),
    ];
    for (name, limits, use_mapped) in cases {
        let part = if use_mapped { Outbound::Mapped(mapped.clone()) } else { Outbound::Bytes(heap.clone()) };
        let handle = move |_: &mut (), _: BytesMut, reply: Responder<'_, Answer>| {
            reply.send(Answer::Raw(part.clone()));
        };
        let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(handle));
        channel.set_socket_room(0);
        channel.write_inbound(&frame(b"x").repeat(30));
        assert_eq!(channel.pending(), 10_000, "{name}: ten answers are the mark");
        assert!(!channel.channel().is_writable(), "{name}");
        channel.set_socket_room(4000);
        channel.run_until_idle();
        assert_eq!(channel.pending(), 6000, "{name}: not low enough");
        assert!(!channel.channel().is_writable());
        channel.set_socket_room(2000);
        channel.run_until_idle();
        assert!(channel.pending() >= 10_000, "{name}: low enough, it went on");
        channel.set_socket_room(usize::MAX);
        channel.run_until_idle();
        assert_eq!(channel.read_outbound().len(), 30_000, "{name}");
        assert!(channel.channel().is_writable());
    }
}

#[test]
fn below_the_mark_for_heap_bytes_mapped_parts_do_not_count_and_copies_of_them_do() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 19).unwrap();
    let slice = SegmentMap::open(file, 1 << 19, 1 << 19).unwrap().slice(0..1 << 19).unwrap();
    let copy = slice.copied().unwrap();
    for (slice, is_writable) in [(slice, true), (copy, false)] {
        let limits = ChannelLimits { outbound_heap_bytes_high: 1 << 18, ..ChannelLimits::default() };
        let mut channel = EmbeddedChannel::with_limits((), limits, serving::<(), _, true>(echo));
        channel.set_socket_room(0);
        channel.channel().write_and_flush(slice);
        channel.run_turn();
        assert_eq!(channel.channel().is_writable(), is_writable);
    }
}

#[test]
fn every_change_of_writability_is_told_to_every_stage() {
    struct Ear(Arc<Mutex<Vec<bool>>>);
    impl ChannelHandler<()> for Ear {}
    impl ChannelInboundHandler<()> for Ear {
        fn channel_read(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
            input: &mut ReadBuf,
        ) -> Result<(), ChannelError> {
            input.consume(input.len());
            ctx.write(Bytes::from(vec![0; 2000]));
            Ok(())
        }
        fn channel_writability_changed(
            &mut self,
            ctx: &mut ChannelHandlerContext<'_, ()>,
        ) -> Result<(), ChannelError> {
            self.0.lock().unwrap().push(ctx.is_writable());
            Ok(())
        }
    }
    let heard = Arc::new(Mutex::new(Vec::new()));
    let limits = ChannelLimits { outbound_heap_bytes_high: 3000, ..ChannelLimits::default() };
    let mut channel = {
        let heard = Arc::clone(&heard);
        EmbeddedChannel::with_limits(
            (),
            limits,
            initializer(move |_, pipeline| {
                pipeline.add_last("ear", Stage::inbound(Ear(Arc::clone(&heard))));
                Ok(())
            }),
        )
    };
    channel.set_socket_room(0);
    channel.write_inbound(b"a");
    assert!(heard.lock().unwrap().is_empty());
    channel.write_inbound(b"b");
    channel.write_inbound(b"not read any more");
    assert_eq!(*heard.lock().unwrap(), [false]);
    channel.set_socket_room(4000);
    assert_eq!(*heard.lock().unwrap(), [false, true]);
    channel.run_until_idle();
    assert_eq!(channel.pending(), 2000, "now it was read");
}
