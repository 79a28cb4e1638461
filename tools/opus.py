"""Opus, mono at 48 kHz, through the shared library libopus (Debian: libopus0)."""

import ctypes

RATE = 48_000
FRAME = RATE // 50
# RFC 6716: no packet holds more than 120 ms.
LONGEST = RATE * 120 // 1000

APPLICATION_VOIP = 2048
SET_BITRATE = 4002

library = ctypes.CDLL("libopus.so.0")
library.opus_encoder_create.restype = ctypes.c_void_p
library.opus_decoder_create.restype = ctypes.c_void_p
library.opus_strerror.restype = ctypes.c_char_p


def checked(result):
    if result < 0:
        raise ValueError(f"libopus: {library.opus_strerror(result).decode()}")
    return result


class Encoder:
    def __init__(self, bits_per_second=24_000):
        error = ctypes.c_int()
        state = library.opus_encoder_create(RATE, 1, APPLICATION_VOIP, ctypes.byref(error))
        checked(error.value)
        self.state = ctypes.c_void_p(state)
        checked(library.opus_encoder_ctl(self.state, SET_BITRATE, bits_per_second))

    def encode(self, samples):
        """One packet from 20 ms of samples, 16-bit integers."""
        packet = ctypes.create_string_buffer(1275)
        frame = (ctypes.c_int16 * FRAME)(*samples)
        length = library.opus_encode(self.state, frame, FRAME, packet, len(packet))
        return packet.raw[: checked(length)]


class Decoder:
    def __init__(self):
        error = ctypes.c_int()
        state = library.opus_decoder_create(RATE, 1, ctypes.byref(error))
        checked(error.value)
        self.state = ctypes.c_void_p(state)

    def decode(self, packet):
        """The samples of one packet, 16-bit integers."""
        frame = (ctypes.c_int16 * LONGEST)()
        length = library.opus_decode(self.state, packet, len(packet), frame, LONGEST, 0)
        return frame[: checked(length)]
