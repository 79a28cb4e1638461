//! Contestants: what serves, with which settings.

use std::time::Duration;

/// One server to be measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contestant {
    /// What tables call it.
    pub(crate) name: String,
    /// The program that is the server.
    pub(crate) program: Program,
    /// Further arguments of [`Program::Relay`].
    pub(crate) arguments: Vec<String>,
    /// Whether the relay's kernel programs are put on the network interface.
    pub(crate) kernel_counts: bool,
    /// How often somebody reads its metrics meanwhile.
    pub(crate) scraped_every: Option<Duration>,
}

/// A program that can be the server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Program {
    /// This project's relay.
    Relay,
    /// `wzp-testbed/examples/naive_relay.rs`.
    Naive,
    /// A command of the user's, `{listen}` in it for the address.
    Peer(String),
}

impl Contestant {
    fn new(name: impl Into<String>, program: Program) -> Self {
        let name = name.into();
        Self { name, program, arguments: Vec::new(), kernel_counts: false, scraped_every: None }
    }

    /// The naive relay.
    pub(crate) fn naive() -> Self {
        Self::new("naive", Program::Naive)
    }

    /// Any other program that speaks the protocol.
    pub(crate) fn peer(command: &str) -> Self {
        Self::new("peer", Program::Peer(command.to_owned()))
    }

    /// The relay with one shard and these arguments.
    pub(crate) fn relay(name: &str, arguments: &[&str]) -> Self {
        Self { arguments: owned(arguments), ..Self::new(name, Program::Relay) }
    }

    /// The relay with arguments as one writes them behind it.
    pub(crate) fn relay_with(arguments: &str) -> Self {
        let words: Vec<_> = arguments.split_whitespace().collect();
        Self::relay(&format!("relay {arguments}"), &words)
    }

    /// The same with its kernel programs on the network interface.
    pub(crate) fn counted_by_the_kernel(self) -> Self {
        Self { kernel_counts: true, ..self }
    }

    /// The same with its metrics read so often.
    pub(crate) fn scraped(self, every: Duration) -> Self {
        Self { scraped_every: Some(every), ..self }
    }

    /// Threads that forward, where that is set: it cannot use more CPUs.
    pub(crate) fn shards(&self) -> Option<usize> {
        if self.program != Program::Relay {
            return None;
        }
        let position = self.arguments.iter().rposition(|argument| argument == "--shards");
        let given = position.and_then(|at| self.arguments.get(at + 1)?.parse().ok());
        Some(given.unwrap_or(1))
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_one_unless_given() {
        assert_eq!(Contestant::naive().shards(), None);
        assert_eq!(Contestant::relay("relay", &[]).shards(), Some(1));
        assert_eq!(Contestant::relay_with("--shards 4 --ebpf off").shards(), Some(4));
    }
}
