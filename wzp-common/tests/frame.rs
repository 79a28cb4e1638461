//! The parser on frames of all kinds.

use std::net::SocketAddr;

use proptest::prelude::*;
use wzp_common::builder::{C_TAG, DONT_FRAGMENT, Frame, PORT, S_TAG, cases, v4, v6};
use wzp_common::flow::FlowKey;
use wzp_common::frame::{parse, parse_plain, parse_tagged, parse_untagged};
use wzp_common::reason::{Direction, Reason};

fn rx(bytes: &[u8]) -> Result<wzp_common::frame::Datagram, Reason> {
    parse(bytes, Direction::Rx, PORT.to_be())
}

#[test]
fn each_kind_of_frame_is_counted_or_has_its_reason() {
    for (case, frame, expected) in cases() {
        let found = rx(&frame.build());
        assert_eq!(found.map(|_| ()), expected, "{case}");
        if let Ok(datagram) = found {
            let key = FlowKey::new(frame.source, PORT);
            assert_eq!(datagram.key, key.to_words(), "{case}");
            assert_eq!(datagram.header_len, frame.header_len() as u64, "{case}");
            assert_eq!(datagram.tag_len, 4 * frame.tags.len() as u64, "{case}");
        }
    }
}

#[test]
fn the_way_out_is_the_way_in_with_the_ends_exchanged() {
    for (case, frame, _) in cases() {
        let inbound = rx(&frame.build());
        let outbound = parse(&frame.reversed().build()[..], Direction::Tx, PORT.to_be());
        assert_eq!(inbound, outbound, "{case}");
    }
}

#[test]
fn a_frame_cut_off_anywhere_in_its_headers_is_short() {
    for (case, frame, expected) in cases().into_iter().filter(|(_, _, expected)| expected.is_ok()) {
        let bytes = frame.build();
        let headers = frame.header_len() + 4 * frame.tags.len();
        for length in 0..=bytes.len() {
            let found = rx(&bytes[..length]).map(|_| ());
            let expected = if length < headers { Err(Reason::Short) } else { expected };
            assert_eq!(found, expected, "{case}, {length} bytes");
        }
    }
}

#[test]
fn impossible_ipv4_header_lengths_have_a_reason() {
    for length in 0..5 {
        let mut bytes = v4().build();
        bytes[14] = 0x40 | length;
        assert_eq!(rx(&bytes), Err(Reason::BadHeader), "{length}");
    }
}

#[test]
fn plain_frames_are_seen_at_a_glance() {
    let plain = |frame: &Frame| parse_plain(&frame.build()[..], Direction::Rx, PORT.to_be());
    assert_eq!(plain(&v4()), rx(&v4().build()));
    assert_eq!(plain(&v6()), rx(&v6().build()));
    let tagged = Frame { tags: vec![S_TAG], ..v6() };
    let glance = parse_tagged(&tagged.build()[..], Direction::Rx, PORT.to_be());
    assert_eq!(glance, rx(&tagged.build()));
    let options = Frame { option_words: 3, ..v4() }.build();
    let glance = parse_untagged(&options[..], &options[..], Direction::Rx, PORT.to_be());
    assert_eq!(glance, rx(&options));
    for (case, frame, expected) in cases() {
        let odd = !frame.tags.is_empty() || frame.option_words > 0 || !frame.extensions.is_empty();
        if odd && expected.is_ok() {
            assert_eq!(plain(&frame), Err(Reason::Short), "{case}");
        }
    }
}

/// Bytes that look like a frame often enough to get far.
fn likely_frame() -> impl Strategy<Value = Vec<u8>> {
    let ends = prop_oneof![Just(v4()), Just(v6())];
    let tags = prop::collection::vec(prop_oneof![Just(C_TAG), Just(S_TAG)], 0..4);
    let extension =
        prop_oneof![Just(0), Just(43), Just(44), Just(51), Just(60), Just(135), any::<u8>()];
    let extensions = prop::collection::vec((extension, 0..4u8), 0..9);
    let fragment = prop_oneof![Just(DONT_FRAGMENT), any::<u16>()];
    let protocol = prop_oneof![Just(17), any::<u8>()];
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (ends, tags, extensions, fragment, protocol, 0..=10u8, damage, any::<prop::sample::Index>())
        .prop_map(|(ends, tags, extensions, fragment, protocol, option_words, damage, cut)| {
            let frame = Frame { tags, extensions, fragment, protocol, option_words, ..ends };
            let mut bytes = frame.build();
            for (place, value) in damage {
                *place.get_mut(&mut bytes) = value;
            }
            bytes.truncate(cut.index(bytes.len() + 1).max(bytes.len() / 2));
            bytes
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_bytes_have_an_outcome(bytes in prop::collection::vec(any::<u8>(), 0..200), port: u16) {
        for direction in [Direction::Rx, Direction::Tx] {
            let _ = parse(&bytes[..], direction, port);
        }
    }

    #[test]
    fn a_glance_is_never_wrong(bytes in likely_frame()) {
        for direction in [Direction::Rx, Direction::Tx] {
            let (frame, port) = (&bytes[..], PORT.to_be());
            for glance in [
                parse_plain(frame, direction, port),
                parse_tagged(frame, direction, port),
                parse_untagged(frame, frame, direction, port),
            ] {
                if glance != Err(Reason::Short) {
                    prop_assert_eq!(glance, parse(frame, direction, port));
                }
            }
        }
    }

    #[test]
    fn headers_lie_within_the_frame(bytes in likely_frame()) {
        if let Ok(datagram) = rx(&bytes) {
            prop_assert!(datagram.header_len + datagram.tag_len <= bytes.len() as u64);
        }
    }

    #[test]
    fn what_follows_the_headers_does_not_matter(bytes in likely_frame(), more in prop::collection::vec(any::<u8>(), 0..50)) {
        if let Ok(datagram) = rx(&bytes) {
            let longer = [bytes, more].concat();
            prop_assert_eq!(rx(&longer), Ok(datagram));
        }
    }

    #[test]
    fn any_peer_is_found(ip: u32, v6: u128, port: u16) {
        let peers: [SocketAddr; 2] = [
            (std::net::Ipv4Addr::from(ip), port).into(),
            (std::net::Ipv6Addr::from(v6), port).into(),
        ];
        for (peer, own) in peers.into_iter().zip(["198.51.100.1:4433", "[2001:db8::1]:4433"]) {
            let frame = Frame::new(peer, own.parse().unwrap());
            prop_assert_eq!(rx(&frame.build()).unwrap().key, FlowKey::new(peer, PORT).to_words());
        }
    }
}
