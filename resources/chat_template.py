"""Chat templates: programs that come with a model, run where they can take neither time nor memory for good.

A template is Jinja, rendered by transformers in Jinja's sandbox, which keeps it from Python's objects but not from
looping for ever or from asking for all memory. So a template that is not known here by its hash is rendered by a
process of its own, with a limit on both; this file is that process's program too. It is started once for a
template and ends with this process.

Left out on purpose: a second wall around the sandbox. The process has the rights of whoever started it.
"""

import hashlib
import json
import os
import selectors
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

RENDER_SECONDS = 20.0
"""Longest that one conversation may take; the templates of known models take a millisecond of an idle machine."""

START_SECONDS = 120.0
MEMORY_BYTES = 512 << 20
RENDERED_BYTES = 64 << 20
_INHERITED = ("PATH", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH")

KNOWN_TEMPLATES = frozenset(
    {
        "872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
        "d71eb4225ad143683fa93af9f053ab0aaea5a44e0bd068b6d8d21f0267d53dd0",
    }
)
"""SHA-256 of templates that loop over the messages and do nothing else: the embedded model's and the plain one."""


class TemplateRefused(ValueError):
    """A template that does not accept a conversation, or does not come to an end."""


class ChatTemplate:
    """Renders conversations with one template and one tokenizer's special tokens."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self.tokenizer = tokenizer
        self.text = template
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_known(self) -> bool:
        """Whether the template is rendered in this process."""
        return hashlib.sha256(self.text.encode("utf-8", "replace")).hexdigest() in KNOWN_TEMPLATES

    def render(self, messages: Sequence[Mapping[str, str]], **settings: bool) -> str:
        """The text of a conversation; `settings` are those of transformers' `apply_chat_template`.

        Raises TemplateRefused where the template refuses it, fails, or takes too long or too much.
        """
        plain = [dict(message) for message in messages]
        if self.is_known:
            return str(
                self.tokenizer.apply_chat_template(plain, chat_template=self.text, tokenize=False, **settings)
            )
        asked = {"messages": plain, "tokens": self.tokenizer.special_tokens_map, "settings": settings}
        request = json.dumps(asked, default=str).encode("ascii")
        answer = json.loads(self._asked(request + b"\n"))
        if "refused" in answer:
            raise TemplateRefused(str(answer["refused"]))
        return str(answer["text"])

    def _asked(self, request: bytes) -> bytes:
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(request)
            process.stdin.flush()
            return self._line(process, RENDER_SECONDS)
        except BrokenPipeError:
            pass
        except TemplateRefused:
            self._stop()
            raise
        self._stop()
        raise TemplateRefused("its process ended: it asked for too much memory")

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            # -P: a file of the present folder is no module.
            process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _INHERITED if name in os.environ}
                | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
            )
            self._process = process
            weakref.finalize(self, _end, process)
            assert process.stdin is not None
            process.stdin.write(json.dumps(self.text).encode("ascii") + b"\n")
            process.stdin.flush()
            try:
                self._line(process, START_SECONDS)
            except TemplateRefused as error:
                self._stop()
                raise RuntimeError(
                    f"the process that renders chat templates could not be started: {error}"
                ) from None
        return self._process

    def _line(self, process: "subprocess.Popen[bytes]", seconds: float) -> bytes:
        assert process.stdout is not None
        deadline, found = time.monotonic() + seconds, bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not found.endswith(b"\n"):
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise TemplateRefused(f"it has not come to an end after {seconds:g} s")
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    raise TemplateRefused("its process ended: it asked for too much memory or time")
                found += part
                if len(found) > RENDERED_BYTES:
                    raise TemplateRefused(f"its text has more than {RENDERED_BYTES:,} bytes")
        return bytes(found)

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process)
            self._process = None


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            try:
                stream.close()
            except BrokenPipeError:
                continue


def _serve() -> None:
    """Answers lines of JSON on standard input, the first of which is the template."""
    import resource

    import jinja2
    from transformers.utils.chat_template_utils import render_jinja_template

    template = json.loads(sys.stdin.buffer.readline())
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            most = int(file.read().split()[0]) * resource.getpagesize() + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    answers = sys.stdout.buffer
    answers.write(b"ready\n")
    answers.flush()
    while line := sys.stdin.buffer.readline():
        # Whoever asked waits for less than this; it is for the case that it is gone.
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = int(used.ru_utime + used.ru_stime + 2 * RENDER_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        asked = json.loads(line)
        answer: dict[str, str]
        try:
            texts, _ = render_jinja_template(
                [asked["messages"]], chat_template=template, **asked["settings"], **asked["tokens"]
            )
            answer = {"text": texts[0]}
        except MemoryError:
            answer = {"refused": "it asked for too much memory"}
        except jinja2.exceptions.TemplateError as error:
            answer = {"refused": str(error)[:500]}
        except Exception as error:  # noqa: BLE001 - whatever a template runs into is its own fault
            answer = {"refused": f"{type(error).__name__}: {str(error)[:500]}"}
        answers.write(json.dumps(answer).encode("ascii") + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
