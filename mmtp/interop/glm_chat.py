"""The files beside exported weights that say how a conversation becomes tokens.

The template says the same as `mmtp.data.chat` in style "glm_ocr". Unlike this package, transformers
makes special tokens of text that spells them.
"""

from pathlib import Path
from typing import Any

from mmtp.data.assets import TOKENIZER_PATH
from mmtp.data.chat import STOPS
from mmtp.data.tokenizer import Tokenizer

# transformers renders with trim_blocks and lstrip_blocks: a block's line leaves nothing behind.
TEMPLATE = """\
{% macro show(content) %}
{% if content is string %}{{ content }}{% else %}
{% for part in content %}
{% if part.type in ('image', 'image_url') %}<|begin_of_image|><|image|><|end_of_image|>
{%- elif part.type in ('video', 'video_url') %}<|begin_of_video|><|video|><|end_of_video|>
{%- else %}{{ part.text }}{% endif %}
{% endfor %}
{% endif %}
{% endmacro %}
{% set quiet = enable_thinking is defined and not enable_thinking %}
{% set place = namespace(last_user=-1, before='') %}
{% for message in messages %}
{% if message.role == 'user' %}{% set place.last_user = loop.index0 %}{% endif %}
{% endfor %}
{{ '[gMASK]<sop>' }}
{%- for message in messages %}
{% set said = show(message.content) %}
{% if message.role == 'assistant' %}
{% set answer, thoughts = said | trim, message.reasoning_content | default('', true) | trim %}
{% set thoughts = thoughts if loop.index0 > place.last_user else '' %}
{{- '<|assistant|>\\n<think>' + thoughts + '</think>' + ('\\n' + answer if answer else '') }}
{%- elif message.role in ('tool', 'observation') %}
{{- '' if place.before == 'tool' else '<|observation|>' }}
{{- '\\n<tool_response>\\n' + said + '\\n</tool_response>' }}
{{- '\\n' if message.content is string }}
{%- elif message.role in ('system', 'user') %}
{{- '<|' + message.role + '|>\\n' + said }}
{{- '/nothink' if message.role == 'user' and quiet and not said.endswith('/nothink') }}
{%- else %}
{{- raise_exception('unknown role ' + message.role) }}
{%- endif %}
{% set place.before = 'tool' if message.role == 'observation' else message.role %}
{% endfor %}
{% if add_generation_prompt %}
{{- '<|assistant|>\\n' + ('<think></think>\\n' if quiet else '') }}
{%- endif %}
"""


def chat_files(tokenizer: Tokenizer, source: str) -> dict[str, Any]:
    """Name -> content, text or JSON.

    Args:
        tokenizer: the vocabulary.
        source: its `tokenizer.json`, or the folder of one; "" = the embedded one.
    """
    end = STOPS[0]
    file = Path(source).expanduser() if source else TOKENIZER_PATH
    file = file / "tokenizer.json" if file.is_dir() else file
    return {
        "tokenizer.json": file.read_text("utf-8"),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "processor_class": "Glm46VProcessor",
            "eos_token": end,
            "pad_token": end,
            "clean_up_tokenization_spaces": False,
        },
        "chat_template.jinja": TEMPLATE,
        "generation_config.json": {
            "do_sample": False,
            "eos_token_id": [tokenizer.id(name) for name in STOPS],
            "pad_token_id": tokenizer.id(end),
        },
    }
