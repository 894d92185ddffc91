"""What the tests of command groups share: golden files, cases beside them, programs on a terminal."""
import difflib
import os
import pathlib
import pty
import re
import select
import shlex
import time

from cli import PATIENCE_SECONDS, Tool

SKIPPED = 77


def write_golden(results, golden: pathlib.Path) -> None:
    parts = [f"$ {step}\n{out}{'' if out.endswith(chr(10)) or not out else chr(10) + '~ no end of line' + chr(10)}"
             + "".join(f"! {line}\n" for line in err.rstrip("\n").split("\n") if line) + f"= {code}\n"
             for step, out, err, code in results]
    golden.write_text("".join(parts))


def read_golden(golden: pathlib.Path) -> dict[str, list]:
    """The answers to each step, in the order in which the step comes."""
    answers: dict[str, list] = {}
    out, err, step = "", [], None
    for line in golden.read_text().split("\n"):
        if line.startswith("$ "):
            out, err, step = "", [], line[2:]
        elif line.startswith("! "):
            err.append(line[2:])
        elif re.fullmatch(r"= \d+", line):
            answers.setdefault(step, []).append((out, err, int(line[2:])))
            step = None
        elif step is not None:
            out += line + "\n"
    return answers


def compare(tool: Tool, results, failures, own, golden: pathlib.Path) -> None:
    answers = read_golden(golden)
    for step, out, err, code in results:
        want_out, want_err, want_code = answers[step].pop(0)
        if step in own:
            want_out, text, want_code = own[step]
            want_err = text.split("\n") if text else []
        got_err = [line for line in err.rstrip("\n").split("\n") if line]
        if (out, got_err, code) == (want_out, want_err, want_code):
            continue
        difference = difflib.unified_diff(want_out.split("\n") + want_err, out.split("\n") + got_err,
                                          "wanted", "got", lineterm="", n=1)
        failures.append("\n  ".join([f"{tool.program}: {step}: exit code {code}, wanted {want_code}", *difference]))


class Terminal:
    """The program on a terminal; types answers when their questions are there."""

    def __init__(self, tool: Tool, step: str):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(tool.environment, TERM="xterm")
            os.execv(tool.binary, [tool.program, *shlex.split(step)])

    def read_until(self, text: str) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.seen:
            if time.monotonic() > deadline:
                return False
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:  # the program has ended
                    return text in self.seen
        return True

    def answer(self, question: str, text: str) -> bool:
        if not self.read_until(question):
            return False
        self.seen = self.seen.partition(question)[2]
        os.write(self.fd, text.encode())
        return True

    def finish(self) -> int:
        self.read_until("\0 never")
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def check_extra(tool: Tool, cases, failures) -> None:
    for step, out, err, code in cases:
        got_out, got_err, got_code = tool.run(shlex.split(step))
        got_lines = got_err.rstrip("\n").split("\n") if got_err else []
        if (out is not None and got_out != out) or (err is not None and got_lines != err) or got_code != code:
            failures.append(f"{tool.program}: {step}: exit code {got_code}\n  {got_out!r}\n  {got_lines!r}")
