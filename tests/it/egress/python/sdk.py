"""What an agent does: the official packages, as they are, told by their own environment variables where to go.

    sdk.py openai|anthropic chat|stream|embedding

Prints a line of JSON for every piece of the answer, as it comes.
"""

import json
import sys


def tell(piece):
    print(json.dumps(piece), flush=True)


def openai(what):
    from openai import OpenAI

    client = OpenAI(max_retries=0)
    messages = [{"role": "user", "content": "Say hello."}]
    if what == "chat":
        answer = client.chat.completions.create(model="m", messages=messages)
        tell(answer.choices[0].message.content)
    elif what == "stream":
        for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
            tell(chunk.choices[0].delta.content)
    else:
        answer = client.embeddings.create(model="m", input=["hello"], encoding_format="float")
        tell(answer.data[0].embedding)


def anthropic(what):
    from anthropic import Anthropic

    client = Anthropic(max_retries=0)
    messages = [{"role": "user", "content": "Say hello."}]
    if what == "chat":
        answer = client.messages.create(model="m", max_tokens=9, messages=messages)
        tell(answer.content[0].text)
    else:
        with client.messages.stream(model="m", max_tokens=9, messages=messages) as stream:
            for text in stream.text_stream:
                tell(text)


{"openai": openai, "anthropic": anthropic}[sys.argv[1]](sys.argv[2])
