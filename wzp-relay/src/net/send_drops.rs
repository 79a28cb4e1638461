//! UDP packets that the kernel took from a socket, reported as sent, and dropped because a
//! queue before an interface was full.
//!
//! A socket can be told of each (IP_RECVERR gives ENOBUFS), and the relay's are not: with
//! that option the kernel also reports every ICMP error about the port, in the next call
//! for whatever peer it is, out of the memory for packets that came, and whoever can forge
//! an ICMP message can cause one. The kernel counts the same drops for all sockets of a
//! network namespace, which costs nobody anything.

use std::path::Path;

use wzp_untrusted::file;

/// Longest of the kernel's pages of counters, in bytes.
const MOST: u64 = 64 << 10;

/// How many there were, of all programs of this network namespace: `SndbufErrors` of UDP
/// over both versions of IP. Each time that a socket has no room for a packet, which its
/// program then tries again, is in it, too. `None`: the system does not tell.
pub fn send_buffer_errors() -> Option<u64> {
    let page = |name| file::read_text(&Path::new("/proc/thread-self/net").join(name), MOST).ok();
    let v4 = page("snmp").and_then(|page| of_v4(&page))?;
    // Not there on a host without IPv6.
    let v6 = page("snmp6").and_then(|page| of_v6(&page)).unwrap_or(0);
    Some(v4.saturating_add(v6))
}

/// Of a page in which a line of names precedes a line of numbers.
fn of_v4(page: &str) -> Option<u64> {
    let mut lines = page.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let mut pairs = names.split_whitespace().zip(numbers.split_whitespace());
    pairs.find(|(name, _)| *name == "SndbufErrors")?.1.parse().ok()
}

/// Of a page with a name and a number in each line.
fn of_v6(page: &str) -> Option<u64> {
    let mut pairs = page.lines().filter_map(|line| line.split_once(char::is_whitespace));
    pairs.find(|(name, _)| *name == "Udp6SndbufErrors")?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_pages_are_read_and_odd_ones_are_none() {
        let page = "Ip: Forwarding DefaultTTL\nIp: 1 64\n\
                    Udp: InDatagrams RcvbufErrors SndbufErrors InCsumErrors\nUdp: 9 8 7 6\n\
                    UdpLite: SndbufErrors\nUdpLite: 5\n";
        assert_eq!(of_v4(page), Some(7));
        let odd =
            ["", "Udp: SndbufErrors", "Udp: SndbufErrors\nUdp:", "Udp: SndbufErrors\nUdp: -1"];
        for page in odd {
            assert_eq!(of_v4(page), None, "{page}");
        }
        let page = "Udp6RcvbufErrors                \t3\nUdp6SndbufErrors                \t4\n";
        assert_eq!(of_v6(page), Some(4));
        for page in ["", "Udp6SndbufErrors", "Udp6SndbufErrors x", "UdpLite6SndbufErrors 4"] {
            assert_eq!(of_v6(page), None, "{page}");
        }
        assert!(send_buffer_errors().is_some(), "here");
    }
}
