//! Audio level as RFC 6464 section 3 measures it: the RMS of a frame relative
//! to the largest representable square wave (dBov).

/// Decibels below overload of `samples`: 0 is the loudest, 127 is silence.
///
/// A full-scale sine is 3 dB below overload. An empty slice is silence.
pub fn minus_dbov(samples: &[f32]) -> u8 {
    let energy: f32 = samples.iter().map(|sample| sample * sample).sum();
    let mean = energy / samples.len().max(1) as f32;
    if mean.is_nan() || mean <= 0.0 {
        return 127;
    }
    (-10.0 * mean.log10()).round().clamp(0.0, 127.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone::Tone;

    #[test]
    fn levels_of_known_signals() {
        let cases: [(&str, Vec<f32>, u8); 7] = [
            ("nothing", vec![], 127),
            ("digital silence", vec![0.0; 960], 127),
            ("full-scale square wave", [1.0, -1.0].repeat(480), 0),
            ("louder than full scale", [4.0, -4.0].repeat(480), 0),
            ("full-scale sine", Tone::new(1000.0, 0.0).tick().to_vec(), 3),
            ("sine at -20 dB of full scale", Tone::new(1000.0, -20.0).tick().to_vec(), 23),
            ("not a number", vec![f32::NAN; 960], 127),
        ];
        for (name, samples, expected) in cases {
            assert_eq!(minus_dbov(&samples), expected, "{name}");
        }
    }
}
