"""What a client that means ill does, octet by octet; and what becomes of the others meanwhile."""

import asyncio
import os
import socket
import time

from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from http3 import HOST, Client, Raw, case, varint

GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", HOST), (b":path", b"/hello")]
MESSAGE, INCOMPLETE = "reset 0x10e", "reset 0x10d"


def integer(first, bits, value):
    """An integer of QPACK."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = bytearray([first | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def section(fields):
    """A field section of literals."""
    out = b"\0\0"
    for name, value in fields:
        out += integer(0x20, 3, len(name)) + name + integer(0, 7, len(value)) + value
    return out


def frame(kind, payload=b""):
    return varint(kind) + varint(len(payload)) + payload


def headers(fields):
    return frame(1, section(fields))


def without(name):
    return [field for field in GET if field[0] != name]


def replaced(name, value):
    return [(name, value) if field[0] == name else field for field in GET]


def more(*fields):
    return [*GET, *fields]


POST = [(b":method", b"POST"), *GET[1:]]

# What is sent on one stream, and how it ends.
MESSAGES = [
    ("upper case in a name", headers(more((b"X-A", b"1"))), MESSAGE),
    ("a blank in a name", headers(more((b"x a", b"1"))), MESSAGE),
    ("an empty name", headers(more((b"", b"1"))), MESSAGE),
    ("LF in a value", headers(more((b"x-a", b"1\nx-b: 2"))), MESSAGE),
    ("CR in a value", headers(more((b"x-a", b"1\rx"))), MESSAGE),
    ("NUL in a value", headers(more((b"x-a", b"1\0"))), MESSAGE),
    ("Connection", headers(more((b"connection", b"close"))), MESSAGE),
    ("Transfer-Encoding", headers(more((b"transfer-encoding", b"chunked"))), MESSAGE),
    ("Upgrade", headers(more((b"upgrade", b"websocket"))), MESSAGE),
    ("Keep-Alive", headers(more((b"keep-alive", b"1"))), MESSAGE),
    ("TE: gzip", headers(more((b"te", b"gzip"))), MESSAGE),
    ("no :method", headers(without(b":method")), MESSAGE),
    ("no :scheme", headers(without(b":scheme")), MESSAGE),
    ("no :path", headers(without(b":path")), MESSAGE),
    ("no :authority, no Host", headers(without(b":authority")), MESSAGE),
    ("an empty :path", headers(replaced(b":path", b"")), MESSAGE),
    ("an empty :authority", headers(replaced(b":authority", b"")), MESSAGE),
    (":path twice", headers([*GET, (b":path", b"/b")]), MESSAGE),
    (":status", headers([*GET, (b":status", b"200")]), MESSAGE),
    (":protocol", headers([(b":protocol", b"websocket"), *GET]), MESSAGE),
    ("a pseudo-header field behind others", headers([(b"x-a", b"1"), *GET]), MESSAGE),
    ("a scheme that HTTP has not", headers(replaced(b":scheme", b"ftp")), MESSAGE),
    ("a method with a blank", headers(replaced(b":method", b"GET /")), MESSAGE),
    ("Content-Length twice", headers([*POST, (b"content-length", b"1"), (b"content-length", b"1")]), MESSAGE),
    ("Content-Length: +1", headers([*POST, (b"content-length", b"+1")]), MESSAGE),
    ("Content-Length: 1, 1", headers([*POST, (b"content-length", b"1, 1")]), MESSAGE),
    ("less data than it says", headers([*POST, (b"content-length", b"5")]) + frame(0, b"abc"), 400),
    ("more data than it says", headers([*POST, (b"content-length", b"1")]) + frame(0, b"abc"), MESSAGE),
    ("data for a GET that says there is none", headers([*GET, (b"content-length", b"0")]) + frame(0, b"a"), MESSAGE),
    ("a pseudo-header field in trailers", headers(POST) + frame(0, b"a") + headers([(b":path", b"/")]), 400),
    ("nothing", b"", INCOMPLETE),
    ("Host is not :authority", headers(more((b"host", b"other.test"))), 400),
    ("CR LF in :path", headers(replaced(b":path", b"/ HTTP/1.1\r\nx: y")), 400),
    ("a blank in :path", headers(replaced(b":path", b"/a b")), 400),
    ("an absolute :path", headers(replaced(b":path", b"http://other.test/")), 400),
    ("a fragment in :path", headers(replaced(b":path", b"/a#b")), 400),
    (":path above the root", headers(replaced(b":path", b"/../a")), 400),
    ("user information in :authority", headers(replaced(b":authority", b"a@shop.test")), 400),
    ("two hosts in :authority", headers(replaced(b":authority", b"shop.test,other.test")), 400),
    ("blanks around a value", headers(more((b"x-a", b" 1"))), 400),
    ("a host that nobody serves", headers(replaced(b":authority", b"other.test")), 421),
    ("CONNECT", headers([(b":method", b"CONNECT"), (b":authority", b"shop.test:22")]), 501),
    ("an expectation that nobody can meet", headers(more((b"expect", b"tea"))), 417),
    ("a target of 40,000 octets", headers(replaced(b":path", b"/" + b"a" * 40_000)), 414),
    ("101 fields", headers(more(*[(b"x-a", b"1")] * 101)), 431),
    ("a field of 70,000 octets", headers(more((b"x-a", b"1" * 70_000))), 431),
    ("a head that says it has 4 EiB", varint(1) + varint(1 << 62 - 1), 431),
]


@case(f"{len(MESSAGES)} malformed messages, each on a stream of one connection that goes on")
async def malformed_messages(bench):
    wrong, closed = [], {}
    async with bench.connect() as client:
        for what, octets, expected in MESSAGES:
            stream = client._quic.get_next_available_stream_id()
            # Unless it says that there is more to come.
            client.write(stream, octets, end="EiB" not in what)
            answer = await client.ending(stream)
            if answer.seen() != expected:
                wrong.append(f"{what}: {answer.seen()}")
        await client.get(b"/hello")
    assert not wrong, wrong
    return closed


CONTROL, PUSH, ENCODER, DECODER = 0, 1, 2, 3
SETTINGS = frame(4)


def on(kind, octets, end=False):
    return [(True, varint(kind) + octets, end)]


def ask(octets, end=True):
    return [(False, octets, end)]


def huffman(octets):
    """A field x-a whose value is in Huffman code, or said to be."""
    return frame(1, section(GET) + integer(0x20, 3, 3) + b"x-a" + integer(0x80, 7, len(octets)) + octets)


# What is sent on streams (whether in one direction), and with what code the connection ends.
CONNECTIONS = [
    ("DATA before a head", ask(frame(0, b"x")), 0x105),
    ("SETTINGS on a request", ask(SETTINGS), 0x105),
    ("GOAWAY on a request", ask(headers(GET) + frame(7, b"\0")), 0x105),
    ("PUSH_PROMISE on a request", ask(frame(5, b"\0\0\0")), 0x105),
    ("HTTP/2's PING", ask(frame(6, bytes(8))), 0x105),
    ("HTTP/2's WINDOW_UPDATE behind a head", ask(headers(GET) + frame(8, bytes(4))), 0x105),
    ("data behind the trailers", ask(headers(POST) + frame(0, b"a") + headers([(b"x", b"y")]) + frame(0, b"b")), 0x105),
    ("a frame that is cut", ask(headers(POST) + varint(0) + varint(9) + b"abc"), 0x106),
    ("a frame's head that is cut", ask(headers(POST) + b"\0\x40"), 0x106),
    ("a field section that is cut", ask(frame(1, section(GET)[:-3])), 0x200),
    ("an empty field section", ask(frame(1)), 0x200),
    ("a static entry that there is not", ask(frame(1, b"\0\0" + integer(0xC0, 6, 99))), 0x200),
    ("an entry of the dynamic table", ask(frame(1, b"\0\0\x80")), 0x200),
    ("a required insert count", ask(frame(1, b"\x02\0" + section(GET)[2:])), 0x200),
    ("an integer without an end", ask(frame(1, b"\0\0\xff" + b"\xff" * 40)), 0x200),
    ("a string longer than the section", ask(frame(1, b"\0\0\x27" + b"\xff" * 4 + b"\x0f")), 0x200),
    ("the end of strings in Huffman code", ask(huffman(b"\xff\xff\xff\xff")), 0x200),
    ("a padding of zeros in Huffman code", ask(huffman(b"\x18\x00")), 0x200),
    ("no SETTINGS first", on(CONTROL, frame(7, b"\0")), 0x10A),
    ("a second control stream", on(CONTROL, SETTINGS) + on(CONTROL, SETTINGS), 0x103),
    ("a second SETTINGS", on(CONTROL, SETTINGS + SETTINGS), 0x105),
    ("a control stream that ends", on(CONTROL, SETTINGS, end=True), 0x104),
    ("an encoder stream that ends", on(ENCODER, b"", end=True), 0x104),
    ("a setting of HTTP/2", on(CONTROL, frame(4, varint(2) + varint(0))), 0x109),
    ("a setting twice", on(CONTROL, frame(4, (varint(6) + varint(9)) * 2)), 0x109),
    ("a setting that is cut", on(CONTROL, frame(4, varint(6))), 0x106),
    ("DATA on the control stream", on(CONTROL, SETTINGS + frame(0, b"a")), 0x105),
    ("HEADERS on the control stream", on(CONTROL, SETTINGS + headers(GET)), 0x105),
    ("MAX_PUSH_ID that falls", on(CONTROL, SETTINGS + frame(13, b"\x09") + frame(13, b"\x08")), 0x108),
    ("GOAWAY that rises", on(CONTROL, SETTINGS + frame(7, b"\0") + frame(7, b"\x04")), 0x108),
    ("CANCEL_PUSH of nothing", on(CONTROL, SETTINGS + frame(3, b"\0")), 0x108),
    ("a push stream", on(PUSH, b"\0"), 0x103),
    ("a capacity for the dynamic table", on(ENCODER, integer(0x20, 5, 4096)), 0x201),
    ("an entry for the dynamic table", on(ENCODER, b"\x41a\x01b"), 0x201),
    ("an acknowledgement of what was not sent", on(DECODER, b"\x80"), 0x202),
    ("an insert count increment", on(DECODER, b"\x01"), 0x202),
]


@case(f"{len(CONNECTIONS)} errors of a connection, each with the code that the RFC names")
async def malformed_connections(bench):
    wrong = []
    for what, pieces, expected in CONNECTIONS:
        async with bench.connect(Raw) as client:
            for alone, octets, end in pieces:
                stream = client._quic.get_next_available_stream_id(is_unidirectional=alone)
                client.write(stream, octets, end)
            try:
                code = await client.closed()
            except TimeoutError:
                code = -1
            if code != expected:
                wrong.append(f"{what}: {code:#x}")
    assert not wrong, wrong


@case("what means nothing is passed over: reserved frames, streams, settings")
async def malformed_nothing(bench):
    reserved = 0x1F * 7 + 0x21
    async with bench.connect() as client:
        stream = client._quic.get_next_available_stream_id(is_unidirectional=True)
        client.write(stream, varint(reserved) + os.urandom(2000))
        client.write(client.http._local_control_stream_id, frame(reserved, b"abc"))
        stream = client._quic.get_next_available_stream_id()
        client.write(stream, frame(reserved, bytes(70_000)) + headers(GET) + frame(reserved), True)
        assert (await client.ending(stream)).status == 200


async def flood(bench, begin, codes=(0x107,)):
    """Somebody else is served while one floods; the flood's connection ends with one of these codes."""
    async with bench.connect() as client:
        flooding = asyncio.ensure_future(begin(client))
        took = [await bench.unharmed() for _ in range(5)]
        code = await client.closed(20)
        flooding.cancel()
        assert code in codes, hex(code)
    return f"{code:#x}; others had answers within {max(took)} ms"


async def pace(client):
    client.transmit()
    await asyncio.sleep(0.002)


@case("rapid reset: requests that are cancelled at once")
async def floods_reset(bench):
    async def begin(client):
        while not client.gone.done():
            for _ in range(20):
                stream = client._quic.get_next_available_stream_id()
                client._quic.send_stream_data(stream, headers(GET))
                client._quic.reset_stream(stream, 0x10C)
                client._quic.stop_stream(stream, 0x10C)
            await pace(client)

    return await flood(bench, begin)


@case("frames without a meaning, on requests")
async def floods_frames(bench):
    async def begin(client):
        stream = client._quic.get_next_available_stream_id()
        client._quic.send_stream_data(stream, headers(POST))
        while not client.gone.done():
            client._quic.send_stream_data(stream, frame(0x21) * 200)
            await pace(client)

    return await flood(bench, begin)


@case("empty DATA")
async def floods_empty(bench):
    async def begin(client):
        stream = client._quic.get_next_available_stream_id()
        client._quic.send_stream_data(stream, headers(POST))
        while not client.gone.done():
            client._quic.send_stream_data(stream, frame(0) * 200)
            await pace(client)

    return await flood(bench, begin)


@case("PRIORITY_UPDATE and other frames on the control stream")
async def floods_control(bench):
    async def begin(client):
        while not client.gone.done():
            client._quic.send_stream_data(client.http._local_control_stream_id, frame(0xF0700, b"\0u=1") * 100)
            await pace(client)

    return await flood(bench, begin)


@case("streams of one direction without a meaning, one after the other")
async def floods_streams(bench):
    async def begin(client):
        while not client.gone.done():
            for _ in range(6):
                stream = client._quic.get_next_available_stream_id(is_unidirectional=True)
                client._quic.send_stream_data(stream, b"\x21abc", True)
            await pace(client)

    return await flood(bench, begin)


@case("more streams at a time than there may be")
async def floods_limit(bench):
    async def begin(client):
        client._quic._remote_max_streams_bidi = 1 << 20
        for _ in range(5000):
            stream = client._quic.get_next_available_stream_id()
            client._quic.send_stream_data(stream, headers(replaced(b":path", b"/slow/5000"))[:20])
        await pace(client)

    # STREAM_LIMIT_ERROR of QUIC.
    return await flood(bench, begin, codes=(0x4,))


@case("more data than flow control allows")
async def floods_window(bench):
    async def begin(client):
        client._quic._remote_max_data = 1 << 40
        stream = client._quic.get_next_available_stream_id()
        client._quic.send_stream_data(stream, headers([*POST[:3], (b":path", b"/deaf/20000")]))
        client._quic._streams[stream].max_stream_data_remote = 1 << 40
        for _ in range(1024):
            client._quic.send_stream_data(stream, frame(0, bytes(1 << 16)))
            await pace(client)

    # FLOW_CONTROL_ERROR of QUIC.
    return await flood(bench, begin, codes=(0x3,))


@case("QPACK bombs: 30,000 references to the longest entry, on 20 streams, 20 times")
async def floods_qpack(bench):
    before, most, bomb = bench.memory(), 0, frame(1, section(GET) + integer(0xC0, 6, 85) * 30_000)
    async with bench.connect() as client:
        for _ in range(20):
            streams = []
            for _ in range(20):
                stream = client._quic.get_next_available_stream_id()
                client.write(stream, bomb, True)
                streams.append(stream)
            answers = await asyncio.gather(*(client.ending(stream) for stream in streams))
            assert {answer.seen() for answer in answers} == {431}, {answer.seen() for answer in answers}
            most = max(most, bench.memory())
    took = await bench.unharmed()
    assert most - before < 64, (before, most)
    return f"431 each; {most - before:+.0f} MiB at most; another client {took} ms"


@case("slow reading: 100 streams ask for 64 MiB each, and nothing is taken")
async def floods_reading(bench):
    before = bench.memory()

    class Deaf(Client):
        def datagram_received(self, data, address):
            if not getattr(self, "deaf", False):
                super().datagram_received(data, address)

    async with bench.connect(Deaf, max_data=1 << 40, max_stream_data=1 << 40) as client:
        for _ in range(100):
            client.head(b"GET", b"/bytes/%d" % (64 << 20))
        client.deaf = True
        took = [await bench.unharmed() for _ in range(20)]
        grown = bench.memory() - before
        client._quic._close_event = None
        assert grown < 64, grown
    return f"{grown:+.0f} MiB; others had answers within {max(took)} ms"


@case("slow heads: 100 streams, an octet every half second: 408 after 15 s")
async def floods_slow(bench):
    async with bench.connect() as client:
        octets, began = headers(more((b"x-a", b"b" * 200))), time.monotonic()
        first = client._quic.get_next_available_stream_id()
        streams = [first + 4 * at for at in range(100)]
        for octet in octets:
            open_ones = [stream for stream in streams if not client.answer(stream).ended.is_set()]
            if not open_ones:
                break
            for stream in open_ones:
                client._quic.send_stream_data(stream, bytes([octet]))
            client.transmit()
            await asyncio.sleep(0.5)
        seen = {client.answer(stream).seen() for stream in streams}
        assert seen == {408}, seen
        assert 14 < time.monotonic() - began < 25, time.monotonic() - began
        return f"another client {await bench.unharmed()} ms"


def first_packet():
    """How a client begins, with nobody behind it who would go on."""
    configuration = QuicConfiguration(alpn_protocols=["h3"], server_name=HOST.decode())
    quic = QuicConnection(configuration=configuration)
    quic.connect(("127.0.0.1", 1), now=0.0)
    return b"".join(data for data, _ in quic.datagrams_to_send(now=0.0)[:1])


@case("an address that is not the sender's gets three times what was sent, and less than a datagram more")
async def floods_amplification(bench):
    source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    source.bind(("127.0.0.1", 0))
    source.setblocking(False)
    packet = first_packet()
    source.sendto(packet, ("127.0.0.1", bench.port))
    heard, until = 0, time.monotonic() + 3
    while time.monotonic() < until:
        try:
            heard += len(source.recv(65536))
        except BlockingIOError:
            await asyncio.sleep(0.01)
    source.close()
    # RFC 9000 section 8.1 says three times; quinn begins a datagram as long as there is an octet left of that.
    assert 0 < heard < 3 * len(packet) + 1200, (len(packet), heard)
    return f"{heard / len(packet):.1f} times"


@case("3,000 handshakes that nobody goes on with, then octets at random")
async def floods_handshakes(bench):
    before, packets = bench.memory(), [first_packet() for _ in range(300)]
    stop, sent = asyncio.Event(), 0
    # Each is another connection: the connection IDs are in the part of the packet that is not encrypted, and its key comes of them.
    assert all(len(packet) >= 1200 for packet in packets)
    plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    async def blow():
        nonlocal sent
        for round in range(10):
            for packet in packets:
                source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                source.sendto(packet, ("127.0.0.1", bench.port))
                source.close()
                sent += 1
            await asyncio.sleep(0.05)
        for _ in range(3000):
            plug.sendto(os.urandom(1200), ("127.0.0.1", bench.port))
            plug.sendto(packets[0][:20] + os.urandom(1180), ("127.0.0.1", bench.port))
        stop.set()

    blowing = asyncio.ensure_future(blow())
    took = []
    while not stop.is_set() or len(took) < 5:
        took.append(await bench.unharmed())
    await blowing
    plug.close()
    grown = bench.memory() - before
    assert grown < 64, grown
    return f"{grown:+.0f} MiB; another client {max(took)} ms"
