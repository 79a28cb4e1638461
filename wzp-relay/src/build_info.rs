//! What this program was built from.

use std::fmt::Write as _;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use wzp_kernel::object;

/// The version of the relay.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit, `unknown` if it was not built from a repository and nobody said it.
pub const COMMIT: &str = env!("BUILD_COMMIT");
/// The features of this package, or `none`.
pub const FEATURES: &str = env!("BUILD_FEATURES");

/// Of the kernel programs in this program: the first 16 digits of what
/// `cat wzp-kernel/ebpf/bpfel/steer.o wzp-kernel/ebpf/bpfel/wzp.o | sha256sum` gives.
pub fn kernel_objects() -> &'static str {
    static DIGEST: LazyLock<String> = LazyLock::new(|| {
        let mut digest = Sha256::new();
        digest.update(object::STEER_OBJECT);
        digest.update(object::OBJECT);
        digest.finalize()[..8].iter().fold(String::new(), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    });
    &DIGEST
}

/// For `--version`.
pub(crate) fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{VERSION}\ncommit {COMMIT}\nfeatures {FEATURES}\nkernel objects {}",
            kernel_objects()
        )
    });
    &TEXT
}
