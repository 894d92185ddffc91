"""NATS keys and tokens on the standard library: Ed25519 by RFC 8032, nkeys, JWTs. For tests; slow."""
import base64
import hashlib
import json
import os
import time

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)
PREFIXES = {"operator": 14 << 3, "account": 0, "user": 20 << 3, "server": 13 << 3}


def _recover_x(y: int, sign: int) -> int:
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    return P - x if x & 1 != sign else x


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE_X = _recover_x(BASE_Y, 0)
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def _add(a, b):
    e = (a[1] - a[0]) * (b[1] - b[0]) % P
    f = (a[1] + a[0]) * (b[1] + b[0]) % P
    g, h = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    w, x, y, z = f - e, h - g, h + g, f + e
    return w * x % P, y * z % P, x * y % P, w * z % P


def _multiply(scalar: int, point):
    out = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            out = _add(out, point)
        point = _add(point, point)
        scalar >>= 1
    return out


def _encode(point) -> bytes:
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def _hash(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def _crc16(data: bytes) -> bytes:
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc.to_bytes(2, "little")


def _base32(data: bytes) -> str:
    return base64.b32encode(data + _crc16(data)).decode().rstrip("=")


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A key pair; `kind` is operator, account, user or server."""

    def __init__(self, kind: str, raw: bytes | None = None):
        self.kind = kind
        self.raw = raw or os.urandom(32)
        digest = hashlib.sha512(self.raw).digest()
        self.scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
        self.nonce_key = digest[32:]
        self.public_raw = _encode(_multiply(self.scalar, BASE))
        prefix = PREFIXES[kind]
        self.public = _base32(bytes([prefix]) + self.public_raw)
        self.seed = _base32(bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]) + self.raw)

    def sign(self, data: bytes) -> bytes:
        r = _hash(self.nonce_key, data) % L
        point = _encode(_multiply(r, BASE))
        k = _hash(point, self.public_raw, data) % L
        return point + ((r + k * self.scalar) % L).to_bytes(32, "little")

    def sign_nonce(self, nonce: str) -> str:
        return base64url(self.sign(nonce.encode()))

    def jwt(self, subject: str, nats: dict, name: str = "", **more) -> str:
        """A token about `subject`, signed by this key. `more`: exp, nbf, iat, aud, iss, ..."""
        claims = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": subject, **more}
        claims["nats"] = {"version": 2, **nats}
        claims["jti"] = base64.b32encode(
            hashlib.sha256(json.dumps(claims, sort_keys=True).encode()).digest()).decode().rstrip("=")
        head = base64url(b'{"typ":"JWT","alg":"ed25519-nkey"}')
        body = base64url(json.dumps(claims, separators=(",", ":")).encode())
        return f"{head}.{body}.{base64url(self.sign(f'{head}.{body}'.encode()))}"


UNLIMITED = {"subs": -1, "data": -1, "payload": -1}


def operator_jwt(operator: Key, **nats) -> str:
    return operator.jwt(operator.public, {"type": "operator", **nats}, "O")


def account_jwt(operator: Key, account: Key, name: str = "A", limits: dict | None = None,
                claims: dict | None = None, **nats) -> str:
    every = {**UNLIMITED, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1, **(limits or {})}
    return operator.jwt(account.public, {"type": "account", "limits": every, **nats}, name, **(claims or {}))


def user_jwt(signer: Key, user: Key, name: str = "u", claims: dict | None = None, **nats) -> str:
    return signer.jwt(user.public, {"type": "user", **UNLIMITED, **nats}, name, **(claims or {}))


def creds(jwt: str, user: Key) -> str:
    """A credentials file."""
    return (f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")
