curl https://api.openai.com/v1/chat/completions -H "Authorization: Bearer $OPENAI_API_KEY" \
  -d "{\"model\": \"gpt-4o\", \"max_tokens\": 5, \"messages\": []}"
