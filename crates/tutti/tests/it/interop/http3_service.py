"""A service of HTTP/1.1 for the trial of HTTP/3: it echoes, sends many octets, waits, and counts. No library but Python's own."""

import asyncio
import hashlib
import json
import os

COUNTS = {}


async def read_body(reader, fields):
    """The pieces of a body, and the trailers in the end."""
    trailers = []
    if fields.get("transfer-encoding") == "chunked":
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            if size == 0:
                break
            yield await reader.readexactly(size), None
            await reader.readexactly(2)
        while (line := (await reader.readline()).strip()) != b"":
            name, _, value = line.partition(b":")
            trailers.append((name.decode().lower(), value.decode().strip()))
    else:
        left = int(fields.get("content-length", 0))
        while left:
            piece = await reader.read(min(left, 1 << 16))
            if not piece:
                raise asyncio.IncompleteReadError(b"", left)
            left -= len(piece)
            yield piece, None
    yield b"", trailers


def plain(writer, text, status="200 OK", more=""):
    body = text.encode()
    writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{more}\r\n".encode() + body)


async def echo(reader, writer, fields):
    """What comes goes back, then a sum as trailer, and the trailers that came."""
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n")
    digest, seen = hashlib.sha256(), []
    async for piece, trailers in read_body(reader, fields):
        if trailers is not None:
            seen = trailers
        if piece:
            digest.update(piece)
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
    writer.write(f"0\r\nx-sum: {digest.hexdigest()}\r\n".encode())
    for name, value in seen:
        writer.write(f"x-seen-{name}: {value}\r\n".encode())
    writer.write(b"\r\n")


async def answer(method, path, fields, reader, writer):
    if path == "/echo":
        return await echo(reader, writer, fields)
    if path.startswith("/deaf/"):
        await asyncio.sleep(int(path.split("/")[2]) / 1000)
        raise ConnectionError
    length = 0
    async for piece, _ in read_body(reader, fields):
        length += len(piece)
    parts = path.strip("/").split("/")
    match parts:
        case ["bytes", count]:
            count = int(count)
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {count}\r\n\r\n".encode())
            piece = bytes(range(256)) * 256
            while count and method != "HEAD":
                writer.write(piece[:count])
                count -= min(count, len(piece))
                await writer.drain()
        case ["slow", ms]:
            await asyncio.sleep(int(ms) / 1000)
            plain(writer, "at last")
        case ["count", name]:
            COUNTS[name] = COUNTS.get(name, 0) + 1
            plain(writer, "counted")
        case ["counts", name]:
            plain(writer, str(COUNTS.get(name, 0)))
        case ["status", "204"]:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        case ["status", "304"]:
            writer.write(b"HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n")
        case ["fields"]:
            plain(writer, json.dumps({"method": method, "length": length, **fields}))
        case ["hop"]:
            plain(writer, "hop", more="connection: x-own\r\nx-own: 1\r\nkeep-alive: timeout=5\r\nalt-svc: h3=\":1\"\r\n")
        case _:
            plain(writer, f"hello {path}")


async def serve(reader, writer):
    try:
        while line := await reader.readline():
            method, path, _ = line.decode().split(" ")
            fields = {}
            while (line := (await reader.readline()).decode("latin-1").strip()) != "":
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
            await answer(method, path, fields, reader, writer)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError, ValueError):
        COUNTS["broken"] = COUNTS.get("broken", 0) + 1
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]), limit=1 << 20)
    await server.serve_forever()


asyncio.run(main())
