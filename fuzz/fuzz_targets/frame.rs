//! Frames in both directions: no outcome but those the parser names, nothing
//! read past the end, and a glance that agrees with a close look.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wzp_common::frame::{parse, parse_plain, parse_tagged, parse_untagged};
use wzp_common::reason::{Direction, Reason};

fuzz_target!(|input: (u16, &[u8])| {
    let (port, frame) = input;
    for direction in [Direction::Rx, Direction::Tx] {
        let found = parse(frame, direction, port);
        for glance in [
            parse_plain(frame, direction, port),
            parse_tagged(frame, direction, port),
            parse_untagged(frame, frame, direction, port),
        ] {
            assert!(glance == found || glance == Err(Reason::Short));
        }
        if let Ok(datagram) = found {
            let headers = datagram.header_len + datagram.tag_len;
            assert!((42..=frame.len() as u64).contains(&headers));
            // Nothing behind the headers matters.
            let headers = usize::try_from(headers).unwrap_or(usize::MAX);
            assert_eq!(parse(&frame[..headers], direction, port), found);
            assert_eq!(parse(&frame[..headers - 1], direction, port), Err(Reason::Short));
        }
    }
});
