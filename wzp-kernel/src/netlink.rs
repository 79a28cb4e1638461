//! Questions to the kernel about interfaces and their queues (rtnetlink(7)). Takes no
//! capability. May wait for the kernel's lock on interfaces, so not on an async thread.

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// How long the kernel may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The kernel's answers come in pieces of at most so many bytes.
const PIECE: usize = 64 * 1024;

/// Longest answer, in bytes: 10,000 queues or so.
const MOST: usize = 4 * 1024 * 1024;

const HEADER: usize = 16;

/// Flags of a request (linux/netlink.h).
const REQUEST: u16 = 0x1;
const DUMP: u16 = 0x300;

/// Types of messages that are no answers.
const NOOP: u16 = 1;
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// Which subsystem of the kernel is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    /// Interfaces, addresses, queues.
    Route,
    /// What has a name instead of a number (generic netlink).
    Generic,
}

/// How much is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// The one thing that the request names.
    One,
    /// All that there are.
    All,
}

/// Asks, and gives the content of each answer, without its header.
///
/// # Errors
/// The kernel refuses, or does not answer in time.
pub(crate) fn ask(
    family: Family,
    kind: u16,
    extent: Extent,
    content: &[u8],
) -> io::Result<Vec<Vec<u8>>> {
    let protocol = match family {
        Family::Route => libc::NETLINK_ROUTE,
        Family::Generic => libc::NETLINK_GENERIC,
    };
    let socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol.into()))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    (&socket).write_all(&request(kind, extent, content))?;
    let mut answers = Answers { extent, contents: Vec::new(), is_complete: false };
    let (mut piece, mut total) = (vec![0; PIECE], 0usize);
    while !answers.is_complete {
        let length = (&socket).read(&mut piece)?;
        total = total.saturating_add(length);
        if length == 0 || total > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        answers.take(&piece[..length])?;
    }
    Ok(answers.contents)
}

fn request(kind: u16, extent: Extent, content: &[u8]) -> Vec<u8> {
    let flags = match extent {
        Extent::One => REQUEST,
        Extent::All => REQUEST | DUMP,
    };
    let length = u32::try_from(HEADER + content.len()).unwrap_or(u32::MAX);
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port: the socket asks one question, and the kernel gives it a port.
    message.extend([0; 8]);
    message.extend(content);
    message
}

struct Answers {
    extent: Extent,
    contents: Vec<Vec<u8>>,
    is_complete: bool,
}

impl Answers {
    /// Takes what came together.
    fn take(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while let Some(length) = u32_at(piece, 0) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let message = piece.get(..length).filter(|message| message.len() >= HEADER);
            let message = message.ok_or(io::ErrorKind::InvalidData)?;
            let content = &message[HEADER..];
            match u16_at(message, 4) {
                Some(NOOP) => {}
                Some(ERROR) => match u32_at(content, 0).map(u32::cast_signed) {
                    Some(0) => self.is_complete = true,
                    error => {
                        let number = error.and_then(i32::checked_neg).unwrap_or(libc::EIO);
                        return Err(io::Error::from_raw_os_error(number));
                    }
                },
                Some(DONE) => self.is_complete = true,
                _ => {
                    self.contents.push(content.to_vec());
                    self.is_complete |= self.extent == Extent::One;
                }
            }
            piece = piece.get(aligned(length)..).unwrap_or_default();
        }
        Ok(())
    }
}

/// One attribute, as requests have them.
pub(crate) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(aligned(bytes.len()), 0);
    bytes
}

/// The value of the first attribute of that type; `bytes` are attributes, one behind the
/// other (rtnetlink(7)).
pub(crate) fn find(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    /// The type's two upper bits are flags.
    const TYPE: u16 = 0x3fff;
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        if u16_at(bytes, 2)? & TYPE == kind {
            return Some(value);
        }
        bytes = bytes.get(aligned(length)..)?;
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_ne_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_ne_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Messages and attributes begin at multiples of four bytes.
const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut message = request(kind, Extent::One, content);
        message.resize(aligned(message.len()), 0);
        message
    }

    fn taken(extent: Extent, piece: &[u8]) -> Result<(usize, bool), i32> {
        let mut answers = Answers { extent, contents: Vec::new(), is_complete: false };
        let outcome = answers.take(piece);
        outcome.map_err(|error| error.raw_os_error().unwrap_or(0))?;
        Ok((answers.contents.len(), answers.is_complete))
    }

    #[test]
    fn answers_end_when_the_kernel_says_so() {
        let two = [message(36, b"abcde"), message(36, b"")].concat();
        let refused = message(ERROR, &(-libc::EPERM).to_ne_bytes());
        let done = message(DONE, &[0; 4]);
        let cases = [
            (Extent::All, two.clone(), Ok((2, false))),
            (Extent::All, [two.clone(), done].concat(), Ok((2, true))),
            (Extent::One, message(16, b"abc"), Ok((1, true))),
            (Extent::One, message(ERROR, &[0; 4]), Ok((0, true))),
            (Extent::One, message(NOOP, b""), Ok((0, false))),
            (Extent::All, refused, Err(libc::EPERM)),
            (Extent::All, message(ERROR, b""), Err(libc::EIO)),
            (Extent::All, message(ERROR, &i32::MIN.to_ne_bytes()), Err(libc::EIO)),
            // Lengths that cannot be.
            (Extent::All, vec![0; 16], Err(0)),
            (Extent::All, vec![255; 16], Err(0)),
            (Extent::All, two[..20].to_vec(), Err(0)),
        ];
        for (extent, piece, expected) in cases {
            assert_eq!(taken(extent, &piece), expected, "{piece:?}");
        }
    }

    #[test]
    fn attributes_are_found_wherever_they_are() {
        let bytes = [attribute(1, b"fq\0"), attribute(0x8007, b"nested"), attribute(3, b"")];
        let bytes = bytes.concat();
        assert_eq!(find(&bytes, 1), Some(&b"fq\0"[..]));
        assert_eq!(find(&bytes, 7), Some(&b"nested"[..]));
        assert_eq!(find(&bytes, 3), Some(&b""[..]));
        assert_eq!(find(&bytes, 2), None);
        for odd in [&[][..], &[0; 8], &[255; 8], &[3, 0, 1, 0], &[8, 0, 9, 0]] {
            assert_eq!(find(odd, 1), None, "{odd:?}");
        }
    }
}
