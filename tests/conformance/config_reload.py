#!/usr/bin/env python3
"""Compares which changes of a configuration a running nats-server refuses, and in what words.

usage: config_reload.py CONFIG_DIGEST [--only WORD] [--all]

Each case is a file and what it is changed to. NATS_SERVER names the oracle, else the nats-server on
PATH is taken; without one, or without openssl, the test is skipped (exit 77). Blocks are compared
up to the name of the setting only: nats-server prints them with their passwords. Left out is what
nats-server can change and we cannot: JetStream on and off, and its limits.
"""
import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

TLS = 'cert_file: "@CERT@", key_file: "@KEY@"'
USER = "authorization { users: [{user: a, password: b}] }\n"
LEAF = 'leafnodes { remotes: [ { url: "nats://127.0.0.1:1"%s } ] }'
WS = "websocket { port: -1, no_tls: true %s }"

# (before, after). "exact" first: the whole text is the same.
CASES = [
    ("exact", "server_name: a", "server_name: b"),
    ("exact", "host: 127.0.0.1", "host: localhost"),
    ("", "", "listen: 127.0.0.1:1234"),
    ("", "", "http: 127.0.0.1:1234"),
    ("exact", "http_base_path: /a", "http_base_path: /b"),
    ("exact", "", "max_subscriptions: 10"),
    ("exact", "", "max_sub_tokens: 10"),
    ("exact", "", "max_pending: 10000000"),
    ("exact", "", "max_closed_clients: 10"),
    ("exact", "", "lame_duck_duration: 60s"),
    ("exact", "", "lame_duck_grace_period: 5s"),
    ("exact", "", "write_timeout: close"),
    ("exact", "write_timeout: retry", "write_timeout: default"),
    ("exact", "", "no_header_support: true"),
    ("exact", "", "logfile_size_limit: 10MB"),
    ("exact", "", "logfile_max_num: 3"),
    ("exact", "", "no_system_account: true"),
    ("exact", "accounts { S { } }\nsystem_account: S", "accounts { S { }, T { } }\nsystem_account: T"),
    ("exact", "accounts { \"$SYS\" { } }\nsystem_account: \"$SYS\"", "accounts { \"$SYS\" { } }"),
    ("exact", USER + "no_auth_user: a", USER),
    ("exact", USER, USER + "no_auth_user: a"),
    ("exact", USER + "no_auth_user: a", "port: -1"),
    ("exact", "", "allow_non_tls: true"),
    ("exact", "tls { %s }" % TLS, "tls { %s, verify_and_map: true }" % TLS),
    ("exact", "tls { %s }" % TLS, "tls { %s, connection_rate_limit: 5 }" % TLS),
    ("", "tls { %s }" % TLS, "tls { %s, timeout: 5 }" % TLS),
    ("", "tls { %s }" % TLS, "tls { %s, handshake_first: true }" % TLS),
    ("", "tls { %s }" % TLS, "tls { %s, cipher_suites: [TLS_AES_256_GCM_SHA384] }" % TLS),
    ("", "tls { %s }" % TLS, "tls { %s, min_version: \"1.3\" }" % TLS),
    ("", "tls { %s }" % TLS, ""),
    ("", "", "tls { %s }" % TLS),
    ("", "", USER),
    ("", USER, "authorization { users: [{user: a, password: c}] }"),
    ("", USER, "authorization { token: x }"),
    ("", "", "authorization { users: [{nkey: \"@USER@\"}] }"),
    ("", "", "authorization { timeout: 5 }"),
    ("", "", "accounts { A { users: [{user: a, password: b}] } }"),
    ("", "accounts { A { } }", "accounts { A { limits { max_conn: 3 } } }"),
    ("", "accounts { A { exports: [{stream: a}] } }", "accounts { A { exports: [{stream: b}] } }"),
    ("", "", "mappings { a: b }"),
    ("", USER, USER + "authorization { users: [{user: a, password: b}], auth_callout { issuer: \"@ACC@\", auth_users: [a] } }"),
    ("", "", "max_payload: 10k"),
    ("", "", "max_connections: 10"),
    ("", "", "max_control_line: 2000"),
    ("", "", "ping_interval: \"10s\""),
    ("", "", "ping_max: 5"),
    ("", "", "write_deadline: \"5s\""),
    ("", "", "debug: true"),
    ("", "", "trace: true"),
    ("", "", "trace_verbose: true"),
    ("", "", "trace_headers: true"),
    ("", "", "logtime: false"),
    ("", "", "logtime_utc: true"),
    ("", "", "log_file: \"@DIR@/log2\""),
    ("", "", "pid_file: \"@DIR@/pid\""),
    ("", "", "ports_file_dir: \"@DIR@\""),
    ("", "", "client_advertise: \"a:1\""),
    ("", "", "server_tags: [a, b]"),
    ("", "", "server_metadata { a: b }"),
    ("", "", "max_traced_msg_len: 10"),
    ("", "", "connect_error_reports: 10"),
    ("", "", "reconnect_error_reports: 10"),
    ("", "", "no_fast_producer_stall: true"),
    ("exact", "jetstream { store_dir: \"@DIR@/a\" }", "jetstream { store_dir: \"@DIR@/b\" }"),
    ("exact", "jetstream { store_dir: \"@DIR@/a\" }",
     "jetstream { store_dir: \"@DIR@/a\", domain: x }"),
    ("exact", "jetstream { store_dir: \"@DIR@/a\" }",
     "jetstream { store_dir: \"@DIR@/a\", strict: false }"),
    ("exact", "jetstream { store_dir: \"@DIR@/a\", sync_interval: 10s }",
     "jetstream { store_dir: \"@DIR@/a\", sync_interval: 20s }"),
    ("", "jetstream { store_dir: \"@DIR@/a\" }",
     "jetstream { store_dir: \"@DIR@/a\", key: secret }"),
    ("", WS % "", WS % ", compression: true"),
    ("", WS % "", WS % ", same_origin: true"),
    ("", WS % "", WS % ", allowed_origins: [\"http://a\"]"),
    ("", WS % "", WS % ", user_cookie: a"),
    ("", WS % "", WS % ", authorization { user: a, password: b }"),
    ("", WS % "", WS % ", handshake_timeout: 5"),
    ("", WS % "", WS % ", headers { A: b }"),
    ("", WS % "", WS % ", ping_interval: 5s"),
    ("", WS % "", ""),
    ("", WS % "", WS % ""),
    ("", "websocket { port: -1, tls { %s } }" % TLS,
     "websocket { port: -1, tls { %s, min_version: \"1.3\" } }" % TLS),
    ("", LEAF % "", ""),
    ("", "", LEAF % ""),
    ("", LEAF % "", LEAF % ", disabled: true"),
    ("", LEAF % "", LEAF % ", compression: off"),
    ("exact", LEAF % "", LEAF % ", hub: true"),
    ("exact", LEAF % "", LEAF % ", deny_imports: [a, \"b.>\"]"),
    ("exact", LEAF % "", LEAF % ", deny_exports: a"),
    ("exact", LEAF % "", LEAF % ", no_randomize: true"),
    ("exact", LEAF % "", LEAF % ", request_isolation: true"),
    ("exact", LEAF % "", LEAF % ", isolate: true"),
    ("exact", LEAF % "", LEAF % ", ignore_discovered_servers: true"),
    ("exact", LEAF % "", LEAF % ", dial_timeout: 2s"),
    ("exact", "accounts { A { } }\n" + LEAF % ", account: A",
     "accounts { A { } }\n" + LEAF % ", account: A, hub: true"),
    ("", LEAF % "", "leafnodes { remotes: [ { url: \"nats://127.0.0.1:2\" } ] }"),
    ("", "leafnodes { port: -1 }", "leafnodes { port: -1, no_advertise: true }"),
    ("exact", "leafnodes { port: -1 }", "leafnodes { port: -1, advertise: \"a:1\" }"),
    ("exact", "leafnodes { port: -1 }", "leafnodes { port: -1, isolate: true }"),
    ("exact", "leafnodes { port: -1 }", "leafnodes { port: -1, min_version: 2.9.0 }"),
    ("exact", "leafnodes { port: -1 }", "leafnodes { port: -1, reconnect: 5s }"),
    ("", "leafnodes { port: -1 }", "leafnodes { port: -1, compression: s2_fast }"),
    ("", "leafnodes { port: -1 }",
     "leafnodes { port: -1, authorization { users: [{user: a, password: b}] } }"),
    ("", "leafnodes { port: -1 }", "leafnodes { port: -1, authorization { user: a, password: b } }"),
    ("", "trusted: \"@OP@\"\nresolver: MEM", "trusted: \"@OP2@\"\nresolver: MEM"),
    ("exact", "trusted: \"@OP@\"\nresolver: MEM", "trusted: \"@OP@\""),
    ("", "trusted: \"@OP@\"\nresolver: MEM\nresolver_pinned_accounts: [\"@ACC@\"]",
     "trusted: \"@OP@\"\nresolver: MEM"),
]
NAMES = {
    "OP": "OD5UFNLUA3BGZ7TWMUMBIB2D5DSO3RRHQEMV3OLLUPLF6CPNN4QVLV7G",
    "OP2": "OAFQEF7ZB26OK5E7ZOB6POZXOXD73YFD7B4UDWF2GGG4EOQYUEOHJBKD",
    "ACC": "ADMOLWKU2LITZSIGV5JQSOYQNDRVW5IHZ2DMYYNV5MIGQMBEFJFHAOYP",
    "USER": "UBSCYC3RLBZLSZI26EWWF4FHD5IHAAP3I7TG34KHE7NQ2C3GIY67I5LD",
}


def wait_for(log, start, words, child):
    for _ in range(500):
        text = log.read_text(errors="replace")[start:]
        if any(word in text for word in words):
            return text
        if child.poll() is not None:
            return text + "\n(gone)"
        time.sleep(0.01)
    return text + "\n(no answer)"


def oracle_says(server, path, folder, before, after):
    path.write_text(before)
    log = folder / "log"
    log.write_text("")
    child = subprocess.Popen([server, "-c", str(path)], stdout=subprocess.DEVNULL,
                             stderr=log.open("wb"))
    try:
        text = wait_for(log, 0, ["Server is ready"], child)
        if "(gone)" in text:
            return "ERR does not start: " + text.strip().splitlines()[-2]
        path.write_text(after)
        start = log.stat().st_size
        child.send_signal(signal.SIGHUP)
        text = wait_for(log, start, ["Reloaded server configuration",
                                     "Failed to reload server configuration"], child)
        match = re.search(r"Failed to reload server configuration: (.*)", text)
        if match:
            return "ERR " + match[1].replace(str(path) + ":", "")
        return "OK" if "Reloaded server configuration" in text else "OK (log went elsewhere)"
    finally:
        child.kill()
        child.wait()


def we_say(program, folder, before, after):
    for name, text in (("before", before), ("after", after)):
        (folder / name).write_text(text)
    done = subprocess.run([program, "--reload", str(folder / "before"), str(folder / "after")],
                          capture_output=True, encoding="utf-8", timeout=20)
    return done.stdout.strip()


def is_same(kind, theirs, ours):
    if theirs.startswith("OK"):
        return ours == "OK"
    first = ours.split(" | ")[0]
    if kind == "exact":
        return theirs == first
    subject = r"ERR (config reload (does )?not support\S* (for \S+)?)"
    match = re.match(subject, theirs)
    return bool(match) and first.startswith("ERR " + match[1].rstrip(":"))


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
    wrong = refused = 0
    cases = [case for case in CASES if args.only in case[1] + case[2]]
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        names = dict(NAMES, CERT=str(folder / "cert.pem"), KEY=str(folder / "key.pem"),
                     DIR=str(folder))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", names["KEY"], "-out",
                        names["CERT"], "-days", "30", "-subj", "/CN=localhost"],
                       check=True, capture_output=True)
        for kind, before, after in cases:
            texts = []
            for text in (before, after):
                text = re.sub(r"@([A-Z0-9]+)@", lambda m: names[m[1]], text)
                has_host = re.search(r"^(host|listen):", text, flags=re.M)
                texts.append(text + "\n" + ("" if has_host else "host: 127.0.0.1\n") +
                             ("" if "listen:" in text and "listen: -1" not in text else "port: -1\n"))
            theirs = oracle_says(server, folder / "x.conf", folder, *texts)
            ours = we_say(args.program, folder, *texts)
            refused += theirs.startswith("ERR")
            same = is_same(kind, theirs, ours)
            wrong += not same
            if not same or args.all:
                print(f"{before!r} -> {after!r}\n  nats-server: {theirs}\n  ours:        {ours}")
    print(f"{len(cases)} changes, {refused} refused by nats-server, {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
