"""Prints the perceptual quality of a recording: PESQ, wide band (ITU-T P.862.2).

Usage: pesq_score.py REFERENCE.wav RECORDING.wav

Both are mono WAV files of 16 bits, 16 or 48 kHz. The recording may start and
end at other times than the reference: it is aligned before it is judged. The
score goes from about 1 (bad) to 4.64 (no audible difference).
"""

import sys
import wave

import numpy
from pesq import pesq

RATE = 16_000


def read(path):
    """The samples of a file at 16 kHz, from -1 to 1."""
    with wave.open(path, "rb") as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            sys.exit(f"{path}: expected mono and 16 bits")
        rate = file.getframerate()
        data = file.readframes(file.getnframes())
    samples = numpy.frombuffer(data, dtype="<i2").astype(numpy.float64) / 32768
    if rate == RATE:
        return samples
    if rate != 3 * RATE:
        sys.exit(f"{path}: expected 16000 or 48000 samples per second, not {rate}")
    return third_of_rate(samples)


def third_of_rate(samples):
    """Every third sample, after a low-pass at 7.6 kHz (Hann-windowed sinc)."""
    taps = numpy.arange(-96, 97)
    cutoff = 2 * 7_600 / 48_000
    low_pass = cutoff * numpy.sinc(cutoff * taps) * numpy.hanning(len(taps) + 2)[1:-1]
    return numpy.convolve(samples, low_pass, mode="same")[::3]


def lag(reference, recording):
    """Where in the recording the reference begins: the peak of the cross-
    correlation, computed by FFT."""
    size = 1 << (len(reference) + len(recording)).bit_length()
    spectrum = numpy.fft.rfft(recording, size) * numpy.conj(numpy.fft.rfft(reference, size))
    peak = int(numpy.argmax(numpy.fft.irfft(spectrum, size)))
    return peak if peak < len(recording) else peak - size


def aligned(reference, recording):
    """The part of the recording that corresponds to the reference, as long as
    it, with silence where the recording has nothing."""
    start = lag(reference, recording)
    result = numpy.zeros(len(reference))
    first = max(start, 0)
    part = recording[first : max(start + len(reference), first)]
    result[first - start : first - start + len(part)] = part
    return result


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reference, recording = read(sys.argv[1]), read(sys.argv[2])
    if not recording.any():
        sys.exit(f"{sys.argv[2]}: nothing but silence")
    print(f"{pesq(RATE, reference, aligned(reference, recording), 'wb'):.3f}")


if __name__ == "__main__":
    main()
