"""A small WZP client: joins a room, sends a tone, listens, prints a summary.

Written on aioquic from the protocol's description alone, to show that another
language can join. The summary is one JSON object on standard output.
"""

import argparse
import asyncio
import hashlib
import itertools
import json
import math
import os
import ssl
import sys

import numpy
from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    DatagramFrameReceived,
    HandshakeCompleted,
    StreamDataReceived,
)
from cryptography.hazmat.primitives.serialization import Encoding

import opus
import wzp_protocol as wzp

FRAME_SECONDS = 0.02
KEEP_ALIVE_SECONDS = 12
# The relay hears of those of whom a frame came in this time.
HEARD_LATELY_SECONDS = 5
AMPLITUDE = 0.25
# A draining relay should see a participant leave, not one it has to close.
BEFORE_DEADLINE_SECONDS = 1


class Failure(Exception):
    """Why the client did not do what it was asked to, in a sentence."""


def warn(sentence):
    print(sentence, file=sys.stderr, flush=True)


class Client(QuicConnectionProtocol):
    """One session. `joined`, `members` and `ended` tell how it stands."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.options = None
        self.stream = None
        self.deframer = wzp.Deframer()
        self.sender_id = None
        self.joined = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self.members = {}
        self.changed = asyncio.Event()
        self.talkers = {}
        self.gone = []
        self.leaving = None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.check_identity_and_say_hello()
        elif isinstance(event, StreamDataReceived) and event.stream_id == self.stream:
            for kind, body in self.deframer.push(event.data):
                self.on_message(kind, body)
        elif isinstance(event, DatagramFrameReceived):
            self.on_datagram(event.data)
        elif isinstance(event, ConnectionTerminated):
            reason = event.reason_phrase or "nothing came from the relay"
            self.fail(f"the session ended (code {event.error_code}): {reason}")

    def fail(self, reason):
        """Tells whoever waits for the session why it is over."""
        for waiting in (self.joined, self.ended):
            if not waiting.done():
                waiting.set_exception(Failure(reason))
                # Retrieved here, so that nobody has to wait for both.
                waiting.exception()

    def check_identity_and_say_hello(self):
        # aioquic checked that the relay holds this certificate's key. It has
        # no public way to ask for the certificate itself.
        certificate = self._quic.tls._peer_certificate.public_bytes(Encoding.DER)
        if hashlib.sha256(certificate).hexdigest() != self.options.pin:
            self.fail("the relay's certificate is not the pinned one")
            return
        self.stream = self._quic.get_next_available_stream_id()
        self.send_control(wzp.hello(self.options.room, self.options.name, self.options.token))

    def send_control(self, data):
        self._quic.send_stream_data(self.stream, data)
        self.transmit()

    def on_message(self, kind, body):
        if kind == wzp.WELCOME:
            self.sender_id = dict(wzp.decode(body))[2]
            self.joined.set_result(self.sender_id)
        elif kind == wzp.MEMBERS:
            self.members.update(wzp.member(value) for number, value in wzp.decode(body) if number == 1)
        elif kind == wzp.ROOM_CHANGED:
            left, joined = wzp.room_changed(body)
            for sender_id in left:
                self.forget(sender_id)
            # This client is one of them once.
            self.members.update(member for member in joined if member[0] != self.sender_id)
        elif kind == wzp.PING:
            self.send_control(wzp.pong(dict(wzp.decode(body)).get(1, 0)))
        elif kind == wzp.NOTICE:
            warn("the relay says: " + dict(wzp.decode(body)).get(2, b"").decode())
        elif kind == wzp.DRAINING:
            self.on_draining(dict(wzp.decode(body)).get(1, 0) / 1000)
        elif kind == wzp.RESUMED:
            self.stay()
            warn("the relay goes on; there is no need to leave it")
        self.changed.set()

    def forget(self, sender_id):
        """The number may be given to somebody else."""
        self.members.pop(sender_id, None)
        if sender_id in self.talkers:
            self.gone.append(self.talkers.pop(sender_id))

    def on_draining(self, seconds):
        """Calls may go on until then. A later Draining replaces the one before."""
        warn(f"the relay is going to stop within {seconds:.1f} s; join another relay")
        self.stay()
        self.leaving = asyncio.get_running_loop().call_later(
            max(0, seconds - BEFORE_DEADLINE_SECONDS),
            self.fail,
            "left the relay because it is stopping; join another for the rest",
        )

    def stay(self):
        if self.leaving:
            self.leaving.cancel()

    def on_datagram(self, datagram):
        parsed = wzp.parse_media(datagram)
        if parsed is None:
            return
        sender_id, sequence, payload = parsed
        if sender_id not in self.talkers:
            self.talkers[sender_id] = Talker(sender_id, self.members.get(sender_id, ""))
        self.talkers[sender_id].hear(sequence, payload, asyncio.get_running_loop().time())

    async def wait_for_members(self, number):
        while len(self.members) < number:
            self.changed.clear()
            await self.changed.wait()

    async def send_tone(self, sender_id):
        """Sends for as long as asked, each frame at its time; gives the number
        of frames."""
        encoder = opus.Encoder()
        level = round(-20 * math.log10(AMPLITUDE / math.sqrt(2)))
        loop = asyncio.get_running_loop()
        start = loop.time()
        frames = round(self.options.seconds / FRAME_SECONDS)
        for number in range(frames):
            await asyncio.sleep(start + number * FRAME_SECONDS - loop.time())
            time = (number * opus.FRAME + numpy.arange(opus.FRAME)) / opus.RATE
            tone = AMPLITUDE * 32767 * numpy.sin(2 * math.pi * self.options.tone_hz * time)
            packet = encoder.encode(tone.astype(int).tolist())
            self._quic.send_datagram_frame(wzp.media(sender_id, number, level, packet))
            self.transmit()
        return frames

    async def report_every_second(self):
        """Tells the relay how others are heard, and that this client lives."""
        for second in itertools.count(1):
            await asyncio.sleep(1)
            earliest = asyncio.get_running_loop().time() - HEARD_LATELY_SECONDS
            lately = [t for t in self.talkers.values() if t.latest > earliest]
            if lately:
                # The latest, if there are more than a report may speak of.
                lately.sort(key=lambda talker: talker.latest, reverse=True)
                frames = [(t.sender_id, t.frames) for t in lately[: wzp.MAX_REPORT_SOURCES]]
                sources = [(id, f.expected, f.lost) for id, f in frames]
                self.send_control(wzp.receiver_report(sources))
            if second % KEEP_ALIVE_SECONDS == 0:
                self._quic.send_ping(second)
                self.transmit()


class Talker:
    """Somebody who is heard. There is no jitter buffer: frames are decoded as
    they come, which is enough to tell a tone."""

    def __init__(self, sender_id, name):
        self.sender_id = sender_id
        self.name = name
        self.frames = wzp.Sequence()
        self.decoder = opus.Decoder()
        self.samples = []
        self.latest = 0.0

    def hear(self, sequence, payload, now):
        self.latest = now
        self.frames.count(sequence)
        self.samples += self.decoder.decode(payload)

    def summary(self):
        return {
            "sender_id": self.sender_id,
            "name": self.name,
            "received": len(self.frames.seen),
            "expected": self.frames.expected,
            "lost": self.frames.lost,
            "tone_hz": loudest_tone(self.samples),
        }


def loudest_tone(samples):
    """Frequency of the strongest tone in the last second, to 1 Hz."""
    last = numpy.array(samples[-opus.RATE :], dtype=float)
    spectrum = numpy.abs(numpy.fft.rfft(last * numpy.hanning(len(last)), opus.RATE))
    return int(numpy.argmax(spectrum))


async def first_of(work, ended):
    """The result of `work`, or the reason why the session ended before it."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        ended.result()
    return task.result()


async def session(client, options):
    sender_id = await asyncio.wait_for(client.joined, 10)
    reports = asyncio.ensure_future(client.report_every_second())
    try:
        waiting = asyncio.wait_for(client.wait_for_members(options.wait_for), 30)
        await first_of(waiting, client.ended)
        frames_sent = await first_of(client.send_tone(sender_id), client.ended)
        # The last frames of the others are still on their way.
        await first_of(asyncio.sleep(options.linger), client.ended)
    finally:
        reports.cancel()
    talkers = [talker.summary() for talker in client.gone + list(client.talkers.values())]
    return {
        "room": options.room,
        "sender_id": sender_id,
        "frames_sent": frames_sent,
        "frames_received": sum(talker["received"] for talker in talkers),
        "talkers": talkers,
    }


async def run(options):
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[wzp.ALPN],
        max_datagram_frame_size=65_536,
        idle_timeout=20,
        # The fingerprint says who the relay is, not an authority.
        verify_mode=ssl.CERT_NONE,
    )

    def protocol(*arguments, **keywords):
        client = Client(*arguments, **keywords)
        client.options = options
        return client

    host, _, port = options.relay.rpartition(":")
    async with connect(
        host.strip("[]"),
        int(port),
        configuration=configuration,
        create_protocol=protocol,
        # What went wrong is better told by the events than by the waiting.
        wait_connected=False,
    ) as client:
        client.transmit()
        return await session(client, options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("relay", help="host:port")
    parser.add_argument("--room", required=True)
    parser.add_argument("--name", default="python")
    parser.add_argument("--token", default=os.environ.get("WZP_TOKEN", ""))
    parser.add_argument("--pin", required=True, help="the certificate's SHA-256, hexadecimal")
    parser.add_argument("--tone-hz", type=float, default=440.0)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to send")
    parser.add_argument("--wait-for", type=int, default=0, help="members to wait for")
    parser.add_argument("--linger", type=float, default=0.5, help="seconds to listen after it")
    options = parser.parse_args()
    options.pin = options.pin.replace(":", "").lower()
    try:
        summary = asyncio.run(run(options))
    except TimeoutError:
        sys.exit("the relay did not answer, or the members did not come in time")
    except (Failure, wzp.ProtocolError, OSError) as error:
        sys.exit(str(error))
    print(json.dumps(summary, ensure_ascii=False))


if __name__ == "__main__":
    main()
