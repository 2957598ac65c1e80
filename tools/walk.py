"""README's walk as a program: types the commands of its blocks into a real terminal, and draws what came.

A block that is walked follows a line `<!-- walk NAME -->`. Comments at the end of a command say what belongs to it:
`# Ctrl-C ends it` is pressed after a while, `# → TEXT` must be in the output. The end-to-end tests walk README with
this module; `python tools/walk.py` walks it on a machine without a platform and draws docs/pictures anew.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import select
import signal
import struct
import tempfile
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PICTURES = ROOT / "docs" / "pictures"
COLUMNS, ROWS = 128, 50
STEP_S = 300.0
PATIENCE_S = 20.0
"""So long a command is typed again until its output is what it must be: the DNS of a new cluster needs a moment."""
QUIET_S = 3.0
"""So long something that runs until Ctrl-C is watched after its last output."""

LETTER_PX, LINE_PX = 8.4, 18
STYLE = """<style>
text { font: 14px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre; fill: #d5dbe3 }
.command { fill: #7fd1ff; font-weight: 600 }
.title { fill: #8b95a3 }
</style>
<rect width="100%" height="100%" rx="10" fill="#12161c"/><rect width="100%" height="36" rx="10" fill="#1d232c"/>
"""

_BLOCK = re.compile(r"^<!-- walk (?P<name>[a-z-]+) -->\n+```sh\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(rb"\x1b\]133;D;(\d+)\x07")
_CONTROL = re.compile(r"\x1b\][^\x07]*\x07|\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x00-\x08\x0b-\x1f]")


@dataclass(frozen=True)
class Command:
    """One command with what its comment asks for."""

    text: str
    is_endless: bool = False
    expected: str = ""


@dataclass(frozen=True)
class Block:
    """The commands of one block."""

    name: str
    commands: tuple[Command, ...]


@dataclass
class Step:
    """What happened: the command, what the terminal showed, and its exit code."""

    command: Command
    output: str
    code: int

    @property
    def problem(self) -> str:
        """Return what is wrong, "" when nothing is."""
        if self.code and not self.command.is_endless:
            return f"exit code {self.code}"
        if self.command.expected not in self.output:
            return f"{self.command.expected!r} is not in its output"
        return ""


def blocks_of(text: str) -> list[Block]:
    """Return the walk of a document. Pure."""
    found = []
    for match in _BLOCK.finditer(text):
        lines = match["body"].replace("\\\n", " ").splitlines()
        found.append(Block(match["name"], tuple(_command(line) for line in lines if line.strip())))
    return found


def _command(line: str) -> Command:
    text, _, comment = line.partition("   # ")
    words = re.sub(r" {2,}", " ", text.strip())
    expected = comment.removeprefix("→ ").strip() if comment.startswith("→") else ""
    return Command(words, is_endless=comment.startswith("Ctrl-C"), expected=expected)


@dataclass
class Terminal:
    """A shell in a terminal of its own."""

    environment: dict[str, str]
    password: str
    folder: Path = ROOT
    _master: int = -1
    _pid: int = -1
    _answered: bool = field(default=False)

    def __enter__(self) -> Terminal:
        self._pid, self._master = pty.fork()
        if self._pid == 0:
            os.chdir(self.folder)
            own = {"PS1": "", "PROMPT_COMMAND": r'printf "\033]133;D;%s\007" "$?"', "TERM": "dumb", "HISTFILE": ""}
            os.execvpe("bash", ["bash", "--norc", "--noprofile", "+m"], self.environment | own)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._read(Command(""))
        # What is typed is not part of the output; a program that asks for a terminal still has one.
        self._type("stty -echo\n")
        self._read(Command(""))
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._master)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def run(self, command: Command) -> Step:
        """Type a command and wait for the next prompt; again for a while if it asks for something that is to come.

        Raises: TimeoutError.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            self._answered = False
            self._type(command.text + "\n")
            step = Step(command, *self._read(command))
            if not step.problem or not command.expected or time.monotonic() > deadline:
                return step
            time.sleep(1)

    def _type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def _read(self, command: Command) -> tuple[str, int]:
        seen = b""
        deadline, heard = time.monotonic() + STEP_S, time.monotonic()
        while not (match := _PROMPT.search(seen)):
            if select.select([self._master], [], [], 0.2)[0]:
                seen += os.read(self._master, 65536)
                heard = time.monotonic()
            elif command.is_endless and time.monotonic() > heard + QUIET_S:
                self._type("\x03")
                heard = time.monotonic()
            if seen.rstrip().endswith(b"Password:") and not self._answered:
                self._answered = True
                self._type(self.password + "\n")
            if time.monotonic() > deadline:
                raise TimeoutError(f"{command.text}: no end after {STEP_S:.0f} s\n{plain(seen)}")
        return plain(seen[: match.start()]), int(match[1])


def plain(output: bytes) -> str:
    """Return what somebody reads: no control sequences, a line written over counts once. Pure."""
    text = output.decode("utf-8", "replace").replace("\r\n", "\n").replace("^C", "")
    lines = [_CONTROL.sub("", line.rpartition("\r")[2]) for line in text.split("\n")]
    return "\n".join(lines).expandtabs().strip("\n")


def drawn(title: str, steps: list[Step]) -> str:
    """Return a picture (SVG) of a terminal with these steps. Pure."""
    lines: list[tuple[str, str]] = []
    for step in steps:
        lines += [("command", part) for part in _wrapped(f"# {step.command.text}")]
        lines += [("output", part) for line in step.output.splitlines() for part in _wrapped(line)]
    size = (int(COLUMNS * LETTER_PX) + 32, len(lines) * LINE_PX + 64)
    rows = "\n".join(
        f'<text x="16" y="{58 + number * LINE_PX}" class="{kind}" xml:space="preserve">{html.escape(text)}</text>'
        for number, (kind, text) in enumerate(lines)
    )
    dots = "".join(
        f'<circle cx="{20 + 20 * number}" cy="18" r="6" fill="{colour}"/>'
        for number, colour in enumerate(("#f2645a", "#f5be4f", "#5fc454"))
    )
    width, height = size
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    heading = f'<text x="{width // 2}" y="23" text-anchor="middle" class="title">{html.escape(title)}</text>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n{STYLE}{dots}{heading}\n{rows}\n</svg>\n'


def _wrapped(line: str) -> list[str]:
    return [line[at : at + COLUMNS] for at in range(0, max(1, len(line)), COLUMNS)]


def draw(name: str, steps: list[Step]) -> None:
    """Write the picture of a block."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(drawn(name.replace("-", " "), steps))


def walked(terminal: Terminal, commands: tuple[Command, ...]) -> list[Step]:
    """Type the commands, showing what comes. Raises: SystemExit at the first that is not as README says."""
    steps = []
    for command in commands:
        print(f"# {command.text}", flush=True)
        steps.append(terminal.run(command))
        print(steps[-1].output, flush=True)
        if steps[-1].problem:
            raise SystemExit(f"[fatal] {steps[-1].problem}")
    return steps


def main() -> None:
    """Walk README from `make start` on a machine without a platform, and draw every picture anew."""
    with tempfile.TemporaryDirectory(prefix="loft-walk-") as home:
        environment = dict(os.environ) | {"HOME": home, "KUBECONFIG": f"{home}/.kube/config"}
        with Terminal(environment, "") as terminal:
            steps = walked(terminal, (Command("make start", expected="Password: "),))
            terminal.password = re.findall(r"^Password: (\S+)", steps[0].output, re.MULTILINE)[0]
            steps[0].output = steps[0].output.replace(terminal.password, "*" * len(terminal.password))
            draw("start", steps)
            for block in blocks_of(README.read_text()):
                draw(block.name, walked(terminal, block.commands))


if __name__ == "__main__":
    main()
