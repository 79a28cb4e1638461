//! What an Opus packet (RFC 6716) says about itself without being decoded.

use crate::{SAMPLE_RATE, TICK_SAMPLES};

/// Ticks of 20 ms that the packet decodes to, if it is a well-formed packet of
/// whole ticks.
pub fn ticks(packet: &[u8]) -> Option<usize> {
    // opus_packet_get_nb_samples looks at the lengths of code 3 packets only.
    let frames = opus::packet::parse(packet).ok()?.frames.len();
    let samples = frames * opus::packet::get_samples_per_frame(packet, SAMPLE_RATE).ok()?;
    (samples % TICK_SAMPLES == 0 && samples > 0).then_some(samples / TICK_SAMPLES)
}

/// Whether the encoder's own voice activity detector found speech in any part
/// of the packet. CELT packets carry no such mark; they count as speech.
pub fn voice_activity(packet: &[u8]) -> bool {
    match first_silk_header(packet) {
        Some(header) => header.voice,
        None => packet.len() > 1,
    }
}

/// Whether the packet brings the frame before it once more, at a lower rate
/// (LBRR, RFC 6716 section 4.2.4), for the case that it was lost.
pub fn carries_fec(packet: &[u8]) -> bool {
    first_silk_header(packet).is_some_and(|header| header.lbrr)
}

struct SilkHeader {
    voice: bool,
    lbrr: bool,
}

/// The header bits of the packet's first SILK frame (RFC 6716 section 4.2.3):
/// one voice bit per 20 ms, then the LBRR bit. They are coded with even
/// probability before anything else, so the range coder leaves them as the
/// first bits of the frame. In stereo the mid channel comes first.
fn first_silk_header(packet: &[u8]) -> Option<SilkHeader> {
    let toc = *packet.first()?;
    // Section 3.1: configurations 16 to 31 are CELT only.
    if toc & 0x80 != 0 {
        return None;
    }
    let config = toc >> 3;
    let twenties = match config {
        0..12 => [1, 1, 2, 3][usize::from(config & 3)],
        _ => 1,
    };
    let parsed = opus::packet::parse(packet).ok()?;
    let first = *parsed.frames.first()?.first()?;
    Some(SilkHeader { voice: first >> (8 - twenties) != 0, lbrr: first >> (7 - twenties) & 1 != 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_where_the_rfc_puts_them() {
        let toc = |config: u8| config << 3;
        struct Case<'a>(&'a str, &'a [u8], Option<usize>, bool, bool);
        let cases = [
            Case("nothing", &[], None, false, false),
            Case("only a TOC byte: DTX", &[toc(9)], Some(1), false, false),
            Case("SILK 20 ms, neither", &[toc(9), 0x3f], Some(1), false, false),
            Case("SILK 20 ms, voice", &[toc(9), 0x80], Some(1), true, false),
            Case("SILK 20 ms, LBRR", &[toc(9), 0x40], Some(1), false, true),
            Case("SILK 40 ms, voice in the second half", &[toc(10), 0x40], Some(2), true, false),
            Case("SILK 40 ms, LBRR", &[toc(10), 0x20], Some(2), false, true),
            Case("SILK 60 ms, LBRR", &[toc(11), 0x10], Some(3), false, true),
            Case("hybrid 20 ms, both", &[toc(13), 0xc0], Some(1), true, true),
            Case("hybrid 10 ms is no whole tick", &[toc(12), 0x00], None, false, false),
            Case("CELT 20 ms", &[toc(31), 0x00], Some(1), true, false),
        ];
        for Case(name, packet, expected_ticks, voice, fec) in cases {
            assert_eq!(ticks(packet), expected_ticks, "{name}");
            assert_eq!(voice_activity(packet), voice, "{name}");
            assert_eq!(carries_fec(packet), fec, "{name}");
        }
    }

    #[test]
    fn a_packet_whose_lengths_contradict_each_other_has_no_ticks() {
        // Code 1: two frames of equal length, but an odd number of bytes.
        assert_eq!(ticks(&[9 << 3 | 1, 1, 2, 3]), None);
        // Code 2: the first length goes beyond the end.
        assert_eq!(ticks(&[9 << 3 | 2, 200, 1]), None);
    }
}
