"""Generation: prefill, cached decoding in batches, and draft-and-verify with the MTP layers.

    engine = Engine(model, params, EngineSettings(num_draft=2))
    request = make_request(0, prompt, max_new_tokens=64, stop=stop_tokens(tokenizer))
    completion = engine.generate([request])[0]

A completion depends on its request and not on what is decoded beside it. Drafts change the time it
takes and not what is said: greedy output is the same token by token, and sampled output follows the
same distribution (`generation.speculative`).
"""

from mmtp.generation.engine import Engine as Engine
from mmtp.generation.requests import Completion as Completion
from mmtp.generation.requests import Request as Request
from mmtp.generation.requests import RequestError as RequestError
from mmtp.generation.requests import make_request as make_request
from mmtp.generation.settings import EngineSettings as EngineSettings
