//! A sine, for line tests without a microphone or a file.

use std::f64::consts::TAU;

use crate::{SAMPLE_RATE, Tick};

/// An endless sine whose phase continues from tick to tick.
#[derive(Clone, Debug)]
pub struct Tone {
    /// Turns of the sine, 0 to 1.
    phase: f64,
    /// Turns per sample.
    step: f64,
    amplitude: f64,
}

impl Tone {
    /// A sine of `hertz` whose peak is `peak_db` decibels relative to full
    /// scale, so 0 or less. Frequencies above 24 kHz alias.
    pub fn new(hertz: f64, peak_db: f64) -> Self {
        Self {
            phase: 0.0,
            step: hertz / f64::from(SAMPLE_RATE),
            amplitude: 10f64.powf(peak_db / 20.0).min(1.0),
        }
    }

    /// The next 20 ms.
    pub fn tick(&mut self) -> Tick {
        std::array::from_fn(|_| {
            let sample = self.amplitude * (self.phase * TAU).sin();
            // Kept small so that precision does not decay over hours.
            self.phase = (self.phase + self.step).fract();
            sample as f32
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequency_and_peak_are_those_asked_for() {
        for (hertz, peak_db, peak) in [(440.0, 0.0, 1.0), (1000.0, -20.0, 0.1), (300.0, 6.0, 1.0)] {
            let mut tone = Tone::new(hertz, peak_db);
            let second: Vec<f32> = (0..50).flat_map(|_| tone.tick()).collect();
            let rising = second.windows(2).filter(|pair| pair[0] < 0.0 && pair[1] >= 0.0).count();
            let highest = second.iter().fold(0f32, |max, sample| max.max(sample.abs()));
            assert!((rising as f64 - hertz).abs() <= 1.0, "{hertz} Hz: {rising} periods");
            assert!((highest - peak).abs() < 0.002, "{peak_db} dB: peak {highest}");
        }
    }
}
