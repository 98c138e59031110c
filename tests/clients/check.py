"""Asks `ocelli serve` with the official clients of OpenAI, Ollama and Anthropic.

usage: check.py OCELLI

Starts the server with the demo model and a tiny one whose template shows tools, and ends it. Exit code 0: all passed; 1: something failed;
77: a package is missing (said loudly).
"""

import base64
import json
import pathlib
import signal
import subprocess
import sys
import traceback

try:
    import anthropic
    import ollama
    import openai
except ImportError as error:
    print(f"SKIPPED: official clients were NOT tested: {error}. Install openai, ollama and anthropic.", file=sys.stderr)
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCENE = ROOT / "examples" / "scene.png"
PICTURE = base64.b64encode(SCENE.read_bytes()).decode()
QUESTION = "What is in this picture?"
MODEL = "ocelli-demo"
# Random weights behind Qwen3-VL's own template: what it says means nothing, but it is shown tools.
SHOWN = "shown"
SHOWN_FILE = ROOT / "tests" / "goldens" / "qwen3vl" / "text.gguf"


def question_for_openai():
    url = f"data:image/png;base64,{PICTURE}"
    content = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "user", "content": content}]


def openai_chat(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    assert MODEL in [model.id for model in client.models.list()]
    asked = dict(model=MODEL, messages=question_for_openai(), temperature=0, max_tokens=32)
    whole = client.chat.completions.create(**asked)
    text = whole.choices[0].message.content
    assert text and whole.usage.prompt_tokens > 32, whole
    assert whole.usage.model_extra["images"][0]["tokens"] > 0, whole.usage
    streamed, usage = "", None
    for chunk in client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        streamed += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert streamed == text, (streamed, text)
    assert usage.completion_tokens == whole.usage.completion_tokens, usage


def openai_completions(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    whole = client.completions.create(model=MODEL, prompt="A red", max_tokens=4, temperature=0)
    parts = client.completions.create(model=MODEL, prompt="A red", max_tokens=4, temperature=0, stream=True)
    assert "".join(part.choices[0].text for part in parts) == whole.choices[0].text


def openai_responses(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    content = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PICTURE}", "detail": "auto"},
    ]
    asked = dict(model=MODEL, input=[{"role": "user", "content": content}], max_output_tokens=32, temperature=0)
    whole = client.responses.create(**asked)
    assert whole.output_text, whole
    streamed = ""
    for event in client.responses.create(**asked, stream=True):
        if event.type == "response.output_text.delta":
            streamed += event.delta
    assert streamed == whole.output_text


TOOL = {
    "name": "report",
    "description": "Reports what is seen.",
    "parameters": {
        "type": "object",
        "properties": {"color": {"enum": ["red", "green", "blue"]}},
        "required": ["color"],
        "additionalProperties": False,
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"color": {"enum": ["red", "green", "blue"]}, "count": {"enum": [1, 2, 3]}},
    "required": ["color", "count"],
    "additionalProperties": False,
}


def is_formed(value):
    return value["color"] in ("red", "green", "blue") and value["count"] in (1, 2, 3)


def openai_forms(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    form = {"type": "json_schema", "json_schema": {"name": "seen", "schema": SCHEMA, "strict": True}}
    asked = dict(model=MODEL, messages=question_for_openai(), temperature=0, max_tokens=300)
    whole = client.chat.completions.create(**asked, response_format=form)
    assert is_formed(json.loads(whole.choices[0].message.content)), whole
    text = {"format": {"type": "json_schema", "name": "seen", "schema": SCHEMA, "strict": True}}
    response = client.responses.create(model=MODEL, input=QUESTION, max_output_tokens=300, text=text)
    assert is_formed(json.loads(response.output_text)), response


def openai_tools(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    tools = [{"type": "function", "function": TOOL}]
    asked = dict(model=MODEL, messages=question_for_openai(), temperature=0, max_tokens=300, tools=tools)
    asked |= dict(tool_choice="required", parallel_tool_calls=False)
    whole = client.chat.completions.create(**asked)
    call = whole.choices[0].message.tool_calls[0]
    assert whole.choices[0].finish_reason == "tool_calls" and call.function.name == "report", whole
    assert "color" in json.loads(call.function.arguments), call
    with client.chat.completions.stream(**asked) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments, final
    flat = [{"type": "function", **TOOL}]
    response = client.responses.create(model=MODEL, input=QUESTION, tools=flat, tool_choice="required", max_output_tokens=300)
    assert response.output[0].type == "function_call" and response.output[0].name == "report", response
    # The helper wants an answer that ends by itself.
    with client.responses.stream(model=MODEL, input=QUESTION, max_output_tokens=1000) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert stream.get_final_response().output_text == text


def refuses_tools(error):
    """The model's template shows no tools: what Ollama's clients look for in the message of a 400."""
    assert error.status_code == 400 and "does not support tools" in str(error), error


def openai_shown_tools(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    tools = [{"type": "function", "function": TOOL}]
    asked = dict(model=SHOWN, messages=question_for_openai(), temperature=0, max_tokens=40, tools=tools)
    assert client.chat.completions.create(**asked).choices[0].finish_reason
    # A call and its result go back.
    call = {"id": "call_1", "type": "function", "function": {"name": "report", "arguments": '{"color": "red"}'}}
    messages = question_for_openai() + [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "noted"},
    ]
    after = client.chat.completions.create(model=SHOWN, messages=messages, tools=tools, max_tokens=8)
    assert after.choices[0].finish_reason in ("stop", "length", "tool_calls"), after
    try:
        client.chat.completions.create(**{**asked, "model": MODEL})
        raise AssertionError("tools were dropped")
    except openai.BadRequestError as error:
        refuses_tools(error)
        assert error.param == "tools", error


def openai_scores(url):
    """What evaluation programs ask: how likely the tokens of texts are, a list at a time, nothing written."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    texts = ["There is a small red circle.", "A", "Two stars."]
    asked = dict(model=MODEL, prompt=texts, echo=True, logprobs=1, temperature=0)
    scored = client.completions.create(**asked, max_tokens=0)
    assert [choice.text for choice in scored.choices] == texts, scored
    longer = client.completions.create(**asked, max_tokens=1)
    for choice, more in zip(scored.choices, longer.choices):
        told = choice.logprobs.token_logprobs
        assert told[0] is None and all(value < 0 for value in told[1:]), told
        assert more.logprobs.token_logprobs[: len(told)] == told, more
        assert choice.finish_reason == "length" and "".join(choice.logprobs.tokens) == choice.text, choice
    assert scored.usage.completion_tokens == 0 and longer.usage.completion_tokens == len(texts), longer.usage


def openai_errors(url):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    try:
        client.chat.completions.create(model="nosuch", messages=[{"role": "user", "content": "x"}])
        raise AssertionError("an unknown model was answered")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    bad = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUI="}}]}]
    try:
        client.chat.completions.create(model=MODEL, messages=bad)
        raise AssertionError("a broken picture was answered")
    except openai.BadRequestError as error:
        assert error.code == "invalid_image" and "not a supported image" in error.message, error


def ollama_chat(url):
    client = ollama.Client(host=url)
    assert MODEL in [model.model for model in client.list().models]
    assert "vision" in client.show(MODEL).capabilities
    message = {"role": "user", "content": QUESTION, "images": [str(SCENE)]}
    options = {"temperature": 0, "num_predict": 32}
    whole = client.chat(model=MODEL, messages=[message], options=options)
    assert whole.message.content and whole.done and whole.eval_count > 0 and whole.eval_duration > 0, whole
    parts = list(client.chat(model=MODEL, messages=[message], options=options, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert parts[-1].done and parts[-1].prompt_eval_count == whole.prompt_eval_count
    answer = client.generate(model=MODEL, prompt=QUESTION, images=[PICTURE], options=options)
    assert answer.response, answer
    assert client.ps().models[0].model == MODEL


def ollama_forms(url):
    client = ollama.Client(host=url)
    message = {"role": "user", "content": QUESTION, "images": [str(SCENE)]}
    options = {"temperature": 0, "num_predict": 300}
    formed = client.chat(model=MODEL, messages=[message], options=options, format=SCHEMA)
    assert is_formed(json.loads(formed.message.content)), formed


def ollama_shown_tools(url):
    client = ollama.Client(host=url)
    assert "tools" in client.show(SHOWN).capabilities and "tools" not in client.show(MODEL).capabilities
    message = {"role": "user", "content": QUESTION, "images": [str(SCENE)]}
    options = {"temperature": 0, "num_predict": 40}
    tools = [{"type": "function", "function": TOOL}]
    plain = client.chat(model=SHOWN, messages=[message], options=options, tools=tools)
    assert plain.done, plain
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "report", "arguments": {"color": "red"}}}]}
    result = {"role": "tool", "tool_name": "report", "content": "noted"}
    after = client.chat(model=SHOWN, messages=[message, called, result], options=options, tools=tools)
    assert after.done, after
    try:
        client.chat(model=MODEL, messages=[message], tools=tools)
        raise AssertionError("tools were dropped")
    except ollama.ResponseError as error:
        refuses_tools(error)


def ollama_errors(url):
    client = ollama.Client(host=url)
    try:
        client.chat(model="nosuch", messages=[{"role": "user", "content": "x"}])
        raise AssertionError("an unknown model was answered")
    except ollama.ResponseError as error:
        assert error.status_code == 404 and "not found" in error.error, error
    try:
        client.pull("other")
        raise AssertionError("a model was pulled")
    except ollama.ResponseError as error:
        assert error.status_code == 501, error


def anthropic_messages(url):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    content = [{"type": "image", "source": source}, {"type": "text", "text": QUESTION}]
    messages = [{"role": "user", "content": content}]
    counted = client.messages.count_tokens(model=MODEL, messages=messages)
    whole = client.messages.create(model=MODEL, max_tokens=32, messages=messages)
    text = whole.content[0].text
    assert text and whole.stop_reason in ("end_turn", "max_tokens"), whole
    cached = whole.usage.cache_read_input_tokens or 0
    assert whole.usage.input_tokens + cached == counted.input_tokens, (whole.usage, counted)
    with client.messages.stream(model=MODEL, max_tokens=32, messages=messages) as stream:
        assert "".join(stream.text_stream) == text
        assert stream.get_final_message().stop_reason == whole.stop_reason


def anthropic_tools(url):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]
    choice = {"type": "any", "disable_parallel_tool_use": True}
    messages = [{"role": "user", "content": QUESTION}]
    asked = dict(model=MODEL, max_tokens=300, messages=messages, tools=tools, tool_choice=choice)
    whole = client.messages.create(**asked)
    assert whole.stop_reason == "tool_use" and len(whole.content) == 1, whole
    call = whole.content[0]
    assert call.type == "tool_use" and call.name == "report" and "color" in call.input, whole
    with client.messages.stream(**asked) as stream:
        assert stream.get_final_message().content[0].type == "tool_use"
    messages += [
        {"role": "assistant", "content": [block.to_dict() for block in whole.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "noted"}]},
    ]
    after = client.messages.create(model=SHOWN, max_tokens=8, messages=messages, tools=tools)
    assert after.stop_reason, after
    assert client.messages.count_tokens(model=SHOWN, messages=messages, tools=tools).input_tokens > 0
    for ask in (client.messages.create, client.messages.count_tokens):
        bound = {"max_tokens": 8} if ask == client.messages.create else {}
        try:
            ask(model=MODEL, messages=messages, tools=tools, **bound)
            raise AssertionError("tools were dropped")
        except anthropic.BadRequestError as error:
            refuses_tools(error)


def anthropic_errors(url):
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)
    try:
        client.messages.create(model="nosuch", max_tokens=4, messages=[{"role": "user", "content": "x"}])
        raise AssertionError("an unknown model was answered")
    except anthropic.NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error", error


CHECKS = [
    openai_chat,
    openai_completions,
    openai_responses,
    openai_forms,
    openai_tools,
    openai_shown_tools,
    openai_scores,
    openai_errors,
    ollama_chat,
    ollama_forms,
    ollama_shown_tools,
    ollama_errors,
    anthropic_messages,
    anthropic_tools,
    anthropic_errors,
]


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: check.py OCELLI")
    demo = ROOT / "crates" / "ocelli" / "models" / "ocelli-demo-text.gguf"
    models = ["-m", f"{MODEL}={demo}", "-m", f"{SHOWN}={SHOWN_FILE}"]
    server = subprocess.Popen([sys.argv[1], "serve", "--port", "0", *models], stderr=subprocess.PIPE, text=True)
    failed = []
    try:
        line = server.stderr.readline()
        assert line.startswith("listening on http://"), line
        url = line.removeprefix("listening on ").strip()
        for check in CHECKS:
            try:
                check(url)
                print(f"passed: {check.__name__}")
            except Exception:
                failed.append(check.__name__)
                print(f"FAILED: {check.__name__}\n{traceback.format_exc()}")
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(timeout=60)
    if code != 0:
        failed.append(f"the server ended with {code}")
    print(f"{len(CHECKS) - len(failed)} of {len(CHECKS)} passed" if not failed else f"failed: {', '.join(failed)}")
    sys.exit(1 if failed else 0)


main()
