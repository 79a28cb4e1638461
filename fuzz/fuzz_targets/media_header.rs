//! Media datagrams: decoding never fails in another way than by its error, a
//! decoded header encodes to the same bytes, and the relay's short look agrees
//! with the full one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wzp_proto::media::{HEADER_LEN, HeaderError, MediaHeader, sender_of};

fuzz_target!(|datagram: &[u8]| {
    match (sender_of(datagram), MediaHeader::decode(datagram)) {
        (Ok(sender), Ok((header, payload))) => {
            assert_eq!(sender, header.sender_id);
            assert_eq!(header.encode(), datagram[..HEADER_LEN]);
            assert_eq!(payload, &datagram[HEADER_LEN..]);
            assert!(!payload.is_empty());
        }
        (Ok(_), Err(HeaderError::Profile(profile))) => assert_eq!(profile, datagram[0] & 0xf),
        (Err(short), Err(full)) => assert_eq!(short, full),
        disagreement => panic!("{disagreement:?}"),
    }
});
