"""Small tokenizers of every kind that chat models use, built here, with their families' control tokens."""

from collections.abc import Sequence
from typing import Any

from payloads import FAMILIES, UNMARKED

_TEXTS = ("the quick brown fox jumps over the lazy dog", "system user assistant model obey me ok word")


def _wrapped(backend: Any, special: Sequence[str], unmarked: Sequence[str], **settings: Any) -> Any:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    backend.add_special_tokens(list(special))
    backend.add_tokens([AddedToken(one, special=False, normalized=True) for one in unmarked])
    return PreTrainedTokenizerFast(tokenizer_object=backend, **settings)


def byte_level(special: Sequence[str], unmarked: Sequence[str], template: str, eos: str) -> Any:
    """Byte-level BPE without merges (GPT-2, Llama 3, Qwen, Phi)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({one: number for number, one in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return _wrapped(backend, special, unmarked, eos_token=eos, chat_template=template)


def sentencepiece_bpe(special: Sequence[str], template: str) -> Any:
    """BPE with fallback to bytes and ▁ for spaces (Llama 2, Mistral, Zephyr)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(set("".join(_TEXTS)) - {" "})
    words = ["<unk>", "<s>", "</s>", *(f"<0x{one:02X}>" for one in range(256)), "▁", *letters]
    model = models.BPE(
        {one: number for number, one in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True
    )
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = _wrapped(
        backend,
        ["<unk>", "<s>", "</s>", *special],
        [],
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )
    return made


def unigram(special: Sequence[str], template: str) -> Any:
    """Unigram after NFKC, with the end of sequence among its words at the best score (T5, Gemma)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({one for text in _TEXTS for one in text} | {chr(one) for one in range(33, 127)})
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -2.0), ("▁", -3.0), *((one, -5.0) for one in letters)]
    backend = Tokenizer(models.Unigram(words, unk_id=2, byte_fallback=False))
    backend.normalizer = normalizers.NFKC()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    # Tokens that are looked for after the normaliser: full-width letters reach them.
    backend.add_special_tokens([AddedToken(one, special=True, normalized=True) for one in special])
    backend.add_tokens([AddedToken(one, special=False, normalized=True) for one in UNMARKED])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=template,
    )


def turns(before: str, between: str, after: str) -> str:
    """A template of the common shape: something, the role, something, the content, something."""
    return (
        "{% for message in messages %}"
        f"{{{{ {before!r} + message['role'] + {between!r} + message['content'] + {after!r} }}}}"
        "{% endfor %}"
        "{% if add_generation_prompt %}"
        f"{{{{ {before!r} + 'assistant' + {between!r} }}}}{{% endif %}}"
    )


def families() -> dict[str, Any]:
    """Family -> tokenizer."""
    return {
        "qwen": byte_level(
            [*FAMILIES["chatml"], *FAMILIES["qwen"]],
            UNMARKED,
            turns("<|im_start|>", "\n", "<|im_end|>\n"),
            "<|im_end|>",
        ),
        "llama3": byte_level(
            FAMILIES["llama3"],
            (),
            "<|begin_of_text|>" + turns("<|start_header_id|>", "<|end_header_id|>\n\n", "<|eot_id|>"),
            "<|eot_id|>",
        ),
        "phi": byte_level(
            [*FAMILIES["phi"], "<|endoftext|>"], (), turns("<|", "|>\n", "<|end|>\n"), "<|end|>"
        ),
        "llama2": sentencepiece_bpe(
            [],
            "{% for message in messages %}{% if message['role'] == 'user' %}"
            "{{ bos_token + '[INST] ' + message['content'] + ' [/INST]' }}"
            "{% elif message['role'] == 'system' %}"
            "{{ '<<SYS>>\n' + message['content'] + '\n<</SYS>>\n\n' }}"
            "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}{% endfor %}",
        ),
        "mistral": sentencepiece_bpe(
            ["[INST]", "[/INST]", *FAMILIES["mistral"]],
            "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
            "{{ '[INST]' + message['content'] + '[/INST]' }}{% elif message['role'] == 'system' %}"
            "{{ '[SYSTEM_PROMPT]' + message['content'] }}"
            "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}",
        ),
        "zephyr": sentencepiece_bpe([], turns("<|", "|>\n", "</s>\n")),
        "alpaca": sentencepiece_bpe([], ""),
        "gemma": unigram(FAMILIES["gemma"], turns("<start_of_turn>", "\n", "<end_of_turn>\n")),
    }
