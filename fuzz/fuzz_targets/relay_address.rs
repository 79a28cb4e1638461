//! `host:port` as users write it: what is accepted is written in one way, and
//! that way is read back as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wzp_transport::address::RelayAddress;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<RelayAddress>() {
        assert!(!address.host.is_empty());
        assert_eq!(address.to_string().parse(), Ok(address));
    }
});
