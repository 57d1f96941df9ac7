"""HTTP/3 as another implementation speaks it: aioquic against a running Tutti.

`http3.py certificates FOLDER` makes an authority (`root.pem`) and a certificate for `shop.test` (`shop.pem`, `shop.key`) there.
`http3.py try FOLDER PORT PID` tries everything at UDP (and TCP) PORT of 127.0.0.1, and prints a line of JSON for each case. Where the
configuration has to change, it prints `{"do": WHAT}` and waits for a line. PID is the process whose memory is watched.
"""

import asyncio
import hashlib
import http.client
import json
import socket
import ssl
import sys
import time
import traceback
from pathlib import Path

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamDataReceived, StreamReset

HOST = b"shop.test"
CASES = []


def certificates(folder, serial=1):
    """An authority that stays, and a certificate of the server with this serial number."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = serialization.Encoding.PEM
    now = datetime.datetime.now(datetime.timezone.utc)

    def certificate(name, key, issuer, issuer_key, number, extensions):
        builder = x509.CertificateBuilder(issuer, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
        builder = builder.public_key(key.public_key()).serial_number(number)
        builder = builder.not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=30))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(issuer_key, hashes.SHA256())

    def private(key):
        return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    root, root_key = folder / "root.pem", folder / "root.key"
    if not root.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "trial")])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        made = certificate("trial", key, issuer, key, 1000, [x509.BasicConstraints(True, None), identifier])
        root.write_bytes(made.public_bytes(pem))
        root_key.write_bytes(private(key))
    authority = x509.load_pem_x509_certificate(root.read_bytes())
    signer = serialization.load_pem_private_key(root_key.read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(HOST.decode())])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = certificate("shop.test", key, authority.subject, signer, serial, [names, identifier])
    (folder / "shop.key").write_bytes(private(key))
    (folder / "shop.key").chmod(0o600)
    (folder / "shop.pem").write_bytes(made.public_bytes(pem))


class Http(H3Connection):
    """What the library keeps to itself, and does not know."""

    def __init__(self, *args, **kwargs):
        self.said, self.heads = {}, set()
        super().__init__(*args, **kwargs)

    def _receive_stream_data_uni(self, stream, data, stream_ended):
        self.said[stream.stream_id] = self.said.get(stream.stream_id, b"") + data
        return super()._receive_stream_data_uni(stream, data, stream_ended)

    @property
    def goaways(self):
        """What GOAWAY said, each time: the library passes over it."""
        octets, seen = self.said.get(self._peer_control_stream_id, b"")[1:], []
        while octets:
            kind, octets = varint_split(octets)
            length, octets = varint_split(octets)
            if kind == 7:
                seen.append(varint_split(octets)[0])
            octets = octets[length:]
        return seen

    def _check_content_length(self, stream):
        # It does not know that an answer to HEAD has a length and no octet.
        if stream.stream_id not in self.heads:
            super()._check_content_length(stream)


class Answer:
    def __init__(self):
        self.heads, self.data, self.length, self.digest = [], b"", 0, hashlib.sha256()
        self.code, self.stopped, self.ended = None, None, asyncio.Event()

    @property
    def status(self):
        return int(dict(self.heads[0])[b":status"]) if self.heads else None

    def field(self, name, at=0):
        return dict(self.heads[at]).get(name) if len(self.heads) > at else None

    def seen(self):
        """How it ended: a status, or the code of a reset."""
        return self.status if self.code is None else f"reset {self.code:#x}"


class Client(QuicConnectionProtocol):
    """A connection. A raw one sends nothing of HTTP/3 by itself."""

    raw = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None if self.raw else Http(self._quic)
        self.answers, self.gone = {}, asyncio.get_running_loop().create_future()

    def answer(self, stream):
        return self.answers.setdefault(stream, Answer())

    def datagram_received(self, data, addr):
        super().datagram_received(data, addr)
        # The library tells of an end only some round trips later, of which a busy machine makes many seconds.
        if self._quic._close_event is not None and not self.gone.done():
            self.gone.set_result(self._quic._close_event.error_code)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            if not self.gone.done():
                self.gone.set_result(event.error_code)
            for answer in self.answers.values():
                answer.ended.set()
        elif isinstance(event, StreamReset):
            answer = self.answer(event.stream_id)
            answer.code = event.error_code
            answer.ended.set()
        elif isinstance(event, StopSendingReceived):
            self.answer(event.stream_id).stopped = event.error_code
        if self.http is None:
            if isinstance(event, StreamDataReceived) and event.stream_id % 4 == 0:
                answer = self.answer(event.stream_id)
                answer.data += event.data
                if event.end_stream:
                    answer.ended.set()
            return
        for event in self.http.handle_event(event):
            answer = self.answer(event.stream_id)
            if isinstance(event, HeadersReceived):
                answer.heads.append(event.headers)
            elif isinstance(event, DataReceived):
                answer.length += len(event.data)
                answer.digest.update(event.data)
                if answer.length < 1 << 16:
                    answer.data += event.data
            if event.stream_ended:
                answer.ended.set()

    def head(self, method, path, fields=(), end=True, stream=None):
        stream = self._quic.get_next_available_stream_id() if stream is None else stream
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", HOST), (b":path", path), *fields]
        if method == b"HEAD":
            self.http.heads.add(stream)
        self.http.send_headers(stream, head, end_stream=end)
        self.transmit()
        return stream

    async def ask(self, method, path, fields=(), body=None, trailers=None):
        stream = self.head(method, path, fields, end=body is None and not trailers)
        if body is not None:
            # As fast as it is taken: the library would queue all of it.
            for at in range(0, max(len(body), 1), 1 << 16):
                last = at + (1 << 16) >= len(body)
                self.http.send_data(stream, body[at : at + (1 << 16)], end_stream=last and not trailers)
                self.transmit()
                await asyncio.sleep(0)
        if trailers:
            self.http.send_headers(stream, trailers, end_stream=True)
            self.transmit()
        return await self.ending(stream)

    async def ending(self, stream, seconds=40):
        answer = self.answer(stream)
        await asyncio.wait_for(answer.ended.wait(), seconds)
        if answer.status is None and answer.code is None:
            raise AssertionError(f"the connection ended: {self.gone.result() if self.gone.done() else None}")
        return answer

    async def get(self, path):
        answer = await self.ask(b"GET", path)
        assert answer.status == 200, answer.seen()
        return answer.data.decode()

    def write(self, stream, octets, end=False):
        self._quic.send_stream_data(stream, octets, end_stream=end)
        self.transmit()

    async def closed(self, seconds=10):
        return await asyncio.wait_for(asyncio.shield(self.gone), seconds)


class Raw(Client):
    raw = True


class Bench:
    """What cases share."""

    def __init__(self, folder, port, pid):
        self.folder, self.port, self.pid, self.witness = folder, port, pid, None

    def connect(self, protocol=Client, tickets=None, ticket=None, wait=True, **options):
        options.setdefault("server_name", HOST.decode())
        configuration = QuicConfiguration(alpn_protocols=["h3"], **options)
        configuration.load_verify_locations(str(self.folder / "root.pem"))
        configuration.session_ticket = ticket
        return connect(
            "127.0.0.1",
            self.port,
            configuration=configuration,
            create_protocol=protocol,
            session_ticket_handler=tickets,
            wait_connected=wait,
        )

    def https(self, path="/hello"):
        """The answer over TCP."""
        context = ssl.create_default_context(cafile=str(self.folder / "root.pem"))
        plain = socket.create_connection(("127.0.0.1", self.port), 10)
        client = http.client.HTTPConnection(HOST.decode())
        client.sock = context.wrap_socket(plain, server_hostname=HOST.decode())
        client.request("GET", path)
        return client.getresponse()

    async def unharmed(self):
        """Somebody else, in a process of its own, gets a connection and an answer meanwhile; how soon, in ms."""
        if self.witness is None:
            args = [sys.argv[0], "witness", str(self.folder), str(self.port), str(self.pid)]
            pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
            self.witness = await asyncio.create_subprocess_exec(sys.executable, *args, **pipes)
        self.witness.stdin.write(b"go\n")
        return int((await self.witness.stdout.readline()).decode())

    async def bear_witness(self):
        while sys.stdin.readline():
            began = time.monotonic()
            async with self.connect() as other:
                # Answered by the gateway: the service may have enough to do.
                assert (await other.ask(b"GET", b"/none")).status == 404
                took = time.monotonic() - began
            print(round(took * 1000), flush=True)

    def memory(self):
        """What the process has in memory, in MiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    async def change(self, what):
        print(json.dumps({"do": what}), flush=True)
        loop = asyncio.get_running_loop()
        line = await loop.run_in_executor(None, sys.stdin.readline)
        assert line.strip() == "done", line


def case(what):
    def add(run):
        CASES.append((run.__name__.split("_")[0], what, run))
        return run

    return add


async def main():
    mode, folder = sys.argv[1], Path(sys.argv[2])
    if mode == "certificates":
        return certificates(folder)
    bench = Bench(folder, int(sys.argv[3]), int(sys.argv[4]))
    if mode == "witness":
        return await bench.bear_witness()
    import http3_plain  # noqa: F401
    import http3_hostile  # noqa: F401: they add to the cases

    only = sys.argv[5:]
    for group, what, run in sorted(CASES, key=lambda one: one[0] == "end"):
        if only and group not in only and what not in only:
            continue
        try:
            seen = await asyncio.wait_for(run(bench), 90)
            print(json.dumps({"group": group, "case": what, "ok": True, "seen": seen or ""}), flush=True)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__}: {error} ({where.line})"
            print(json.dumps({"group": group, "case": what, "ok": False, "seen": words}), flush=True)


def varint(value):
    for width, mark in ((1, 0), (2, 1), (4, 2), (8, 3)):
        if value < 1 << (8 * width - 2):
            return (value | mark << (8 * width - 2)).to_bytes(width, "big")
    raise ValueError(value)


def varint_split(octets):
    """An integer, and what is behind it."""
    width = 1 << (octets[0] >> 6)
    return int.from_bytes(octets[:width], "big") & ((1 << (8 * width - 2)) - 1), octets[width:]


if __name__ == "__main__":
    sys.modules["http3"] = sys.modules["__main__"]
    asyncio.run(main())
