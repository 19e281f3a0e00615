const answer = await fetch('https://firemoon.studio/api/v1/flux/dev', {
  method: 'POST',
  body: JSON.stringify({ prompt, image_size: 'landscape_4_3', num_images: 2, guidance_scale: 3.5 }),
});
const chat = await openai.chat.completions.create({ model: 'gpt-4o-mini', web_search_options: {}, reasoning_effort: `low` });
