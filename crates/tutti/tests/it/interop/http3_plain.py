"""What a client that means well does."""

import asyncio
import hashlib
import json
import os
import time

from aioquic.tls import CipherSuite
from http3 import HOST, case, certificates

MIB = 1 << 20


@case("GET, HEAD, 204, 304")
async def requests_simple(bench):
    async with bench.connect() as client:
        assert await client.get(b"/hello") == "hello /hello"
        answer = await client.ask(b"HEAD", b"/bytes/5000")
        assert (answer.status, answer.length, answer.field(b"content-length")) == (200, 0, b"5000"), answer.heads
        for status in (204, 304):
            answer = await client.ask(b"GET", f"/status/{status}".encode())
            assert (answer.status, answer.length) == (status, 0), answer.seen()


@case("POST with no octet, with one, and with a length")
async def requests_post(bench):
    async with bench.connect() as client:
        for body, fields in ((b"", []), (b"x", []), (b"abc", [(b"content-length", b"3")])):
            answer = await client.ask(b"POST", b"/fields", fields, body)
            assert json.loads(answer.data)["length"] == len(body), answer.data


@case("what the service is told; no field of its connection comes back")
async def requests_fields(bench):
    async with bench.connect() as client:
        cookies = [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"x-forwarded-for", b"6.6.6.6")]
        seen = json.loads((await client.ask(b"GET", b"/fields", cookies)).data)
        assert seen["cookie"] == "a=1; b=2" and seen["host"] == HOST.decode(), seen
        assert seen["x-forwarded-proto"] == "https" and seen["x-forwarded-for"] == "127.0.0.1", seen
        answer = await client.ask(b"GET", b"/hop")
        names = {name for name, _ in answer.heads[0]}
        assert not names & {b"connection", b"keep-alive", b"x-own", b"transfer-encoding"}, names
        assert answer.field(b"alt-svc") != b'h3=":1"'


@case("64 MiB up, 64 MiB down, 16 MiB both ways at once")
async def bodies_large(bench):
    async with bench.connect() as client:
        began = time.monotonic()
        answer = await client.ask(b"POST", b"/fields", [], bytes(64 * MIB))
        assert json.loads(answer.data)["length"] == 64 * MIB
        answer = await client.ask(b"GET", b"/bytes/%d" % (64 * MIB))
        assert answer.digest.hexdigest() == hashlib.sha256(bytes(range(256)) * (64 * MIB // 256)).hexdigest()
        body = os.urandom(16 * MIB)
        answer = await client.ask(b"POST", b"/echo", [], body)
        assert answer.digest.digest() == hashlib.sha256(body).digest()
        return f"{time.monotonic() - began:.0f} s, the client's CPU alone"


@case("trailers both ways")
async def bodies_trailers(bench):
    async with bench.connect() as client:
        answer = await client.ask(b"POST", b"/echo", [], b"hello", [(b"x-end", b"far")])
        assert len(answer.heads) == 2, answer.heads
        assert answer.field(b"x-seen-x-end", 1) == b"far"
        assert answer.field(b"x-sum", 1) == hashlib.sha256(b"hello").hexdigest().encode()


@case("100 streams at a time, each 64 KiB both ways")
async def streams_many(bench):
    async with bench.connect() as client:
        bodies = [os.urandom(64 << 10) for _ in range(100)]
        answers = await asyncio.gather(*(client.ask(b"POST", b"/echo", [], body) for body in bodies))
        for body, answer in zip(bodies, answers):
            assert answer.digest.digest() == hashlib.sha256(body).digest(), answer.seen()


@case("1,000 requests on one connection, more than there may be streams at a time")
async def streams_thousand(bench):
    async with bench.connect() as client:
        answers = await asyncio.gather(*(client.ask(b"GET", b"/hello") for _ in range(1000)))
        assert all(answer.status == 200 for answer in answers)


@case("a request is cancelled; the others and the service go on")
async def streams_cancelled(bench):
    async with bench.connect() as client:
        stream = client.head(b"GET", b"/slow/30000")
        upload = client.head(b"POST", b"/fields", end=False)
        client.http.send_data(upload, b"x" * 5000, end_stream=False)
        client.transmit()
        await client.get(b"/hello")
        client._quic.stop_stream(stream, 0x10C)
        client._quic.reset_stream(upload, 0x10C)
        client._quic.stop_stream(upload, 0x10C)
        client.transmit()
        for cancelled in (stream, upload):
            assert (await client.ending(cancelled)).code == 0x10C
        assert await client.get(b"/hello") == "hello /hello"


@case("Alt-Svc over HTTPS says where HTTP/3 is")
async def discovery_alt_svc(bench):
    answer = await asyncio.to_thread(bench.https)
    said = answer.getheader("alt-svc")
    assert answer.status == 200 and said.startswith(f'h3=":{bench.port}"'), said
    return said


@case("a session is resumed")
async def handshake_resumed(bench):
    tickets = []
    async with bench.connect(tickets=tickets.append) as client:
        await client.get(b"/hello")
    assert tickets
    async with bench.connect(ticket=tickets[0]) as client:
        await client.get(b"/hello")
        assert client._quic.tls.session_resumed


@case("0-RTT is not offered, and is refused when a client sends it nevertheless; the request runs once or not at all")
async def handshake_early(bench):
    tickets = []
    async with bench.connect(tickets=tickets.append) as client:
        await client.get(b"/hello")
    assert tickets and all(not ticket.max_early_data_size for ticket in tickets), tickets
    tickets[0].max_early_data_size = 0xFFFFFFFF
    async with bench.connect(ticket=tickets[0], wait=False) as client:
        stream = client.head(b"POST", b"/count/early")
        await client.wait_connected()
        assert not client._quic.tls.early_data_accepted
        answer = await client.ending(stream)
        assert answer.status == 200, answer.seen()
        count = await client.get(b"/counts/early")
        assert count == "1", count
    return "asked early, answered after the handshake, once"


@case("each suite of TLS 1.3 that the client has")
async def handshake_suites(bench):
    suites = [CipherSuite.AES_128_GCM_SHA256, CipherSuite.AES_256_GCM_SHA384, CipherSuite.CHACHA20_POLY1305_SHA256]
    for suite in suites:
        async with bench.connect(cipher_suites=[suite]) as client:
            await client.get(b"/hello")
    return ", ".join(suite.name for suite in suites)


@case("a client that begins with an unknown version of QUIC is told which there are")
async def handshake_version(bench):
    options = {"original_version": 0x1A2A3A4A, "supported_versions": [0x1A2A3A4A, 1]}
    async with bench.connect(**options) as client:
        assert await client.get(b"/hello") == "hello /hello"
        assert client._quic._version == 1


@case("another name than the certificate's is not served")
async def handshake_name(bench):
    try:
        async with bench.connect(server_name="other.test"):
            raise AssertionError("it was")
    except ConnectionError as error:
        return type(error).__name__


class Ear(asyncio.DatagramProtocol):
    """Another address of the same client."""

    def __init__(self, client):
        self.client, self.heard = client, 0

    def datagram_received(self, data, address):
        self.heard += 1
        # As the library knows the server.
        self.client.datagram_received(data, (f"::ffff:{address[0]}", address[1], 0, 0))


async def move(client, host):
    loop = asyncio.get_running_loop()
    transport, ear = await loop.create_datagram_endpoint(lambda: Ear(client), local_addr=(host, 0))

    class Sender:
        """The library has addresses of IPv6."""

        def sendto(self, data, address):
            transport.sendto(data, ("127.0.0.1", address[1]))

        def close(self):
            transport.close()

    old, client._transport = client._transport, Sender()
    old.close()
    return ear


@case("the client goes on from another port (NAT), with a body under way")
async def connection_rebinding(bench):
    async with bench.connect() as client:
        stream = client.head(b"GET", b"/bytes/%d" % (8 * MIB))
        while client.answer(stream).length < MIB:
            await asyncio.sleep(0.001)
        ear = await move(client, "127.0.0.1")
        # Something of ours has to come from there.
        asked = client.ask(b"POST", b"/echo", [], bytes(100_000))
        answer, echoed = await asyncio.gather(client.ending(stream), asked)
        assert answer.length == 8 * MIB and echoed.length == 100_000 and ear.heard > 10


@case("the client goes on from another address with another connection ID; the service is told the new one")
async def connection_migration(bench):
    async with bench.connect() as client:
        await client.get(b"/hello")
        client.change_connection_id()
        ear = await move(client, "127.0.0.9")
        await client.ping()
        for _ in range(50):
            seen = json.loads((await client.ask(b"GET", b"/fields")).data)
            if seen["x-forwarded-for"] == "127.0.0.9":
                break
            await asyncio.sleep(0.02)
        assert seen["x-forwarded-for"] == "127.0.0.9" and ear.heard, seen


@case("new keys under way, by the client's wish")
async def connection_keys(bench):
    async with bench.connect() as client:
        await client.get(b"/hello")
        for _ in range(3):
            client.request_key_update()
            await client.get(b"/hello")
            await client.ping()


@case("routes change while a connection lives and a request runs")
async def live_routes(bench):
    async with bench.connect() as client:
        stream = client.head(b"GET", b"/slow/3000")
        assert (await client.ask(b"GET", b"/new/x")).status == 404
        await bench.change("routes")
        assert await client.get(b"/new/x") == "hello /new/x"
        assert (await client.ending(stream)).data == b"at last"


@case("a certificate changes while a connection lives: it goes on, and new ones see the new one")
async def live_certificate(bench):
    def serial(client):
        return client._quic.tls._peer_certificate.serial_number

    async with bench.connect() as client:
        before = serial(client)
        certificates(bench.folder, serial=before + 1)
        began = time.monotonic()
        while time.monotonic() < began + 20:
            async with bench.connect() as other:
                await other.get(b"/hello")
                if serial(other) == before + 1:
                    break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("the old certificate is still shown")
        seconds = time.monotonic() - began
        assert await client.get(b"/hello") == "hello /hello" and serial(client) == before
        return f"after {seconds:.1f} s"


@case("with `retry` each client has to come back with a token")
async def live_retry(bench):
    async with bench.connect() as client:
        assert client._quic._retry_count == 0
        await bench.change("retry")
        async with bench.connect() as other:
            assert other._quic._retry_count == 1
            assert await other.get(b"/hello") == "hello /hello"
        assert await client.get(b"/hello") == "hello /hello"


@case("switched off and on: GOAWAY twice, running requests end well, Alt-Svc: clear, then as before")
async def live_switched(bench):
    async with bench.connect() as client:
        stream = client.head(b"GET", b"/slow/8000")
        await client.get(b"/hello")
        await bench.change("off")
        assert (await asyncio.to_thread(bench.https)).getheader("alt-svc") == "clear"
        assert (await client.ending(stream)).data == b"at last"
        code = await client.closed()
        assert code == 0x100, (hex(code), client.http.goaways)
        goaways = client.http.goaways
        assert len(goaways) == 2 and goaways[0] == (1 << 62) - 4 and goaways[1] == 8, goaways
    await bench.change("on")
    await bench.unharmed()
    return f"GOAWAY {goaways[0]}, {goaways[1]}"


@case("another process takes over: the running request is answered, then the new one listens")
async def end_upgrade(bench):
    async with bench.connect() as client:
        stream = client.head(b"GET", b"/slow/3000")
        await client.get(b"/hello")
        await bench.change("upgrade")
        began = time.monotonic()
        assert (await client.ending(stream)).data == b"at last"
        code = await client.closed()
        assert code == 0x100 and len(client.http.goaways) == 2, (hex(code), client.http.goaways)
    # The first packets may be lost, as long as nobody listens: the library sends them again.
    while time.monotonic() < began + 20:
        try:
            async with bench.connect() as other:
                assert await other.get(b"/hello") == "hello /hello"
                return f"{time.monotonic() - began:.1f} s after it had taken over"
        except ConnectionError:
            pass
    raise AssertionError("nobody listens")


@case("at the end of the process: GOAWAY, the running request is answered, then H3_NO_ERROR")
async def end_process(bench):
    async with bench.connect() as client:
        stream = client.head(b"GET", b"/slow/8000")
        await client.get(b"/hello")
        await bench.change("end")
        assert (await client.ending(stream)).data == b"at last"
        code = await client.closed()
        assert code == 0x100, (hex(code), client.http.goaways)
        assert len(client.http.goaways) == 2, client.http.goaways
