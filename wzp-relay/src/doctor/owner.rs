//! Which processes have an address that somebody else wants, as far as /proc tells.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use wzp_untrusted::file;

use crate::shell;

/// Longest table of sockets that is read, in bytes: a hundred thousand of them.
const TABLE: u64 = 16 << 20;

/// Longest of the pages about one process that are read here, in bytes.
const PAGE: u64 = 16 << 10;

/// Processes that are named one by one: a server may have hundreds.
const MOST: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Udp,
    Tcp,
}

/// A process that owns a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pid: u32,
    name: String,
    /// The service of systemd that it belongs to.
    unit: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, unit } = self;
        match unit {
            Some(unit) => write!(f, "process {pid} ({name}, of {unit})"),
            None => write!(f, "process {pid} ({name})"),
        }
    }
}

impl Owner {
    /// The process of that number.
    pub(super) fn process(pid: u32) -> Self {
        let page = |name: &str| {
            file::read_text(&Path::new("/proc").join(pid.to_string()).join(name), PAGE)
                .unwrap_or_default()
        };
        Self { pid, name: page("comm").trim_end().to_owned(), unit: service(&page("cgroup")) }
    }

    /// What tells more about it, for a shell.
    pub(super) fn shown_by(&self) -> Option<String> {
        self.unit.as_ref().map(|unit| format!("systemctl status {}", shell::word(unit)))
    }
}

/// The service in the control groups of a process (proc_pid_cgroup(5)). Those of a user's
/// own systemd are that user's to look at.
fn service(groups: &str) -> Option<String> {
    let path = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        // The second version has no name, and the first has systemd's under its own.
        rest.strip_prefix(':').or_else(|| rest.strip_prefix("name=systemd:"))
    })?;
    let mut parts = path.split('/');
    let is_users = path.split('/').any(|part| part == "user.slice");
    parts.rfind(|part| part.ends_with(".service") && !is_users).map(str::to_owned)
}

/// Several, for people.
pub(super) fn listed(owners: &[Owner]) -> String {
    let told: Vec<_> = owners.iter().take(MOST).map(ToString::to_string).collect();
    let more = owners.len().saturating_sub(MOST);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let has = if owners.len() == 1 { "has" } else { "have" };
    format!("{}{more} {has} it", told.join(", "))
}

/// Who keeps others from that address in this network namespace, this process left out.
/// Nobody, where it is one that this process must not look into.
pub(super) fn of(protocol: Protocol, wanted: SocketAddr) -> Vec<Owner> {
    let tables = match protocol {
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Tcp => ["tcp", "tcp6"],
    };
    let read = |table| {
        let path = Path::new("/proc/thread-self/net").join(table);
        file::read_text(&path, TABLE).unwrap_or_default()
    };
    let sockets: Vec<_> =
        tables.into_iter().flat_map(|table| sockets(&read(table), protocol)).collect();
    let links: BTreeSet<_> = in_the_way(&sockets, wanted)
        .map(|socket| PathBuf::from(format!("socket:[{}]", socket.inode)))
        .collect();
    if links.is_empty() {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: BTreeSet<u32> =
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let has_one = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut open = files.filter_map(|entry| fs::read_link(entry.path()).ok());
        *pid != std::process::id() && open.any(|link| links.contains(&link))
    };
    pids.into_iter().filter(has_one).map(Owner::process).collect()
}

/// A socket in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Socket {
    address: SocketAddr,
    /// Whether others can come to it, as to all of UDP.
    is_open: bool,
    inode: u64,
}

/// Those because of which the address cannot be had: the nearest of all that could be. A
/// socket for `[::]` may leave IPv4 to others, which the tables do not tell, so one that
/// must be in the way goes before it.
fn in_the_way(sockets: &[Socket], wanted: SocketAddr) -> impl Iterator<Item = &Socket> {
    let distance = move |socket: &Socket| {
        let near = near(socket.address.ip().to_canonical(), wanted.ip().to_canonical())?;
        (socket.address.port() == wanted.port()).then_some((!socket.is_open, near))
    };
    let nearest = sockets.iter().filter_map(distance).min();
    sockets.iter().filter(move |socket| nearest.is_some() && distance(socket) == nearest)
}

/// How surely a socket with one address keeps others from another one.
fn near(one: IpAddr, other: IpAddr) -> Option<u8> {
    let takes = |all: IpAddr, ip: IpAddr| match (all.is_unspecified(), all, ip) {
        (false, ..) => None,
        (true, IpAddr::V4(_), IpAddr::V4(_)) | (true, IpAddr::V6(_), IpAddr::V6(_)) => Some(1),
        (true, IpAddr::V6(_), IpAddr::V4(_)) => Some(2),
        (true, IpAddr::V4(_), IpAddr::V6(_)) => None,
    };
    if one == other { Some(0) } else { takes(one, other).or_else(|| takes(other, one)) }
}

/// The sockets in a table (proc_pid_net(5)).
fn sockets(table: &str, protocol: Protocol) -> Vec<Socket> {
    const LISTENS: &str = "0A";
    let found = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let is_open = protocol == Protocol::Udp || *fields.get(3)? == LISTENS;
        // What is over already belongs to nobody.
        let inode = fields.get(9)?.parse().ok().filter(|inode| *inode > 0)?;
        Some(Socket { address: SocketAddr::new(address(ip)?, port), is_open, inode })
    });
    found.collect()
}

/// An address as these tables have it: words as they are in memory.
fn address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn this_process_is_not_told_of_itself() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(of(Protocol::Udp, udp.local_addr().unwrap()), []);
        assert_eq!(of(Protocol::Tcp, tcp.local_addr().unwrap()), []);
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.2:0").unwrap();
        let v6 = UdpSocket::bind("[::1]:0");
        let table = |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap();
        let has = |table: &str, protocol, wanted: SocketAddr| {
            sockets(table, protocol).iter().any(|socket| socket.address == wanted && socket.is_open)
        };
        assert!(has(&table("udp"), Protocol::Udp, udp.local_addr().unwrap()));
        assert!(has(&table("tcp"), Protocol::Tcp, tcp.local_addr().unwrap()));
        if let Ok(v6) = v6 {
            assert!(has(&table("udp6"), Protocol::Udp, v6.local_addr().unwrap()));
        }
    }

    #[test]
    fn only_sockets_that_are_in_the_way_are_told() {
        // What others have, what is wanted, and which of them are in the way.
        let cases = [
            (&["127.0.0.2:1"][..], "127.0.0.1:1", &[][..]),
            (&["127.0.0.1:2"], "127.0.0.1:1", &[]),
            (&["127.0.0.2:1", "127.0.0.1:1"], "127.0.0.1:1", &[1]),
            (&["127.0.0.1:1", "127.0.0.1:1"], "127.0.0.1:1", &[0, 1]),
            (&["[::ffff:127.0.0.1]:1"], "127.0.0.1:1", &[0]),
            (&["127.0.0.1:1"], "[::ffff:127.0.0.1]:1", &[0]),
            (&["0.0.0.0:1"], "127.0.0.1:1", &[0]),
            (&["[::]:1"], "127.0.0.1:1", &[0]),
            (&["[::]:1", "0.0.0.0:1"], "127.0.0.1:1", &[1]),
            (&["[::]:1", "0.0.0.0:1"], "0.0.0.0:1", &[1]),
            (&["0.0.0.0:1"], "[::1]:1", &[]),
            (&["127.0.0.1:1", "10.0.0.1:1", "[::1]:1"], "0.0.0.0:1", &[0, 1]),
            (&["[::1]:1", "[fe80::1]:1"], "[::]:1", &[0, 1]),
            (&["127.0.0.1:1"], "[::]:1", &[0]),
        ];
        for (others, wanted, expected) in cases {
            let sockets: Vec<_> = others
                .iter()
                .zip(0..)
                .map(|(address, inode)| Socket {
                    address: address.parse().unwrap(),
                    is_open: true,
                    inode,
                })
                .collect();
            let found = in_the_way(&sockets, wanted.parse().unwrap());
            let found: Vec<_> = found.map(|socket| socket.inode).collect();
            assert_eq!(found, expected, "{others:?} {wanted}");
        }
        // One that is connected is in the way of a listener, where nobody listens.
        let socket =
            |is_open, inode| Socket { address: "127.0.0.1:1".parse().unwrap(), is_open, inode };
        let wanted = "127.0.0.1:1".parse().unwrap();
        let both = [socket(false, 1), socket(true, 2)];
        assert_eq!(in_the_way(&both, wanted).collect::<Vec<_>>(), [&both[1]]);
        assert_eq!(in_the_way(&both[..1], wanted).collect::<Vec<_>>(), [&both[0]]);
    }

    #[test]
    fn lines_that_are_odd_name_no_socket() {
        let good = "h\n 1: 0100007F:1151 00000000:0000 0A 0:0 00:0 0 0 0 77 2\n";
        let found = sockets(good, Protocol::Tcp);
        let address = if cfg!(target_endian = "little") { [127, 0, 0, 1] } else { [1, 0, 0, 127] };
        assert_eq!(found, [Socket { address: (address, 4433).into(), is_open: true, inode: 77 }]);
        assert!(!sockets(&good.replace("0A", "01"), Protocol::Tcp)[0].is_open);
        assert!(sockets(&good.replace("0A", "07"), Protocol::Udp)[0].is_open);
        assert_eq!(sockets(&good.replace("77", "0"), Protocol::Tcp), []);
        for odd in ["", "h", "h\n\n", "h\n1: x", "h\n1: A:1151 B 0A", "h\n1: é0007F:1151 0 0A"] {
            assert_eq!(sockets(odd, Protocol::Tcp), [], "{odd}");
        }
    }

    #[test]
    fn services_are_told_by_their_groups() {
        let cases = [
            ("0::/system.slice/nginx.service\n", Some("nginx.service")),
            ("0::/system.slice/system-x.slice/x@1.service/sub\n", Some("x@1.service")),
            ("4:memory:/a.service\n1:name=systemd:/system.slice/b.service\n", Some("b.service")),
            ("0::/user.slice/user-1.slice/user@1.service/app.slice/c.service\n", None),
            ("0::/init.scope\n", None),
            ("", None),
        ];
        for (groups, expected) in cases {
            assert_eq!(service(groups).as_deref(), expected, "{groups}");
        }
        let owner = Owner { pid: 7, name: "x".into(), unit: Some(r"a\x2db.service".into()) };
        assert_eq!(owner.shown_by().unwrap(), r"systemctl status 'a\x2db.service'");
        assert_eq!(owner.to_string(), r"process 7 (x, of a\x2db.service)");
        let many = vec![Owner { unit: None, ..owner }; 5];
        let listed = listed(&many);
        assert!(listed.ends_with("process 7 (x) and 2 more have it"), "{listed}");
    }
}
