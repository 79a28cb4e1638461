//! What log lines are about. These are the names that an operator's filter goes by
//! (`RUST_LOG`, `logging.level`, `ctl log-level`), so they are not those of modules: a
//! file that moves changes no filter.

macro_rules! targets {
    ($($(#[doc = $about:literal])+ $name:ident = $text:literal;)+) => {
        $($(#[doc = $about])+ pub const $name: &str = $text;)+

        /// Every target and what its lines are about.
        pub const ALL: &[(&str, &str)] = &[$(($text, concat!($($about),+))),+];
    };
}

targets! {
    /// start, configuration, signals, the service manager, the end
    RELAY = "wzp::relay";
    /// operators' commands, the admin socket, reloads
    ADMIN = "wzp::admin";
    /// connections and sessions: refused, begun, joined, ended
    SESSION = "wzp::session";
    /// who may join: tokens, key sets, the service that decides
    AUTH = "wzp::auth";
    /// a shard that failed and began again
    SHARD = "wzp::shard";
    /// sockets: steering to shards, buffers, destinations that take nothing
    NET = "wzp::net";
    /// counting in the kernel: programs, interfaces
    KERNEL = "wzp::kernel";
    /// capabilities given up, threads that are confined
    PRIVILEGES = "wzp::privileges";
    /// the pages for metrics and health: connections, passwords, certificates
    HTTP = "wzp::http";
    /// certificates and authorities of QUIC and of servers that are asked
    TLS = "wzp::tls";
    /// the log itself: its file, its rotation
    LOG = "wzp::log";
    /// the audit log
    AUDIT = "wzp::audit";
    /// spans and who receives them
    TRACE = "wzp::trace";
    /// panics, which are mistakes in the program
    PANIC = "wzp::panic";
}
