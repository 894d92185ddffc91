#!/usr/bin/env python3
"""Reads the messages of a store by docs/store-format.md alone, to show that another program can.

usage: read_store.py STORE_DIRECTORY

Prints a line for every message, from run files first and then from the log: stream id, sequence, time,
expiry, subject, headers and body (both hexadecimal). Every checksum is checked. Knows plain and
lz4 blocks; encrypted stores need a key and zstd needs a library, neither of which Python brings along.
"""
import pathlib
import struct
import sys

TABLE = []
for byte in range(256):
    crc = byte
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    TABLE.append(crc)


def crc32c(data: bytes, crc: int = 0) -> int:
    crc ^= 0xFFFFFFFF
    for b in data:
        crc = crc >> 8 ^ TABLE[(crc ^ b) & 0xFF]
    return crc ^ 0xFFFFFFFF


def check(condition: bool, what: str) -> None:
    if not condition:
        sys.exit(f"damaged: {what}")


def number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at:at + size], "little")


def pad8(size: int) -> int:
    return (size + 7) // 8 * 8


def read_record(data: bytes, at: int = 0) -> tuple[tuple, int]:
    """The message at `at` and the size of its record."""
    head_crc, size, headers, content_crc, seq, time, expires, subject, form = struct.unpack_from("<IIIIQqQII", data, at)
    start = at + 48 + subject
    check(form == 1 and crc32c(data[at + 4:start]) == head_crc, f"head of the record at {at}")
    content = data[start:at + size]
    check(crc32c(content) == content_crc, f"content of message {seq}")
    check(not any(data[at + size:at + pad8(size)]), f"padding of message {seq}")
    return (seq, time, expires, data[at + 48:start].decode(), content[:headers], content[headers:]), pad8(size)


def lz4(data: bytes, size: int) -> bytes:
    out = bytearray()
    at = 0

    def length(value: int) -> int:
        nonlocal at
        if value == 15:
            while True:
                value += data[at]
                at += 1
                if data[at - 1] != 255:
                    break
        return value

    while at < len(data):
        token = data[at]
        at += 1
        literals = length(token >> 4)
        out += data[at:at + literals]
        at += literals
        if at >= len(data):
            break
        distance = number(data, at, 2)
        at += 2
        for _ in range(length(token & 15) + 4):
            out.append(out[-distance])
    check(len(out) == size, "lz4 block")
    return bytes(out)


def read_block(data: bytes, nonce: int) -> bytes:
    check(data[0] >> 4 == 0, "encrypted")
    check(crc32c(data[:-4], crc32c(struct.pack("<Q", nonce))) == number(data, len(data) - 4, 4), "block")
    body = data[8:-4]
    if data[0] == 0:
        return body
    check(data[0] == 1, "zstd")
    return lz4(body, number(data, 4, 4))


def read_section(data: bytes, at: int, salt: int) -> tuple[str, bytes, int]:
    kind, size, own_salt, place, _, crc = struct.unpack_from("<4sIQQII", data, at)
    check(own_salt == salt and place == at and crc32c(data[at:at + 28]) == crc, f"section at {at}")
    return kind.decode(), read_block(data[at + 32:at + 32 + size], salt ^ at), 32 + pad8(size)


class Varints:
    def __init__(self, data: bytes, at: int):
        self.data, self.at = data, at

    def next(self) -> int:
        value = shift = 0
        while True:
            b = self.data[self.at]
            self.at += 1
            value |= (b & 127) << shift
            shift += 7
            if b < 128:
                return value

    def bytes(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size:self.at]


def read_footer(plain: bytes) -> dict:
    flags, stream, head, end, _, count, first, last = struct.unpack_from("<IIQQIIQQ", plain)
    names, expiries, ids, blocks, account, name, config, _, text = struct.unpack_from("<8IQ", plain, 96)
    reader = Varints(plain, 136)
    out = {"stream": stream, "account": reader.bytes(account), "name": reader.bytes(name), "places": []}
    reader.bytes(config)
    seqs = [first]
    for _ in range(count - 1):
        seqs.append(seqs[-1] + 1 + (0 if flags & 1 else reader.next()))
    check(seqs[-1] == last, "sequences")
    place = head
    if flags & 2:
        for _ in range(blocks):
            place += reader.next() * 8
            size, inside = reader.next() * 8, 0
            for i in range(reader.next()):
                inside += reader.next() * 8 if i else 0
                out["places"].append((place, inside, None))
            place += size
    else:
        steps = [reader.next() for _ in range(count)]
        for step in steps:
            place += step * 8
            out["places"].append((place, None, number(reader.bytes(2), 0, 2)))
    sizes = [reader.next() for _ in range(count)]
    width = 0 if names <= 1 else 1 if names <= 1 << 8 else 2 if names <= 1 << 16 else 3 if names <= 1 << 24 else 4
    subjects = [number(reader.bytes(width), 0, width) for _ in range(count)]
    texts, before = [], b""
    for _ in range(names):
        shared = reader.bytes(1)[0]
        before = before[:shared] + reader.bytes(reader.next())
        texts.append(before.decode())
        for _ in range(3):
            reader.next()
    check(sum(len(it.encode()) for it in texts) == text, "dictionary")
    for _ in range(expiries * 2):
        reader.next()
    for _ in range(ids):
        reader.bytes(16)
        reader.next()
    check(reader.at == len(plain), "length of the footer")
    out["messages"] = list(zip(seqs, sizes, (texts[it] for it in subjects)))
    return out


def read_run_file(path: pathlib.Path) -> list[tuple]:
    data = path.read_bytes()
    tail = len(data) - number(data, len(data) - 12, 4)
    check(data[:8] == b"\x89BRKRUN\n" and data[tail:tail + 8] == b"\x89BRKEND\n", "head or tail")
    check(crc32c(data[tail:-16]) == number(data, len(data) - 16, 4), "tail")
    check(number(data, 16, 8) == int(path.stem, 16), "number of the file")
    salt, index_at = number(data, 24, 8), number(data, tail + 32, 8)
    _, index, _ = read_section(data, index_at, salt)
    out = []
    for i in range(number(index, 0, 4)):
        footer_at = number(index, 4 + i * 76 + 4 + 8, 8)
        kind, plain, _ = read_section(data, footer_at, salt)
        check(kind == "RFOT", "kind of the footer")
        footer, block_at, block = read_footer(plain), None, b""
        for (place, inside, mark), (seq, counted, subject) in zip(footer["places"], footer["messages"]):
            if mark is None and place != block_at:
                block_at, (_, block, _) = place, read_section(data, place, salt)
            message, _ = read_record(data, place) if mark is not None else read_record(block, inside)
            crc = crc32c(data[place:place + 48])
            check(mark is None or mark == (crc ^ crc >> 16) & 0xFFFF, f"check of message {seq}")
            headers, body = message[4:]
            check(counted == 30 + len(subject) + (4 + len(headers) if headers else 0) + len(body), f"size of {seq}")
            check(message[0] == seq and message[3] == subject, f"message {seq}")
            out.append((footer["stream"], *message))
    return out


def read_log_file(path: pathlib.Path) -> list[tuple]:
    data = path.read_bytes()
    check(data[:8] == b"BRKRLOG\n", "head of the log file")
    check(crc32c(data[:12] + bytes(4) + data[16:2048]) == number(data, 12, 4), "head of the log file")
    epoch, out, at, group = number(data, 32, 8), [], 4096, []
    while at + 32 <= len(data):
        crc, low, _, size, stream, body_crc, kind, flags, _ = struct.unpack_from("<IIQIIIBBH", data, at)
        if low != epoch & 0xFFFFFFFF or crc32c(data[at + 8:at + 32]) ^ epoch >> 32 != crc:
            break
        body = data[at + 32:at + 32 + size]
        check(flags == 0, "encrypted")
        if kind == 1:
            check(number(body, 0, 4) == body_crc, f"frame at {at}")
            group.append((stream, *read_record(body)[0]))
        else:
            check(crc32c(body) == body_crc, f"frame at {at}")
        if kind == 255:
            out, group = out + group, []
        at += 32 + pad8(size)
    return out


def main() -> None:
    store = pathlib.Path(sys.argv[1])
    messages = {}
    for path in sorted((store / "runs").glob("*.run")):
        messages.update({it[:2]: it for it in read_run_file(path)})
    for path in sorted((store / "wal").glob("*.wal")):
        messages.update({it[:2]: it for it in read_log_file(path)})
    for stream, seq, time, expires, subject, headers, body in (messages[key] for key in sorted(messages)):
        print(stream, seq, time, expires, subject, headers.hex(), body.hex())


if __name__ == "__main__":
    main()
