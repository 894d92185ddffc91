#!/usr/bin/env python3
"""Compares which configurations we accept with nats-server.

usage: config_load.py CONFIG_DIGEST [--only WORD] [--all]

The cases stand in config_cases.txt. NATS_SERVER names the oracle, else the nats-server on PATH is
taken; without one, or without openssl, the test is skipped (exit 77). Where we differ on purpose
the name is in ON_PURPOSE. --all prints what both say of every case.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# Name -> why.
ON_PURPOSE = {
    "accounts latency without system account": "nats-server sees it when it reads that key first",
}
OPERATOR_JWT = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJEVkI0RkJXREZRU1RJTVAyUDU1R"
    "EFFR1dIUU8yR09QTE80NjczNVc0N1BFRDVYRDRETUtBIiwiaWF0IjoxNzk1NDU2MDMxLCJpc3MiOiJPRDVVR"
    "k5MVUEzQkdaN1RXTVVNQklCMkQ1RFNPM1JSSFFFTVYzT0xMVVBMRjZDUE5ONFFWTFY3RyIsIm5hbWUiOiJPI"
    "iwic3ViIjoiT0Q1VUZOTFVBM0JHWjdUV01VTUJJQjJENURTTzNSUkhRRU1WM09MTFVQTEY2Q1BOTjRRVkxWN"
    "0ciLCJuYXRzIjp7InN5c3RlbV9hY2NvdW50IjoiQUNURTQ3S1U3M01ST1NKSjdWUlpCQ0VBNFFZQzQ3NE81T"
    "0o1TjVPVEVVN09KT0dHTkdEQTMyTjIiLCJ0eXBlIjoib3BlcmF0b3IiLCJ2ZXJzaW9uIjoyfX0.VaKXq6TnH"
    "_HB1jq-6mEuopXsNgNEZlDXi6HVbcYK_2A741tjYSi8CtYGTYkHiErDLLho2CDkSWtj3n_vDONPBA")
ACCOUNT_JWT = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiIzUEI1QUdPNjM3SlZUWFFEM1ZaN"
    "ERRS1g1WEpZV1JWQUhLRDRVU1JLNUcyS0hWTFZTT1RBIiwiaWF0IjoxNzk1NDU2MDMxLCJpc3MiOiJPRDVVR"
    "k5MVUEzQkdaN1RXTVVNQklCMkQ1RFNPM1JSSFFFTVYzT0xMVVBMRjZDUE5ONFFWTFY3RyIsIm5hbWUiOiJBI"
    "iwic3ViIjoiQURNT0xXS1UyTElUWlNJR1Y1SlFTT1lRTkRSVlc1SUhaMkRNWVlOVjVNSUdRTUJFRkpGSEFPW"
    "VAiLCJuYXRzIjp7ImxpbWl0cyI6eyJzdWJzIjotMSwiZGF0YSI6LTEsInBheWxvYWQiOi0xLCJpbXBvcnRzI"
    "jotMSwiZXhwb3J0cyI6LTEsIndpbGRjYXJkcyI6dHJ1ZSwiY29ubiI6LTEsImxlYWYiOi0xfSwiZGVmYXVsd"
    "F9wZXJtaXNzaW9ucyI6eyJwdWIiOnt9LCJzdWIiOnt9fSwiYXV0aG9yaXphdGlvbiI6e30sInR5cGUiOiJhY"
    "2NvdW50IiwidmVyc2lvbiI6Mn19._DR4sROhAEM8bylD-HPRqLviqZQful_MfQRlVxV9aBwiZjq1zR28ij2l"
    "DLq7o0BbCIa0jyPYiFHvEI0TDiF5Cw")
SYSTEM_JWT = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.eyJqdGkiOiJHSVBCM0w3R1lKSEdZSkpUQ1ROU"
    "VBaMzcyNjJHM0pERE01M01TRlpTTDNBWlhPTEM2MkNBIiwiaWF0IjoxNzk1NDU2MDMxLCJpc3MiOiJPRDVVR"
    "k5MVUEzQkdaN1RXTVVNQklCMkQ1RFNPM1JSSFFFTVYzT0xMVVBMRjZDUE5ONFFWTFY3RyIsIm5hbWUiOiJTW"
    "VMiLCJzdWIiOiJBQ1RFNDdLVTczTVJPU0pKN1ZSWkJDRUE0UVlDNDc0TzVPSjVONU9URVU3T0pPR0dOR0RBM"
    "zJOMiIsIm5hdHMiOnsibGltaXRzIjp7InN1YnMiOi0xLCJkYXRhIjotMSwicGF5bG9hZCI6LTEsImltcG9yd"
    "HMiOi0xLCJleHBvcnRzIjotMSwid2lsZGNhcmRzIjp0cnVlLCJjb25uIjotMSwibGVhZiI6LTF9LCJkZWZhd"
    "Wx0X3Blcm1pc3Npb25zIjp7InB1YiI6e30sInN1YiI6e319LCJhdXRob3JpemF0aW9uIjp7fSwidHlwZSI6I"
    "mFjY291bnQiLCJ2ZXJzaW9uIjoyfX0.BPy2DmCHZo2VZkIX0EC8ZJu0-Uw16gme0BLKfRV0Pa7guQwodYOlA"
    "wVT72xe6MgmX7jsbZZ7iGuc9gxtpHBxBA")
KEYS = {
    "OP": "OD5UFNLUA3BGZ7TWMUMBIB2D5DSO3RRHQEMV3OLLUPLF6CPNN4QVLV7G",
    "ACC": "ADMOLWKU2LITZSIGV5JQSOYQNDRVW5IHZ2DMYYNV5MIGQMBEFJFHAOYP",
    "SYS": "ACTE47KU73MROSJJ7VRZBCEA4QYC474O5OJ5N5OTEU7OJOGGNGDA32N2",
    "USER": "UBSCYC3RLBZLSZI26EWWF4FHD5IHAAP3I7TG34KHE7NQ2C3GIY67I5LD",
    "XKEY": "XCYN3BNSX4QEMX332H7SNQSS45LI4FFWTHEJ7YBPHHU7L64SYKNUZMZ5",
    "SEED": "SUAOD6E35ZXSCFISAIQEZMWGFS2V7M5XNOYZIMFMQ427MZBCDSNEXKHOEE",
    "OJWT": OPERATOR_JWT,
    "AJWT": ACCOUNT_JWT,
    "SJWT": SYSTEM_JWT,
}


def read_cases(path):
    cases = []
    for block in re.split(r"^=== ", path.read_text(), flags=re.M)[1:]:
        name, _, text = block.partition("\n")
        cases.append((name.strip(), text))
    return cases


def make_files(folder):
    names = {name: str(folder / file) for name, file in
             (("CERT", "cert.pem"), ("KEY", "key.pem"), ("TEXT", "text"), ("DIR", "dir"),
              ("OPFILE", "op.jwt"), ("OPDECORATED", "op.nsc"))}
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", names["KEY"], "-out",
                    names["CERT"], "-days", "30", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    (folder / "text").write_text("no secret\n")
    (folder / "dir").mkdir()
    (folder / "op.jwt").write_text(OPERATOR_JWT)
    (folder / "op.nsc").write_text("-----BEGIN TEST OPERATOR JWT-----\n" + OPERATOR_JWT +
                                   "\n------END TEST OPERATOR JWT------\n")
    return names


def oracle_tests(server, path):
    done = subprocess.run([server, "-t", "-c", str(path)], capture_output=True, timeout=20)
    text = (done.stdout + done.stderr).decode(errors="replace")
    match = re.search(r"sha256:[0-9a-f]{64}", text)
    return match[0] if match else "ERR " + text.strip().replace("\n", " ")


def oracle_starts(server, path, folder):
    """Runs it until it is ready or gone; the log tells which."""
    log = folder / "log"
    child = subprocess.Popen([server, "-a", "127.0.0.1", "-p", "-1", "-c", str(path)],
                             stdout=subprocess.DEVNULL, stderr=log.open("wb"))
    try:
        for _ in range(400):
            text = log.read_text(errors="replace")
            if "Server is ready" in text:
                return "OK"
            if child.poll() is not None:
                return "ERR " + text.strip().splitlines()[-1]
            try:
                child.wait(0.02)
            except subprocess.TimeoutExpired:
                pass
        return "ERR not ready in time"
    finally:
        child.kill()
        child.wait()


def we_say(program, paths, *flags):
    done = subprocess.run([program, *flags, *map(str, paths)], capture_output=True,
                          encoding="utf-8", errors="replace", timeout=60)
    lines = done.stdout.split("\n")[:-1]
    assert len(lines) == len(paths), done.stderr
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--only", default="")
    parser.add_argument("--all", action="store_true")
    args = parser.parse_args()
    server = os.environ.get("NATS_SERVER") or shutil.which("nats-server")
    if not server or not shutil.which("openssl"):
        print("skipped: no nats-server (set NATS_SERVER) or no openssl")
        return 77
    cases = read_cases(pathlib.Path(__file__).with_name("config_cases.txt"))
    cases = [case for case in cases if args.only in case[0]]
    wrong = on_purpose = refused = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        names = {**KEYS, **make_files(folder)}
        for number, (name, text) in enumerate(cases):
            path = folder / f"{number}.conf"
            path.write_text(re.sub(r"@([A-Z]+)@", lambda m: names[m[1]], text))
            if name.startswith("start "):
                theirs = oracle_starts(server, path, folder)
                ours = we_say(args.program, [path], "--whole")[0]
            else:
                theirs = oracle_tests(server, path)
                ours = we_say(args.program, [path])[0]
            refused += theirs.startswith("ERR")
            same = ours.startswith("ERR") == theirs.startswith("ERR")
            if not name.startswith("start "):
                same = same and (ours == theirs or ours.startswith("ERR"))
            if not same and name in ON_PURPOSE:
                on_purpose += 1
            elif not same or args.all:
                wrong += not same
                print(f"{name}\n  nats-server: {theirs}\n  ours:        {ours}")
    print(f"{len(cases)} cases, {refused} refused by nats-server, {on_purpose} differ on purpose, "
          f"{wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
