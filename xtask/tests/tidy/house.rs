//! The plan of the house: who may use whom. A new arrow is a decision: write it here, and
//! `docs/design.md` shows it.

/// Crates, and which of this project's they use, but for tests and build scripts.
pub(crate) const CRATES: &[(&str, &[&str])] = &[
    ("wzp-build", &[]),
    ("wzp-common", &[]),
    ("wzp-pages", &[]),
    ("wzp-pem", &[]),
    ("wzp-proto", &[]),
    ("wzp-testbed", &[]),
    ("wzp-untrusted", &[]),
    ("wzp-ebpf", &["wzp-common"]),
    ("wzp-media", &["wzp-proto"]),
    ("wzp-telemetry", &["wzp-pem", "wzp-untrusted"]),
    ("wzp-transport", &["wzp-pem", "wzp-proto", "wzp-untrusted"]),
    ("wzp-kernel", &["wzp-common", "wzp-telemetry"]),
    ("wzp-sfu", &["wzp-common", "wzp-proto", "wzp-telemetry", "wzp-transport", "wzp-untrusted"]),
    ("wzp-sim", &["wzp-proto", "wzp-sfu", "wzp-telemetry", "wzp-transport"]),
    (
        "wzp-relay",
        &[
            "wzp-common",
            "wzp-kernel",
            "wzp-pages",
            "wzp-proto",
            "wzp-sfu",
            "wzp-telemetry",
            "wzp-transport",
            "wzp-untrusted",
        ],
    ),
    ("wzp-command", &["wzp-proto", "wzp-transport", "wzp-untrusted"]),
    ("wzp-load", &["wzp-command", "wzp-proto", "wzp-transport"]),
    (
        "wzp-client",
        &[
            "wzp-command",
            "wzp-load",
            "wzp-media",
            "wzp-pages",
            "wzp-proto",
            "wzp-transport",
            "wzp-untrusted",
        ],
    ),
    ("wzp-attack", &["wzp-proto", "wzp-testbed", "wzp-transport"]),
    ("wzp-bench", &["wzp-testbed"]),
    ("xtask", &["wzp-testbed"]),
];

/// Rooms of a crate, and which others of it each uses. A room is a file or a folder beside
/// `lib.rs`; one that uses none and is used by none is not listed.
pub(crate) type Rooms = &'static [(&'static str, &'static [&'static str])];

/// Crates whose rooms are planned.
pub(crate) const ROOMS: &[(&str, Rooms)] = &[
    (
        "wzp-sfu",
        &[
            ("count", &["ids"]),
            ("access", &["count", "ids"]),
            ("mail", &["access", "ids", "limits", "path"]),
            ("admission", &["count", "ids", "limits", "mail"]),
            ("conn", &["admission", "ids", "limits", "path"]),
            ("room", &["count", "ids", "limits", "mail"]),
            ("session", &["access", "conn", "count", "ids", "limits", "mail", "room"]),
            (
                "shard",
                &[
                    "access",
                    "admission",
                    "conn",
                    "count",
                    "ids",
                    "limits",
                    "mail",
                    "path",
                    "room",
                    "session",
                ],
            ),
        ],
    ),
    (
        "wzp-kernel",
        &[
            ("attach", &["error", "object"]),
            ("addresses", &["netlink"]),
            ("forecast", &["attach", "error", "netlink", "queues"]),
            ("interfaces", &["attach", "error", "reader"]),
            ("load", &["error", "memory", "object", "privilege", "slots"]),
            ("memory", &["slots"]),
            ("privilege", &["error"]),
            ("queues", &["addresses", "netlink"]),
            ("reader", &["attach", "load", "memory", "slots"]),
            ("steering", &["object"]),
        ],
    ),
    (
        "wzp-relay",
        &[
            ("config", &["paths"]),
            ("audit", &["build_info"]),
            ("auth", &["audit", "config", "mailbox"]),
            ("net", &["audit", "auth", "events", "mailbox", "privileges"]),
            ("metrics", &["accounts", "auth", "build_info", "events", "net", "words"]),
            (
                "admin",
                &[
                    "accounts",
                    "audit",
                    "auth",
                    "build_info",
                    "config",
                    "events",
                    "mailbox",
                    "metrics",
                    "net",
                    "output",
                    "paths",
                    "privileges",
                    "words",
                ],
            ),
            ("check", &["admin", "auth", "config", "net", "paths", "shell", "words"]),
            (
                "doctor",
                &["admin", "auth", "check", "config", "net", "privileges", "shell", "words"],
            ),
            ("cli", &["admin", "build_info", "check", "config", "doctor", "output"]),
        ],
    ),
];

/// Files that use each other, because they are two halves of one thing: where the circle is,
/// and its members.
pub(crate) const HALVES: &[(&str, &str, &[&str])] = &[
    // A reload prepares and takes what the control of the relay holds.
    ("wzp-relay", "admin", &["control", "reload"]),
];

/// Where `unsafe` may be, and why.
pub(crate) const UNSAFE: &[(&str, &str)] = &[
    ("wzp-ebpf/src/account.rs", "map values are raw pointers"),
    ("wzp-ebpf/src/empty.rs", "a program's entry"),
    ("wzp-ebpf/src/main.rs", "the licence's section"),
    ("wzp-ebpf/src/maps.rs", "map values are raw pointers"),
    ("wzp-ebpf/src/packet.rs", "packets are read in place"),
    ("wzp-ebpf/src/steer.rs", "packets are read in place"),
    ("wzp-kernel/src/memory.rs", "a map is mapped into memory"),
    ("wzp-kernel/src/steering/classic.rs", "setsockopt with a filter"),
    ("wzp-relay/src/doctor/clock.rs", "adjtimex"),
    ("wzp-relay/src/net/drops.rs", "getsockopt with a structure"),
    ("wzp-relay/src/net/send/batch.rs", "sendmmsg"),
    ("wzp-sim/src/memory.rs", "an allocator"),
];

/// Files of more than [`LONGEST`] lines, and why they are not two.
pub(crate) const LONG: &[(&str, &str)] = &[
    ("wzp-media/src/jitter/stream.rs", "half of it is its tests"),
    ("wzp-sim/src/client.rs", "one client: what it does, and what it does wrong"),
    ("wzp-sim/src/world.rs", "one loop over what happens"),
    ("wzp-transport/src/identity.rs", "half of it is its tests"),
];

/// A longer file has more than one purpose, as a rule.
pub(crate) const LONGEST: usize = 500;

/// Crates whose log lines operators filter.
pub(crate) const LOGGING: &[&str] =
    &["wzp-kernel", "wzp-relay", "wzp-sfu", "wzp-telemetry", "wzp-transport"];
