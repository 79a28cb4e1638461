//! What the HTTP listeners of a process count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::family::{Family, Series, Source, single};

/// Counts of all HTTP listeners of a process.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Connections that are open now.
    connections: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    aborted: [AtomicU64; Abort::ALL.len()],
}

/// Why a request got no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Neither GET nor HEAD.
    Method,
    /// There is no such page.
    Path,
    /// No user, an unknown one, or the wrong password.
    Unauthorized,
    /// Its address has tried too many passwords.
    Tries,
    /// A query that the page does not understand.
    Query,
    /// It took too long.
    Late,
    /// The page could not be made.
    Failed,
}

impl Refusal {
    const ALL: [Self; 7] = [
        Self::Method,
        Self::Path,
        Self::Unauthorized,
        Self::Tries,
        Self::Query,
        Self::Late,
        Self::Failed,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::Unauthorized => "unauthorized",
            Self::Tries => "tries",
            Self::Query => "query",
            Self::Late => "late",
            Self::Failed => "failed",
        }
    }
}

/// Why a connection was ended that the client would have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Abort {
    /// The TLS handshake failed or took too long.
    Tls,
    /// The client did not finish a request in time, or not in HTTP.
    Request,
    /// The client did not take an answer in time.
    Unread,
    /// It was open for as long as one may be.
    Age,
    /// All places were taken, and another one came.
    Crowded,
    /// Its address, or process, had all places that one may have, and came again.
    Share,
}

impl Abort {
    const ALL: [Self; 6] =
        [Self::Tls, Self::Request, Self::Unread, Self::Age, Self::Crowded, Self::Share];

    fn name(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Request => "request",
            Self::Unread => "unread",
            Self::Age => "age",
            Self::Crowded => "crowded",
            Self::Share => "share",
        }
    }
}

/// An open connection: counted until it is dropped.
#[derive(Debug)]
pub struct Open(Arc<Traffic>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    /// Counts a connection from here on.
    pub fn open(self: &Arc<Self>) -> Open {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Open(self.clone())
    }

    /// Counts a request that got no page.
    pub fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the end of a connection that the client would have kept.
    pub fn abort(&self, why: Abort) {
        self.aborted[why as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Source for Arc<Traffic> {
    type Scrape<'a> = &'a Traffic;

    fn scrape(&self) -> &Traffic {
        self
    }
}

fn value(count: &AtomicU64) -> f64 {
    count.load(Ordering::Relaxed) as f64
}

fn series(name: &str, count: &AtomicU64) -> Series {
    (vec![name.to_owned()], value(count))
}

pub(super) const FAMILIES: &[Family<Arc<Traffic>>] = &[
    Family::<Arc<Traffic>>::gauge(
        "wzp_http_connections",
        "Open connections to the listeners for metrics and health and to the admin socket",
        |traffic| single(value(&traffic.connections)),
    ).from("listeners"),
    Family::<Arc<Traffic>>::counter(
        "wzp_http_refused_requests_total",
        "Requests that got no page, by reason",
        |traffic| Refusal::ALL.map(|why| series(why.name(), &traffic.refused[why as usize])).into(),
    ).from("listeners").note("`method`, `path`, `unauthorized`, `tries` (too many passwords, `metrics.password_tries_per_minute`), `query` (no such form), `late` (9 seconds), `failed` (the log says why)")
    .by(&["reason"]),
    Family::<Arc<Traffic>>::counter(
        "wzp_http_aborted_connections_total",
        "Connections that were ended before the client was done, by reason",
        |traffic| Abort::ALL.map(|why| series(why.name(), &traffic.aborted[why as usize])).into(),
    ).from("listeners").note("`tls` (no handshake), `request` (not finished in time, or not HTTP), `unread` (an answer not taken within `send_timeout`), `age` (5 minutes; 10 seconds at the admin socket), `crowded` (it was idle, and another one wanted its place), `share` (so did another one of its address or process)")
    .by(&["reason"]),
];
