"""Turns the runs into bench/results.md."""
import os
import pathlib
import statistics
import subprocess

# Half of the paired spread on a small shared machine; see README.md.
NOISE = 0.25
METRIC_NAMES = {"cpu_ns_per_message": "server CPU", "p50_ns": "p50", "rss_bytes_per_item": "memory"}


def machine_class():
    model = next((line.split(":", 1)[1].strip()
                  for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown CPU")
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (f"{len(os.sched_getaffinity(0))} CPUs ({model}), {memory_gib:.0f} GiB, "
            f"Linux {os.uname().release}")


def commit(root):
    answer = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty"],
                            capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


def number(value):
    """Three digits and a unit prefix: 1234567 -> 1.23M."""
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{prefix}" if abs(value) < size * 1000 else f"{value / size:.0f}{prefix}"
    return f"{value:.3g}"


def micros(value):
    return f"{value / 1000:.4g}" if value < 1e6 else f"{value / 1000:.0f}"


def spread(values, form=number):
    """median [min-max] of what was measured."""
    values = [value for value in values if value is not None]
    if not values:
        return "failed"
    middle = form(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} [{form(min(values))}-{form(max(values))}]"


def series(runs, metric):
    return [run.get(metric) if run else None for run in runs]


def rivals(by_server):
    return [key for key in by_server if key != "brokkr"]


def best_rival(by_server, metric):
    """The nats-server with the smaller median, None when none was measured."""
    medians = {}
    for key in rivals(by_server):
        values = [value for value in series(by_server[key], metric) if value is not None]
        if values:
            medians[key] = statistics.median(values)
    return min(medians, key=medians.get) if medians else None


def paired_ratios(by_server, rival, metric):
    """rival / brokkr of each round in which both were measured."""
    pairs = zip(series(by_server[rival], metric), series(by_server["brokkr"], metric))
    return [theirs / ours for theirs, ours in pairs if theirs and ours and ours > 0]


def verdict(reached, needed):
    if reached >= needed:
        return "yes"
    return "within noise" if reached >= needed * (1 - NOISE) else "no"


def target_row(scenario, target, by_server):
    name = f"{scenario.title}: {METRIC_NAMES[target.metric]}"
    wanted = f"<= {number(target.limit)} B" if target.limit else f">= {target.ratio:g}x less"
    ours = [value for value in series(by_server.get("brokkr", []), target.metric)
            if value is not None]
    if not ours:
        return [f"`{scenario.name}`", name, wanted, "not measured", "", "-"]
    middle = statistics.median(ours)
    rival = best_rival(by_server, target.metric)
    ratios = paired_ratios(by_server, rival, target.metric) if rival else []
    against = f"{spread(ratios, lambda r: f'{r:.2f}x')} ({rival})" if ratios else "no rival"
    if target.limit:
        measured = f"{number(middle)} B"
        met = verdict(target.limit / middle, 1) if middle > 0 else "yes"
        return [f"`{scenario.name}`", name, wanted, measured, against, met]
    met = verdict(statistics.median(ratios), target.ratio) if ratios else "-"
    return [f"`{scenario.name}`", name, wanted, against, "", met]


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def chosen(scenarios, group):
    return [scenario for scenario in scenarios if scenario.group == group]


def targets_table(scenarios, runs):
    rows = [target_row(scenario, target, runs[scenario.name])
            for scenario in scenarios for target in scenario.targets]
    return table(["scenario", "what", "target", "measured", "against nats-server", "met"], rows)


def flow_table(scenarios, runs, keys):
    rows = []
    for scenario in chosen(scenarios, "flow"):
        by_server = runs[scenario.name]
        row = [f"`{scenario.name}`", scenario.title]
        row += [spread(series(by_server[key], "cpu_ns_per_message")) for key in keys]
        row += [spread(series(by_server[key], "messages_per_second")) for key in keys]
        rows.append(row)
    return table(["scenario", "what"] + [f"{key} CPU ns" for key in keys] +
                 [f"{key} msg/s" for key in keys], rows)


def latency_table(scenarios, runs, keys):
    rows = []
    for scenario in chosen(scenarios, "latency"):
        for key in keys:
            one = runs[scenario.name][key]
            rows.append([f"`{scenario.name}`", scenario.title, key,
                         spread(series(one, "messages_per_second")),
                         spread(series(one, "p50_ns"), micros),
                         spread(series(one, "p99_ns"), micros),
                         spread(series(one, "p999_ns"), micros),
                         spread(series(one, "cpu_ns_per_message"))])
    return table(["scenario", "what", "server", "rate/s", "p50 us", "p99 us", "p99.9 us",
                  "server CPU ns"], rows)


def memory_table(scenarios, runs, keys):
    rows = []
    for scenario in chosen(scenarios, "memory"):
        for key in keys:
            one = runs[scenario.name][key]
            count = next((number(run["messages"]) for run in one if run), "-")
            rows.append([f"`{scenario.name}`", scenario.title, key, count,
                         spread(series(one, "rss_bytes_per_item")),
                         spread(series(one, "rss_bytes")),
                         spread(series(one, "cpu_ns_per_message")),
                         spread(series(one, "messages_per_second"))])
    return table(["scenario", "what", "server", "count", "resident B each", "resident B in all",
                  "server CPU ns each", "each/s"], rows)


def function_table(function_runs):
    per_core = [1e9 / run["tree_cpu_ns_per_message"] if run.get("tree_cpu_ns_per_message") else None
                for run in function_runs]
    added = series(function_runs, "added_p50_ns")
    rows = [
        ["bare request-reply p50, us", "", spread(series(function_runs, "bare_p50_ns"), micros), "-"],
        ["function p50, us", "", spread(series(function_runs, "function_p50_ns"), micros), "-"],
        ["added by the function, p50, us", "<= 100", spread(added, micros),
         verdict(100_000 / max(1.0, statistics.median(added)), 1)],
        ["calls/s", "", spread(series(function_runs, "messages_per_second")), "-"],
        ["calls/s per core of server and instances", ">= 30k", spread(per_core),
         verdict(statistics.median(per_core), 30_000) if all(per_core) else "-"],
    ]
    return table(["warm function", "target", "measured", "met"], rows)


def at_most(value, limit):
    return verdict(limit / value, 1) if value > 0 else "yes"


def warm_rows(name, runs, target):
    per_core = [1e9 / run["tree_cpu_ns_per_message"] for run in runs]
    added = series(runs, "added_p50_ns")
    rows = [[f"{name}: bare request-reply p50, us", "", spread(series(runs, "bare_p50_ns"), micros), "-"],
            [f"{name}: call p50, us", "", spread(series(runs, "function_p50_ns"), micros), "-"],
            [f"{name}: added at p50, us", "<= 100" if name == "echo.js" else "", spread(added, micros),
             at_most(statistics.median(added), 100_000) if name == "echo.js" else "-"],
            [f"{name}: calls/s", "", spread(series(runs, "messages_per_second")), "-"],
            [f"{name}: calls/s per core of broker and instances", f">= {number(target)}", spread(per_core),
             verdict(statistics.median(per_core), target)]]
    return rows


def start_rows(name, starts, limit_ms):
    total = starts["total"]
    detail = ", ".join(f"{key.replace('_', ' ')} {starts[key]['p50_ns'] / 1e6:.2f}"
                       for key in ("deploy", "first_call", "second_call"))
    return [[f"{name}: deploy to first reply p50, ms", f"<= {limit_ms}",
             f"{total['p50_ns'] / 1e6:.2f} (p99 {total['p99_ns'] / 1e6:.1f}, {total['count']} starts)",
             at_most(total["p50_ns"], limit_ms * 1e6)],
            [f"{name}: its parts p50, ms", "", detail, "-"]] + \
        ([[f"{name}: CPU time of one, ms", "", f"{starts['cpu_ns_each'] / 1e6:.1f}", "-"]] if "cpu_ns_each" in starts else [])


def idle_rows(idle):
    gib = lambda what: f"{idle[what]['pss_bytes'] / 2**30:.3f} (+ {idle[what]['page_table_bytes'] / 2**30:.3f} page tables)"
    name = f"{idle['functions']} functions"
    limit = 0.6 * 2**30 * idle["functions"] / 1000
    return [[f"{name}, idle: PSS of {idle['idle']['processes']} processes, GiB", f"<= {limit / 2**30:.2g}", gib("idle"),
             at_most(idle["idle"]["pss_bytes"], limit)],
            [f"{name}, after one call each: PSS, GiB", "", gib("called"), "-"],
            [f"{name}: time to deploy each, ms", "", f"{idle['deploy_ns_each'] / 1e6:.2f}", "-"],
            ["one function: PSS with broker and zygote, MiB", "", f"{idle['one']['pss_bytes'] / 2**20:.1f}", "-"]]


def functions_section(section):
    """What bench/functions.py measured."""
    rows = []
    if "warm" in section:
        rows += warm_rows("echo.js", section["warm"], 30_000)
    if "wasm" in section:
        rows += warm_rows("echo.wasm, fresh instance a call", section["wasm"], 15_000)
    if "cold" in section:
        rows += start_rows("cold start, zygote warm", section["cold"], 3)
    if "namespace" in section:
        rows += start_rows("first function of a namespace", section["namespace"], 120)
    if "idle" in section:
        rows += idle_rows(section["idle"])
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in section["facts"].items() if key != "command")
    return f"## Functions\n\n`{section['facts']['command']}`: {facts}\n\n" + table(["what", "target", "measured", "met"], rows)


def goal_cells(goal, by_server):
    """Measured, against whom, verdict of one goal of a storage row."""
    ours = series(by_server.get(goal.ours, []), goal.metric)
    theirs = series(by_server.get(goal.theirs, []), goal.metric) if goal.theirs else []
    known = [value for value in ours if value is not None]
    if not known:
        return "failed", "-"
    if goal.limit:
        unit = (lambda value: f"{value / 1e6:.1f} MB") if goal.metric == "rss_bytes" else (lambda value: f"{value:.1f} ms")
        return spread(ours, unit), at_most(statistics.median(known), goal.limit)
    ratios = [(a / b if goal.more_is_better else b / a) for a, b in zip(ours, theirs) if a and b]
    if not ratios:
        return "no rival", "-"
    return spread(ratios, lambda ratio: f"{ratio:.2f}x"), verdict(statistics.median(ratios), goal.factor)


def storage_figures(row, by_server):
    """What each server of a row measured, in words."""
    form = {"cpu_ns_per_message": ("CPU ns", number), "messages_per_second": ("/s", number), "p50_ns": ("p50 us", micros),
            "rss_bytes": ("MB", lambda value: f"{value / 1e6:.0f}"), "start_ms": ("ms", lambda value: f"{value:.1f}")}
    parts = []
    for key, runs in by_server.items():
        metrics = ["start_ms"] if row.kind == "start" else ["rss_bytes"] if row.kind == "fill" else \
            ["cpu_ns_per_message", "messages_per_second", "p50_ns"]
        known = [f"{spread(series(runs, m), form[m][1])} {form[m][0]}" for m in metrics
                 if any(run and run.get(m) is not None for run in runs)]
        parts.append(f"{key}: {', '.join(known) or 'failed'}")
    return "; ".join(parts)


def storage_section(section):
    """What bench/storage.py measured."""
    from storage import ROWS  # it imports this module
    rows = []
    for row in ROWS:
        if row.name not in section["runs"]:
            continue
        by_server = section["runs"][row.name]
        for index, goal in enumerate(row.goals):
            measured, met = goal_cells(goal, by_server)
            rows.append([f"`{row.name}`", row.title, goal.words, measured, met,
                         storage_figures(row, by_server) if index == 0 else ""])
    facts = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in section["facts"].items() if key != "command")
    text = (f"## Storage\n\n`{section['facts']['command']}`: {facts}\n\n`brokkr` and `nats` sync in the background "
            "(`sync_interval: 2m`, the default of nats-server), `*_always` before each acknowledgement.\n\n")
    if section.get("failures"):
        text += "Failed runs:\n" + "\n".join(f"- {failure}" for failure in section["failures"]) + "\n\n"
    return text + table(["row", "what", "target", "measured", "met", "figures"], rows)


def render(results, scenarios):
    if "facts" not in results:
        parts = ["# Results\n"]
        if "functions" in results:
            parts.append(functions_section(results["functions"]))
        if "storage" in results:
            parts.append(storage_section(results["storage"]))
        return "\n".join(parts)
    facts, runs = results["facts"], results["runs"]
    scenarios = [scenario for scenario in scenarios if scenario.name in runs]
    keys = list(facts["versions"])
    parts = ["# Results\n"]
    parts.append(table(["fact", "value"], [
        ["command", f"`{facts['command']}`"], ["date", facts["date"]],
        ["commit", facts["commit"]], ["machine", facts["machine"]],
        *[[key, version] for key, version in facts["versions"].items()],
        ["rounds, seconds each, whole run",
         f"{facts['rounds']}, {facts['seconds']:g} s, {facts['duration_s']} s"]]))
    parts.append("Figures are medians [min-max] over the rounds; ratios are paired within a round, "
                 "against the nats-server with the smaller median. README.md explains the rows.\n")
    if facts["failures"]:
        parts.append("## Failed runs\n\n" + "\n".join(f"- {text}" for text in facts["failures"]) + "\n")
    parts.append("## Targets\n\n" + targets_table(scenarios, runs))
    if chosen(scenarios, "flow"):
        parts.append("## Throughput\n\nCPU and rate are per published message; a fan-out row "
                     "delivers each to every subscriber.\n\n" + flow_table(scenarios, runs, keys))
    if chosen(scenarios, "latency"):
        parts.append("## Latency and connections\n\n" + latency_table(scenarios, runs, keys))
    if chosen(scenarios, "memory"):
        parts.append("## Memory\n\n" + memory_table(scenarios, runs, keys))
    if results["function"]:
        parts.append("## A warm function\n\n" + function_table(results["function"]))
    if "functions" in results:
        parts.append(functions_section(results["functions"]))
    if "storage" in results:
        parts.append(storage_section(results["storage"]))
    return "\n".join(parts)
