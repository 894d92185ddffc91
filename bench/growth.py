#!/usr/bin/env python3
"""Measures how cost grows with subjects, consumers and messages; writes the plots of bench/plots.

    bench/growth.py               all curves next to nats-server, 3 rounds: bench/plots/*.svg and growth.json
    bench/growth.py --quick       one round, message counts divided by 20
    bench/growth.py --from-json   draws growth.json again
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile

import report
import run as bench
import storage

ROOT = pathlib.Path(__file__).resolve().parent.parent
COLORS = {"brokkr": "#0b6e4f", "nats": "#c0392b"}
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 76, 24, 44, 52

# name: (title, what grows, what it costs)
CURVES = {
    "publish_subjects": ("Publish 16 B into a file stream, window 1000", "subjects", "server CPU, ns a message"),
    "consume_consumers": ("Pull consumers of one stream, 128 B, each message acknowledged", "consumers",
                          "server CPU, ns a delivery"),
    "start_messages": ("Start after kill -9, 16 B messages", "messages", "ms to the first right answer"),
    "memory_messages": ("Resident memory after that start", "messages", "MB"),
}


class Growth:
    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.storage = storage.Storage(arguments, folder)
        self.keys = [key for key in ("brokkr", "nats") if key in self.storage.servers]

    def alternating(self, points, scenario, option, limit):
        """{server: {point: median CPU}}; servers take turns at every point."""
        runs = {key: {point: [] for point in points} for key in self.keys}
        for _ in range(self.arguments.rounds):
            for point in points:
                for key in self.keys:
                    server = self.storage.servers[key]
                    server.start()
                    result = self.storage.load(server, scenario, limit, (option, str(point)))
                    runs[key][point].append(result[storage.CPU])
        for key in self.keys:
            self.storage.servers[key].wipe()
        return {key: {point: statistics.median(values) for point, values in by_point.items()}
                for key, by_point in runs.items()}

    def starts(self, points):
        times, memory = ({key: {} for key in self.keys} for _ in range(2))
        for key in self.keys:
            server = self.storage.servers[key]
            for point in points:
                server.wipe()
                server.start()
                self.storage.load(server, "js_fill", point)
                samples = []
                for _ in range(self.arguments.rounds):
                    server.end(signal.SIGKILL)
                    samples.append(server.timed_start(
                        "$JS.API.STREAM.INFO.BENCH",
                        lambda answer, count=point: answer.get("state", {}).get("messages", 0) >= count))
                times[key][point] = statistics.median(samples)
                memory[key][point] = storage.resident(server.process.pid) / 1e6
            server.wipe()
        return times, memory

    def run(self):
        scale = self.arguments.scale
        curves = {}
        print("subjects ...", flush=True)
        curves["publish_subjects"] = self.alternating((1_000, 10_000, 100_000), "js_pub_16", "--subject-count",
                                                      self.arguments.messages)
        print("consumers ...", flush=True)
        curves["consume_consumers"] = self.alternating((1, 10, 100), "js_consume", "--consumer-count",
                                                       min(self.arguments.messages, 400_000 // min(scale, 4)))
        print("messages ...", flush=True)
        points = [count // scale for count in (1_000_000, 2_000_000, 5_000_000, 10_000_000)]
        curves["start_messages"], curves["memory_messages"] = self.starts(points)
        return curves


def ticks(most):
    """About five round numbers from 0 to beyond `most`."""
    step = 10 ** len(str(int(most)))
    for divisor in (1, 2, 4, 5, 10, 20, 40, 50, 100):
        if most / (step / divisor) >= 4:
            step /= divisor
            break
    count = int(most / step) + 1
    return [step * i for i in range(count + 1)]


def draw(name, by_server):
    title, across, up = CURVES[name]
    points = sorted({int(point) for line in by_server.values() for point in line})
    rows = ticks(max(value for line in by_server.values() for value in line.values()))
    place_x = lambda i: LEFT + (WIDTH - LEFT - RIGHT) * (i + 0.5) / len(points)
    place_y = lambda value: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / rows[-1]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
           f'<text x="{LEFT}" y="22" font-size="14">{title}</text>',
           f'<text x="{LEFT}" y="{TOP - 6}" fill="#555">{up}</text>',
           f'<text x="{(WIDTH + LEFT) / 2:.0f}" y="{HEIGHT - 12}" text-anchor="middle" fill="#555">{across}</text>']
    for value in rows:
        y = place_y(value)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{report.number(value)}</text>')
    for i, point in enumerate(points):
        out.append(f'<text x="{place_x(i):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">'
                   f'{report.number(point)}</text>')
    for index, (key, line) in enumerate(by_server.items()):
        spots = [(place_x(points.index(int(point))), place_y(value), value) for point, value in line.items()]
        color = COLORS[key]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
        out.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        for x, y, value in spots:
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
            out.append(f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle" fill="{color}">'
                       f'{report.number(value)}</text>')
        out.append(f'<text x="{WIDTH - RIGHT}" y="{18 + 14 * index}" text-anchor="end" fill="{color}">{key}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def parse_arguments():
    builds = [ROOT / "build" / preset for preset in ("release", "ci")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokkr", default=bench.first_existing(
        path for build in builds for path in (build / "bin/brokkr", build / "src/app/brokkr")))
    parser.add_argument("--load", default=bench.first_existing(
        path for build in builds for path in (build / "bench/brokkr_bench_load", build / "bin/brokkr_bench_load")))
    parser.add_argument("--nats-server", default=os.environ.get("NATS_SERVER") or shutil.which("nats-server"),
                        help="default $NATS_SERVER or the one on PATH; 'none'")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--messages", type=int, default=50_000_000, help="most messages of one run")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--from-json", action="store_true", help="measure nothing")
    parser.add_argument("--folder", help="where the stores are kept while it runs")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "bench" / "plots")
    arguments = parser.parse_args()
    arguments.scale = 20 if arguments.quick else 1
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.messages = 1, 0.2, 200_000
    if arguments.nats_server == "none":
        arguments.nats_server = None
    return arguments


def main():
    arguments = parse_arguments()
    data = arguments.out / "growth.json"
    if arguments.from_json:
        curves = json.loads(data.read_text())["curves"]
    else:
        with tempfile.TemporaryDirectory(prefix="brokkr-bench-", dir=arguments.folder) as name:
            growth = Growth(arguments, pathlib.Path(name))
            try:
                curves = growth.run()
            finally:
                growth.storage.end()
        arguments.out.mkdir(parents=True, exist_ok=True)
        facts = {"commit": report.commit(ROOT), "machine": report.machine_class(), "rounds": arguments.rounds,
                 "load_average": f"{os.getloadavg()[0]:.1f}",
                 "command": " ".join(["bench/growth.py", *sys.argv[1:]])}
        data.write_text(json.dumps({"facts": facts, "curves": curves}, indent=1) + "\n")
    for name, by_server in curves.items():
        (arguments.out / f"{name}.svg").write_text(draw(name, by_server))
        print(arguments.out / f"{name}.svg")
        for key, line in by_server.items():
            print(f"  {key}: " + ", ".join(f"{report.number(int(point))}: {value:.4g}" for point, value in line.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
