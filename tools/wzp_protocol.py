"""The WZP protocol, version 2, as far as a small client needs it.

Written from the protocol's description alone: control messages are protobuf
behind a varint length, media datagrams are a 12-byte header and a payload.
"""

import struct
from dataclasses import dataclass, field

ALPN = "wzp/2"
MAX_MESSAGE_BYTES = 64 * 1024
MAX_PREFIX_BYTES = 3
MAX_REPORT_SOURCES = 300

# Fields of ClientMessage and RelayMessage.
HELLO, RECEIVER_REPORT, PONG = 1, 2, 4
WELCOME, MEMBERS, ROOM_CHANGED, RESUMED, PING, DRAINING, NOTICE = 1, 2, 3, 4, 6, 7, 8

ROLE_PARTICIPANT = 1


class ProtocolError(Exception):
    """The other side sent something that is not the protocol."""


# Protobuf


def varint(number):
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def read_varint(data, at):
    """The number at this place and the place after it; None if it is cut off."""
    number = 0
    for index, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return number, at + index + 1
    return None


def encode(fields):
    """A message from pairs of field number and value: an int, bytes or str."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(value)) + value
    return encoded


def decode(data):
    """Pairs of field number and value: ints, and bytes for all the rest."""
    fields, at = [], 0
    while at < len(data):
        tag, at = checked(read_varint(data, at))
        kind = tag & 7
        if kind == 0:
            value, at = checked(read_varint(data, at))
        else:
            if kind == 2:
                length, at = checked(read_varint(data, at))
            else:
                length = checked({1: 8, 5: 4}.get(kind))
            value, at = data[at : at + length], at + length
            if at > len(data):
                raise ProtocolError("a field is longer than its message")
        fields.append((tag >> 3, value))
    return fields


def checked(value):
    if value is None:
        raise ProtocolError("not a protobuf message")
    return value


# Control messages


def framed(kind, body):
    """The client's message of that kind, ready for the control stream."""
    message = encode([(kind, body)])
    return varint(len(message)) + message


def hello(room, name, token=""):
    fields = [(1, ROLE_PARTICIPANT), (2, "wzp-python"), (3, room), (4, name), (6, token)]
    return framed(HELLO, encode(fields))


def pong(number):
    return framed(PONG, encode([(1, number)]))


def receiver_report(sources):
    """From triples: sender id, frames expected, frames lost."""
    fields = [(1, encode(list(enumerate(source, start=1)))) for source in sources]
    return framed(RECEIVER_REPORT, encode(fields))


def member(body):
    """Sender id and name."""
    fields = dict(decode(body))
    return fields[1], fields.get(2, b"").decode()


def repeated_ints(value):
    """A repeated number's values, which come one by one or packed."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = checked(read_varint(value, at))
        numbers.append(number)
    return numbers


def room_changed(body):
    """Sender ids of those who left, and those who joined as by `member`."""
    fields = decode(body)
    left = [id for number, value in fields if number == 2 for id in repeated_ints(value)]
    return left, [member(value) for number, value in fields if number == 3]


@dataclass
class Deframer:
    """Cuts the control stream into messages."""

    buffer: bytes = b""

    def push(self, data):
        """The kind and body of each message that is complete now."""
        self.buffer += data
        messages = []
        while prefix := read_varint(self.buffer, 0):
            length, start = prefix
            if length > MAX_MESSAGE_BYTES:
                raise ProtocolError(f"a control message of {length} bytes")
            if len(self.buffer) < start + length:
                break
            # A message of a later version may hold nothing that is known.
            messages += decode(self.buffer[start : start + length])
            self.buffer = self.buffer[start + length :]
        if prefix is None and len(self.buffer) >= MAX_PREFIX_BYTES:
            raise ProtocolError("a length of more than three bytes")
        return messages


# Media datagrams

HEADER = struct.Struct(">BBHII")
VERSION, KIND_MEDIA = 2, 0
PROFILE_GOOD, PROFILE_CATASTROPHIC = 0, 2

CLOCK_HZ = 48_000
FRAME_TICKS = CLOCK_HZ // 50


def media(sender_id, number, minus_dbov, payload):
    """The datagram of the frame with that number, 20 ms of voice."""
    first = VERSION << 6 | KIND_MEDIA << 4 | PROFILE_GOOD
    sequence, timestamp = number & 0xFFFFFFFF, number * FRAME_TICKS & 0xFFFFFFFF
    return HEADER.pack(first, 0x80 | minus_dbov, sender_id, sequence, timestamp) + payload


def parse_media(datagram):
    """Sender id, sequence number and payload; None if it is something else or
    of a profile that is not known here."""
    if len(datagram) <= HEADER.size:
        return None
    first, _, sender_id, sequence, _ = HEADER.unpack_from(datagram)
    if first >> 4 != VERSION << 2 | KIND_MEDIA or first & 0xF > PROFILE_CATASTROPHIC:
        return None
    return sender_id, sequence, datagram[HEADER.size :]


@dataclass
class Sequence:
    """One sender's frames, counted by their sequence numbers."""

    first: int = 0
    highest: int = 0
    seen: set = field(default_factory=set)

    def count(self, sequence):
        if not self.seen:
            self.first = self.highest = sequence
        # The distance on the circle of 32 bits says which one is newer.
        ahead = (sequence - self.highest + 2**31) % 2**32 - 2**31
        self.highest += max(ahead, 0)
        self.seen.add(sequence)

    @property
    def expected(self):
        return self.highest - self.first + 1 if self.seen else 0

    @property
    def lost(self):
        return max(self.expected - len(self.seen), 0)
