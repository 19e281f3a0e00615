import os

import requests
from openai import OpenAI

client = OpenAI(api_key=os.environ["OPENAI_API_KEY"], base_url="https://api.fireworks.ai/inference/v1")
reply = client.chat.completions.create(
    model="accounts/fireworks/models/deepseek-v3",
    messages=[{"role": "user", "content": "Hello"}],
    temperature=0.7,
    max_tokens=200,
)


class Pictures:
    base_url = 'https://api.fireworks.ai/inference/v1'

    def draw(self, prompt):
        return requests.post(f'{self.base_url}/images/generations', json={'model': 'dall-e-3', 'prompt': prompt, 'quality': 'hd'})


text = client.audio.transcriptions.create(model="whisper-1", file=open("a.wav", "rb"))
if reply.model == "gpt-4o":
    print(reply.temperature, "https://example.com/docs")
