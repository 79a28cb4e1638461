//! Whether an Ogg file is whole: its pages, looked at as they are read. What takes the
//! file apart passes over pages that are damaged or missing without a word.
//!
//! Source: RFC 3533 section 6.

use std::io::{self, Read};
use std::sync::mpsc::Sender;

use symphonia::core::checksum::Crc32;
use symphonia::core::io::Monitor;

/// What a page begins with.
pub(super) const MARK: &[u8] = b"OggS";

/// Bytes of a page before its segment table.
const HEADER_BYTES: usize = 27;

/// Where the checksum is in it.
const CHECKSUM: std::ops::Range<usize> = 22..26;

/// The granule position of a page on which no packet ends.
const NONE: u64 = u64::MAX;

/// Streams side by side whose pages are counted.
const STREAMS: usize = 16;

/// An Ogg file that is read, from its first page on.
pub(super) struct Watched<R> {
    reader: R,
    pages: Pages,
    /// Takes the granule position before each place that is damaged.
    found: Sender<u64>,
}

impl<R> Watched<R> {
    pub(super) fn new(reader: R, found: Sender<u64>) -> Self {
        Self { reader, pages: Pages::default(), found }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.reader.read(bytes)?;
        for granule in self.pages.push(&bytes[..length], length == 0) {
            // Who does not want to know any more reads nothing any more.
            let _ = self.found.send(granule);
        }
        Ok(length)
    }
}

/// The pages so far.
#[derive(Default)]
struct Pages {
    /// Read, and not yet known to be a page.
    bytes: Vec<u8>,
    /// Something that is no page came after the last.
    is_damaged: bool,
    /// The last page of each stream, by its serial number.
    last: Vec<(u32, u32)>,
    /// Of the last page on which a packet ended.
    granule: u64,
    /// Pages that begin streams are behind.
    begun: bool,
    /// Another chain of streams has begun, which is not played.
    is_over: bool,
}

impl Pages {
    /// Bytes that come next, or the end: the granule position before each damage that is
    /// known of by now.
    fn push(&mut self, bytes: &[u8], is_end: bool) -> Vec<u64> {
        let mut damages = Vec::new();
        self.bytes.extend_from_slice(if self.is_over { &[] } else { bytes });
        let mut at = 0;
        while at < self.bytes.len() {
            match Page::begin(&self.bytes[at..]) {
                Look::More if !is_end => break,
                // What looks like the beginning of a page may have pages in it.
                Look::More | Look::None => {
                    self.is_damaged = true;
                    at += next_mark(&self.bytes[at..]);
                }
                Look::Page(page) => {
                    at += page.length;
                    if self.is_last(&page) {
                        self.is_over = true;
                        at = self.bytes.len();
                        break;
                    }
                    if self.is_missing_before(&page) || self.is_damaged {
                        damages.push(self.granule);
                    }
                    self.is_damaged = false;
                    self.granule = if page.granule == NONE { self.granule } else { page.granule };
                }
            }
        }
        self.bytes.drain(..at);
        damages
    }

    /// Whether with this page another chain begins.
    fn is_last(&mut self, page: &Page) -> bool {
        self.begun |= !page.begins;
        self.begun && page.begins
    }

    /// Whether pages are missing between this one and the one before.
    fn is_missing_before(&mut self, page: &Page) -> bool {
        match self.last.iter_mut().find(|(serial, _)| *serial == page.serial) {
            Some((_, last)) => std::mem::replace(last, page.number).wrapping_add(1) != page.number,
            None => {
                if self.last.len() < STREAMS {
                    self.last.push((page.serial, page.number));
                }
                false
            }
        }
    }
}

/// How far to go on from bytes that are no page.
fn next_mark(bytes: &[u8]) -> usize {
    let rest = &bytes[1..];
    let next = rest.windows(MARK.len()).position(|window| window == MARK);
    // The beginning of a mark may be at the end.
    1 + next.unwrap_or(rest.len().saturating_sub(MARK.len() - 1))
}

struct Page {
    length: usize,
    begins: bool,
    granule: u64,
    serial: u32,
    number: u32,
}

enum Look {
    /// More bytes are needed to know.
    More,
    None,
    Page(Page),
}

impl Page {
    /// The page that begins with these bytes.
    fn begin(bytes: &[u8]) -> Look {
        let mark = bytes.len().min(MARK.len());
        if bytes[..mark] != MARK[..mark] {
            return Look::None;
        }
        let Some((header, rest)) = bytes.split_at_checked(HEADER_BYTES) else { return Look::More };
        let Some(segments) = rest.get(..header[26].into()) else { return Look::More };
        let body: usize = segments.iter().map(|length| usize::from(*length)).sum();
        let length = HEADER_BYTES + segments.len() + body;
        let Some(page) = bytes.get(..length) else { return Look::More };
        let mut unsigned = [0; HEADER_BYTES];
        unsigned.copy_from_slice(header);
        unsigned[CHECKSUM].fill(0);
        let mut checksum = Crc32::new(0);
        checksum.process_buf_bytes(&unsigned);
        checksum.process_buf_bytes(&page[HEADER_BYTES..]);
        if checksum.crc() != word(header, CHECKSUM.start) {
            return Look::None;
        }
        let granule = u64::from(word(header, 10)) << 32 | u64::from(word(header, 6));
        let (serial, number) = (word(header, 14), word(header, 18));
        Look::Page(Self { length, begins: header[5] & 2 != 0, granule, serial, number })
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..][..4]);
    u32::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = include_bytes!("../../tests/foreign/tone.ogg");

    /// What is found in a file that comes in pieces of that many bytes.
    fn found(file: &[u8], piece: usize) -> Vec<u64> {
        let mut pages = Pages::default();
        let pieces = file.chunks(piece).chain([&[][..]]);
        pieces.flat_map(|piece| pages.push(piece, piece.is_empty())).collect()
    }

    /// Where the pages of the file begin, and its end.
    fn starts() -> Vec<usize> {
        let starts = FILE.windows(4).enumerate().filter(|(_, window)| *window == MARK);
        starts.map(|(at, _)| at).chain([FILE.len()]).collect()
    }

    fn page(flags: u8, serial: u32, number: u32, granule: u64, body: &[u8]) -> Vec<u8> {
        let mut page = [
            MARK,
            &[0, flags],
            &granule.to_le_bytes(),
            &serial.to_le_bytes(),
            &number.to_le_bytes(),
            &[0; 4],
            &[1, body.len() as u8],
            body,
        ]
        .concat();
        let mut checksum = Crc32::new(0);
        checksum.process_buf_bytes(&page);
        page[CHECKSUM].copy_from_slice(&checksum.crc().to_le_bytes());
        page
    }

    #[test]
    fn a_whole_file_is_whole() {
        for piece in [1, 7, 4096, FILE.len()] {
            assert_eq!(found(FILE, piece), [], "{piece}");
            assert_eq!(found(&[FILE, b"a tag after the end"].concat(), piece), [], "{piece}");
        }
        assert_eq!(found(&[FILE, FILE, &FILE[9..]].concat(), 99), [], "a chain's second is left");
    }

    #[test]
    fn what_is_damaged_is_found_with_the_next_page() {
        let streams: Vec<_> = (0..5)
            .map(|n| page(if n == 0 { 2 } else { 0 }, 7, n, u64::from(n) * 100, b"body OggS of it"))
            .collect();
        let whole = streams.concat();
        let length = streams[0].len();
        let noise = |at: usize| {
            let mut file = whole.clone();
            file[at] ^= 0x10;
            file
        };
        let without = |pages: std::ops::Range<usize>| {
            let mut file = whole.clone();
            file.drain(pages.start * length..pages.end * length);
            file
        };
        let inserted = [&whole[..2 * length], b"Ogg", b"OggS and more", &whole[2 * length..]];
        let cases: [(&str, Vec<u8>, &[u64]); 10] = [
            ("whole", whole.clone(), &[]),
            ("a bit of a body", noise(3 * length - 1), &[100]),
            ("a bit of a mark", noise(2 * length), &[100]),
            ("a bit of a length", noise(2 * length + 26), &[100]),
            ("and pages that came before", [noise(length + 30), without(0..1)].concat(), &[0, 400]),
            ("a page is missing", without(2..3), &[100]),
            ("two are", without(1..3), &[0]),
            ("something between", inserted.concat(), &[100]),
            ("the last is told by who misses it", without(4..5), &[]),
            ("the end", whole[..whole.len() - 3].to_vec(), &[]),
        ];
        for (name, file, expected) in cases {
            for piece in [1, 10, 64, file.len()] {
                assert_eq!(found(&file, piece), expected, "{name} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn streams_side_by_side_are_counted_each_by_itself() {
        let pages = [
            page(2, 1, 0, 0, b"a"),
            page(2, 2, 0, 0, b"b"),
            page(0, 1, 1, 100, b"a"),
            page(0, 2, 1, NONE, b"b"),
            page(0, 2, 2, 120, b"b"),
            page(0, 1, 3, 300, b"a"),
        ];
        assert_eq!(found(&pages.concat(), 50), [120]);
        // Those beyond the most are passed over.
        let many: Vec<_> = (0..100).map(|serial| page(2, serial, 0, 0, b"")).collect();
        let gaps: Vec<_> = (50..100).map(|serial| page(0, serial, 9, 0, b"")).collect();
        assert_eq!(found(&[many.concat(), gaps.concat()].concat(), 50), []);
    }

    #[test]
    fn noise_of_any_kind_is_passed_over() {
        let starts = starts();
        assert!(starts.len() > 3, "{starts:?}");
        // Marks all along, each of which could be a page of 65 kB.
        let marks = [MARK, &[0; 22], &[0xff; 100]].concat().repeat(2_000);
        let file = [&FILE[..starts[2]], &marks, &FILE[starts[2]..]].concat();
        assert_eq!(found(&file, 4096).len(), 1);
    }
}
