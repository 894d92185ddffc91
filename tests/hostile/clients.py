#!/usr/bin/env python3
"""Clients that mean harm. After each attack the server must be alive, answer a fresh client soon, have
stayed below its memory limit, and have forgotten the attackers.

    clients.py --brokkr PATH [--loops N ...] [--only NAME ...] [--seed N] [--list]

Goal: no client, whatever it sends or refuses to read, costs another client its service.
Bounds: `--answer-ms` for a fresh client, `--memory-mb` for the peak of resident memory.
"""
import argparse
import random
import sys
import time
import traceback

import attacks
from attacker import Site


class Failure(Exception):
    pass


def check_after(site: Site, options, seconds: float) -> str:
    """What must hold after every attack."""
    if not site.is_alive():
        raise Failure(f"the server ended with {site.server.process.returncode}:\n{site.server.log()}")
    answer_ms = site.fresh_round_trip() * 1000
    peak = site.memory("VmHWM")
    if answer_ms > options.answer_ms:
        raise Failure(f"a fresh client waited {answer_ms:.0f} ms")
    if peak > options.memory_mb:
        raise Failure(f"the server took {peak} MB")
    site.wait_until("all attackers are forgotten",
                    lambda: not (page := site.ask("/connz?subs=1"))["connections"]
                    and site.ask("/varz")["subscriptions"] == site.own_subscriptions)
    return f"{seconds:.1f} s, server cpu {site.cpu_seconds():.1f} s, peak {peak} MB, fresh client {answer_ms:.1f} ms"


def run_attack(name: str, loops: int, options) -> bool:
    attack = attacks.ALL[name]
    site = Site(options.brokkr, loops, attack.config, attack.login)
    try:
        site.fresh_round_trip(1)
        site.reset_peak()
        start = time.monotonic()
        fact = attack.run(site, random.Random(f"{options.seed} {name} {loops}"))
        print(f"ok   {loops} loops  {name}: {check_after(site, options, time.monotonic() - start)}"
              f"{'; ' + fact if fact else ''}", flush=True)
        return True
    except Exception as problem:  # every failure is reported, and the next attack goes on
        where = traceback.extract_tb(problem.__traceback__)[-1]
        print(f"FAIL {loops} loops  {name}: {type(problem).__name__}: {problem} "
              f"({where.name}:{where.lineno})\n{site.server.log()[-600:]}", flush=True)
        return False
    finally:
        site.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", help="the server program")
    parser.add_argument("--loops", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(attacks.ALL))
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--answer-ms", type=float, default=100)
    parser.add_argument("--memory-mb", type=int, default=256)
    parser.add_argument("--list", action="store_true", help="print what the attacks are")
    options = parser.parse_args()
    if options.list:
        for name, attack in attacks.ALL.items():
            print(f"{name}: {' '.join((attack.run.__doc__ or '').split())}")
        return 0
    if not options.brokkr:
        parser.error("--brokkr is needed")
    print(f"seed {options.seed}")
    names = options.only or list(attacks.ALL)
    results = [run_attack(name, loops, options) for name in names for loops in options.loops]
    print(f"{sum(results)} of {len(results)} attacks survived")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
