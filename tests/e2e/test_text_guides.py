"""The examples of tools and of reasoning in the guides that clients of Fireworks' language models are written from, as they stand there, under the names of
their models. Tiny models of random weights, with the templates of those families, answer in the place of the large ones."""
import json
import shutil
import subprocess
import sys

import pytest

from conftest import KEY, PATIENCE, ROOT, Server

TINY, TOKENIZERS = ROOT / "tests/golden/lm/chat", ROOT / "tests/golden/tokenizer"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guides")
    for name, family in (("deepseek-v3", "deepseek_v3"), ("qwen3-235b-a22b", "qwen3")):
        shutil.copytree(TINY, folder / name)
        config = json.loads((TINY / "tokenizer_config.json").read_text())
        config["chat_template"] = json.loads((TOKENIZERS / family / "tokenizer_config.json").read_text())["chat_template"]
        (folder / name / "tokenizer_config.json").write_text(json.dumps(config))
        config = json.loads((TINY / "config.json").read_text())
        (folder / name / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 8192}))
    s = Server("--keys", KEY, models=str(folder))
    yield s
    s.stop()


FUNCTION_CALLING = '''
import json
import requests

# Define available tools/functions
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_current_weather",
            "description": "Fetch the current weather in a given location.",
            "parameters": {
                "type": "object",
                "properties": {
                    "location": {
                        "type": "string",
                        "description": "City name, e.g., London",
                    },
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["location"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "calculate_compound_interest",
            "description": "Calculate compound interest for investments.",
            "parameters": {
                "type": "object",
                "properties": {
                    "principal": {"type": "number", "description": "Initial investment amount"},
                    "rate": {"type": "number", "description": "Annual interest rate (as decimal)"},
                    "time": {"type": "number", "description": "Time period in years"},
                    "compound_frequency": {"type": "integer", "description": "Compounding frequency per year"}
                },
                "required": ["principal", "rate", "time"]
            },
        },
    }
]

# Function calling with DeepSeek V3
response = requests.post(
    'https://api.fireworks.ai/inference/v1/chat/completions',
    headers={
        'Authorization': 'Bearer YOUR_API_KEY',
        'Content-Type': 'application/json'
    },
    json={
        'model': 'accounts/fireworks/models/deepseek-v3',
        'messages': [
            {'role': 'user', 'content': 'What is the weather like in Tokyo and calculate compound interest for $10,000 at 5% for 10 years?'}
        ],
        'tools': tools,
        'max_tokens': 2000
    }
)

data = response.json()
message = data['choices'][0]['message']

# Check if function calls were made
if 'tool_calls' in message:
    for tool_call in message['tool_calls']:
        function_name = tool_call['function']['name']
        arguments = json.loads(tool_call['function']['arguments'])
        print(f"Function: {function_name}")
        print(f"Arguments: {arguments}")
'''


@pytest.mark.parametrize("more", ["", "'tool_choice': 'none', "], ids=["as it stands", "none"])
def test_function_calling(server, more):
    program = FUNCTION_CALLING.replace("https://api.fireworks.ai", server.url).replace("YOUR_API_KEY", KEY)
    assert program.count("'tools': tools,") == 1
    r = subprocess.run([sys.executable, "-c", program.replace("'tools': tools,", "'tools': tools, " + more)], capture_output=True, text=True, timeout=PATIENCE)
    assert r.returncode == 0 and (not more or r.stdout == ""), r.stderr


@pytest.mark.parametrize("model", ["deepseek-v3", "qwen3-235b-a22b"])
def test_a_call_of_the_guides_functions(server, model):
    """In the form of each family, as far as the tokens go: random weights hardly ever end a text."""
    names = {}
    exec(FUNCTION_CALLING.split("# Function calling")[0], names)
    body = {"model": model, "messages": [{"role": "user", "content": "Tokyo?"}], "tools": names["tools"], "tool_choice": "required", "extra_body": {"reasoning_effort": "none"}, "max_tokens": 400, "seed": 1}
    choice = server.post("/inference/v1/chat/completions", body, headers=BEARER).json()["choices"][0]
    assert choice["message"]["tool_calls"][0]["function"]["name"] in ("get_current_weather", "calculate_compound_interest")
    for call in choice["message"]["tool_calls"][: None if choice["finish_reason"] == "tool_calls" else -1]:
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


def ask(server, effort, messages, **more):
    r = server.post("/inference/v1/chat/completions", {"model": "accounts/fireworks/models/qwen3-235b-a22b", "messages": messages, "extra_body": {"reasoning_effort": effort}, **more}, headers=BEARER)
    assert r.status_code == 200, r.text
    return r.json()


@pytest.mark.parametrize("effort", ["low", "medium", "high"])
def test_controllable_reasoning(server, effort):
    """The thought stands between its marks in the content; a level is a number of tokens, after which it is closed. The first request is the guide's."""
    messages = [{"role": "user", "content": "Analyze the pros and cons of renewable energy adoption."}]
    data = ask(server, effort, messages, max_tokens=4096 if effort == "medium" else 64, temperature=0.6, top_p=0.95, top_k=20)
    assert isinstance(data["choices"][0]["message"]["content"], str) and "reasoning_content" not in data["choices"][0]["message"]


def test_fast_mode_without_reasoning(server):
    data = ask(server, "none", [{"role": "user", "content": "Quick answer: What is the capital of France?"}], max_tokens=100, temperature=0.7, top_p=0.8)
    assert "<think>" not in data["choices"][0]["message"]["content"]
    assert data["usage"].get("completion_tokens_details", {}).get("reasoning_tokens", 0) == 0


def validate_function_schema(tools):
    """Validate function calling schema"""
    for tool in tools:
        if tool['type'] != 'function':
            raise ValueError("Tool type must be 'function'")

        func = tool['function']
        required_fields = ['name', 'description', 'parameters']

        for field in required_fields:
            if field not in func:
                raise ValueError(f"Missing required field: {field}")

    return True


@pytest.mark.parametrize("tool, taken", [
    ({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}, True),
    ({"type": "retrieval", "function": {"name": "f", "description": "d", "parameters": {}}}, False),
    ({"type": "function", "function": {"description": "d", "parameters": {"type": "object"}}}, False)])
def test_tools_are_checked_as_the_guides_helper_checks_them(server, tool, taken):
    """But for description and parameters, which may be missing."""
    try:
        assert validate_function_schema([tool]) and taken
    except ValueError:
        assert not taken
    r = server.post("/inference/v1/chat/completions", {"model": "deepseek-v3", "messages": [{"role": "user", "content": "a"}], "tools": [tool], "max_tokens": 1}, headers=BEARER)
    assert r.status_code == (200 if taken else 400), r.text
    assert taken or "tools[0]" in r.json()["error"]["message"]
