//! Certificates and keys of the operator: what is read is not empty, and what is
//! said of the rest has nothing of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wzp_pem::{PemError, certificates, private_key};

fuzz_target!(|pem: &[u8]| {
    check(pem, certificates(pem).map(|found| assert!(!found.is_empty())));
    check(pem, private_key(pem).map(drop));
});

fn check(pem: &[u8], read: Result<(), PemError>) {
    let Err(error) = read else { return };
    let told = error.to_string();
    // Words of the sentences may be in the file, but no line of base64.
    let mut lines = pem.split(|byte| matches!(byte, b'\n' | b'\r' | b' '));
    let is_told = |line: &[u8]| told.as_bytes().windows(line.len()).any(|part| part == line);
    assert!(!lines.any(|line| line.len() >= 24 && !line.contains(&b'-') && is_told(line)));
}
