//! Many packets to many receivers in one system call (sendmmsg).

use std::io;
use std::mem;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::SockAddr;

use wzp_sfu::shard::OutPacket;

/// Packets per system call. The gain is nearly all had at 32.
pub(super) const BATCH: usize = 64;

/// Room for one address and one congestion mark.
const CONTROL_BYTES: usize = 64;

/// Control messages of one packet; the kernel wants them aligned.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

/// What became of packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// That the kernel took.
    pub(super) packets: u64,
    /// Of those, without UDP and IP headers.
    pub(super) bytes: u64,
    /// That the kernel will not take: no route, a firewall, too long.
    pub(super) refused: u64,
}

/// Sends at most [`BATCH`] packets and tells of how many it is known what became
/// of them. They are the first; the others have no room in the socket's buffer.
///
/// A call's turn ends with a packet or two: room for 64, 17 KB to be cleared each
/// time, was a quarter of the instructions that the relay spent on such a turn.
pub(super) fn send(socket: &UdpSocket, packets: &[&OutPacket], total: &mut Sent) -> usize {
    match packets.len() {
        0..=2 => send_at_most::<2>(socket, packets, total),
        3..=8 => send_at_most::<8>(socket, packets, total),
        _ => send_at_most::<BATCH>(socket, packets, total),
    }
}

fn send_at_most<const N: usize>(
    socket: &UdpSocket,
    packets: &[&OutPacket],
    total: &mut Sent,
) -> usize {
    let mut addresses: [Option<SockAddr>; N] = [const { None }; N];
    let mut slices: [libc::iovec; N] = [EMPTY_SLICE; N];
    let mut controls = [Control([0; CONTROL_BYTES]); N];
    // SAFETY: all-zero is a valid mmsghdr: null pointers with zero lengths.
    let mut headers: [libc::mmsghdr; N] = unsafe { mem::zeroed() };

    for (index, packet) in packets.iter().enumerate() {
        let address = addresses[index].insert(packet.path.remote.into());
        slices[index] = libc::iovec {
            // sendmmsg does not write through it.
            iov_base: packet.bytes.as_ptr().cast_mut().cast(),
            iov_len: packet.bytes.len(),
        };
        let header = &mut headers[index].msg_hdr;
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        header.msg_iov = &raw mut slices[index];
        header.msg_iovlen = 1;
        header.msg_control = controls[index].0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL_BYTES;
        write_control(header, packet);
    }

    let mut done = 0;
    while done < packets.len() {
        let rest = &mut headers[done..packets.len()];
        // SAFETY: every header points to an address, a slice and a control
        // buffer in the arrays above and to a payload in `packets`; all of them
        // outlive the call, and the count is that of the slice.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0)
        };
        done += match usize::try_from(sent) {
            Ok(sent) => {
                let taken = &packets[done..done + sent];
                total.packets += sent as u64;
                total.bytes += taken.iter().map(|packet| packet.bytes.len() as u64).sum::<u64>();
                sent
            }
            Err(_) => match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => 0,
                io::ErrorKind::WouldBlock => return done,
                // This receiver cannot be reached; the others can.
                _ => {
                    total.refused += 1;
                    1
                }
            },
        };
    }
    done
}

const EMPTY_SLICE: libc::iovec = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };

/// Appends the source address and the congestion mark, as far as the packet
/// has them, and sets the control length to what was written.
fn write_control(header: &mut libc::msghdr, packet: &OutPacket) {
    let mut used = 0;
    match packet.path.local {
        Some(IpAddr::V4(source)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += append(header, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(source)) => {
            let info = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr { s6_addr: source.octets() },
                ipi6_ifindex: 0,
            };
            used += append(header, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if let Some(mark) = packet.ecn {
        let mark = mark as libc::c_int;
        used += match packet.path.remote.ip().to_canonical() {
            IpAddr::V4(_) => append(header, used, libc::IPPROTO_IP, libc::IP_TOS, mark),
            IpAddr::V6(_) => append(header, used, libc::IPPROTO_IPV6, libc::IPV6_TCLASS, mark),
        };
    }
    header.msg_controllen = used;
}

/// Writes one control message at `offset` and returns the bytes it takes.
fn append<T: Copy>(header: &libc::msghdr, offset: usize, level: i32, kind: i32, value: T) -> usize {
    let length = size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, total) =
        unsafe { (libc::CMSG_SPACE(length) as usize, libc::CMSG_LEN(length) as usize) };
    assert!(offset + space <= CONTROL_BYTES, "the control buffer holds an address and a mark");
    // SAFETY: the buffer behind msg_control has CONTROL_BYTES bytes, of which
    // this message's `space` at `offset` were just checked to be a part; it is
    // aligned for cmsghdr, and CMSG_SPACE keeps `offset` so.
    unsafe {
        let message = header.msg_control.cast::<u8>().add(offset).cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = total;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(value);
    }
    space
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use quinn_proto::EcnCodepoint;
    use quinn_udp::{RecvMeta, UdpSocketState};

    use super::*;
    use wzp_sfu::conn::Standing;
    use wzp_sfu::path::Path;

    fn packet(
        destination: SocketAddr,
        source: Option<&str>,
        ecn: Option<EcnCodepoint>,
        fill: u8,
    ) -> OutPacket {
        let local = source.map(|text| text.parse().unwrap());
        let path = Path { remote: destination, local };
        OutPacket { path, ecn, standing: Standing::Prompt, bytes: vec![fill; 100] }
    }

    #[test]
    fn packets_leave_with_the_source_address_and_mark_they_ask_for() {
        let cases = [
            ("127.0.0.1:0", "127.0.0.1", Some("127.0.0.9"), "127.0.0.9"),
            ("127.0.0.1:0", "127.0.0.1", None, "127.0.0.1"),
            ("[::]:0", "127.0.0.1", Some("::ffff:127.0.0.7"), "127.0.0.7"),
            ("[::]:0", "::1", Some("::1"), "::1"),
        ];
        for (bound, to, source, seen) in cases {
            for ecn in [None, Some(EcnCodepoint::Ect0), Some(EcnCodepoint::Ce)] {
                let receiver = UdpSocket::bind((to, 0)).unwrap();
                let state = UdpSocketState::new((&receiver).into()).unwrap();
                receiver.set_nonblocking(false).unwrap();
                let sender = UdpSocket::bind(bound).unwrap();
                let mut destination = receiver.local_addr().unwrap();
                if sender.local_addr().unwrap().is_ipv6() && destination.is_ipv4() {
                    let IpAddr::V4(v4) = destination.ip() else { unreachable!() };
                    destination.set_ip(v4.to_ipv6_mapped().into());
                }
                let mut sent = Sent::default();
                send(&sender, &[&packet(destination, source, ecn, 7)], &mut sent);
                assert_eq!(sent, Sent { packets: 1, bytes: 100, refused: 0 });
                let mut buffer = [0; 2000];
                let mut meta = [RecvMeta::default()];
                let mut slices = [io::IoSliceMut::new(&mut buffer)];
                state.recv((&receiver).into(), &mut slices, &mut meta).unwrap();
                assert_eq!((meta[0].addr.ip().to_string().as_str(), meta[0].len), (seen, 100));
                assert_eq!(meta[0].ecn.map(|e| e as u8), ecn.map(|e| e as u8), "{bound} to {to}");
            }
        }
    }

    #[test]
    fn one_unreachable_receiver_does_not_cost_the_others_their_packets() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let good = receiver.local_addr().unwrap();
        // Nothing can be sent to port 0.
        let bad: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let packets: Vec<_> = (0..200)
            .map(|number| {
                packet(if number % 40 == 3 { bad } else { good }, None, None, number as u8)
            })
            .collect();
        let packets: Vec<_> = packets.iter().collect();
        let mut sent = Sent::default();
        // Each size there is room for, and each that is partly used.
        let mut rest = &packets[..];
        for size in [1, 2, 3, 8, 9, BATCH].into_iter().cycle() {
            let Some((batch, others)) = rest.split_at_checked(size) else { break };
            assert_eq!(send(&sender, batch, &mut sent), batch.len());
            rest = others;
        }
        assert_eq!(send(&sender, rest, &mut sent), rest.len());
        assert_eq!(sent, Sent { packets: 195, bytes: 19_500, refused: 5 });
        let expected: Vec<u8> = (0..200u8).filter(|number| number % 40 != 3).collect();
        let mut buffer = [0; 200];
        let received: Vec<u8> = expected
            .iter()
            .map(|_| {
                receiver.recv(&mut buffer).unwrap();
                buffer[0]
            })
            .collect();
        assert_eq!(received, expected);
    }
}
