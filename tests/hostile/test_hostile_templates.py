"""Chat templates from strangers: what does more than render is refused, and in time."""

from pathlib import Path
from typing import Any

import pytest
from hostile_folders import MARKER
from tokenizers_of_families import byte_level, turns

from assets.finetuning.encoding import ChatEncoder
from resources import chat_template
from resources.errors import SultanaError
from resources.language_model import LanguageModel


def encoded(template: str) -> Any:
    tokenizer = byte_level(["<|end|>"], (), template, "<|end|>")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    return ChatEncoder(tokenizer).encode("row", turns, 512)


LONG = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "Python's objects": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "its globals": "{{ cycler.__init__.__globals__.os.mkdir('MARKER') }}",
    "by a filter": "{{ messages | attr('__class__') }}",
    "by format": "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}{{ messages | map('x') | list }}",
    "a file": "{% include '/etc/passwd' %}",
    "an import": "{% import 'os' as os %}",
    "a long range": "{% for a in range(10 ** 9) %}{% endfor %}",
    "a loop without end": LONG,
    "a text of gigabytes": "{{ 'x' * 4000000000 }}",
    "a list of gigabytes": "{{ [0] * 4000000000 }}",
    "a number without end": "{{ 9 ** 9 ** 9 }}",
    "a text that doubles": (
        "{% set n = namespace(t='x') %}{% for a in range(40) %}{% set n.t = n.t + n.t %}{% endfor %}"
    ),
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a syntax of its own": "{% nothing %}",
    "a thousand million words": "{{ lipsum(n=1000000000) }}",
}


FEW = ("its globals", "a loop without end", "a text of gigabytes", "a number without end")
"""Those of another kind each: every one of them starts a process."""


@pytest.mark.parametrize(
    "name", [one if one in FEW else pytest.param(one, marks=pytest.mark.slow) for one in TEMPLATES]
)
def test_a_hostile_template_is_refused_in_time(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "RENDER_SECONDS", 1.0)
    with pytest.raises(SultanaError, match="template"):
        encoded(TEMPLATES[name].replace("MARKER", str(tmp_path / MARKER)))
    assert not (tmp_path / MARKER).exists()


def test_a_template_that_only_renders_is_rendered_as_transformers_does(good: Path) -> None:
    tokenizer = byte_level(["<|end|>"], (), turns("<|", "|>", "<|end|>"), "<|end|>")
    messages = [{"role": "user", "content": "é\n'"}, {"role": "assistant", "content": "b"}]
    own = chat_template.ChatTemplate(tokenizer, tokenizer.chat_template)
    assert not own.is_known
    for given in ({"add_generation_prompt": True}, {"continue_final_message": True}):
        expected = tokenizer.apply_chat_template(messages, tokenize=False, **given)
        assert own.render(messages, **given) == expected
    assert own.render(messages[:1]) == tokenizer.apply_chat_template(messages[:1], tokenize=False)


def test_the_embedded_model_s_template_is_known(models_folder: Path) -> None:
    tokenizer = LanguageModel(folder=models_folder).load_tokenizer()
    assert chat_template.ChatTemplate(tokenizer, tokenizer.chat_template).is_known
    from assets.finetuning.encoding import PLAIN_TEMPLATE

    assert chat_template.ChatTemplate(tokenizer, PLAIN_TEMPLATE).is_known
