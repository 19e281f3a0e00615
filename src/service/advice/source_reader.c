/* source_reader.c - see source_reader.h. */
#include "service/advice/source_reader.h"

#include <stdio.h>
#include <string.h>

const char *source_kind_name(enum source_kind k)
{
    static const char *const names[N_SOURCE_KINDS] = { "address", "endpoint", "model", "parameter",
                                                       "setting" };
    return names[k];
}

const char *source_verdict_name(enum source_verdict v)
{
    static const char *const names[] = { "served", "changes", "ignored", "missing", "unknown" };
    return names[v];
}

/* ---- what is known ------------------------------------------------------------------------------------------------- */

struct known {
    const char *text;
    enum source_verdict verdict;
    const char *instead; /* of an address: the path of this server that stands for it; else words */
};

/* A prefix of an address, longest first. */
static const struct known hosts[] = {
    { "https://api.openai.com/v1", SOURCE_CHANGES, "/v1" },
    { "https://api.openai.com", SOURCE_CHANGES, "" },
    { "https://api.fireworks.ai/inference/v1", SOURCE_CHANGES, "/inference/v1" },
    { "https://api.fireworks.ai/inference", SOURCE_CHANGES, "/inference" },
    { "https://api.fireworks.ai", SOURCE_CHANGES, "" },
    { "https://api.anthropic.com", SOURCE_CHANGES, "" },
    { "https://openrouter.ai/api/v1", SOURCE_CHANGES, "/v1" },
    { "https://api.together.xyz/v1", SOURCE_CHANGES, "/v1" },
    { "https://api.groq.com/openai/v1", SOURCE_CHANGES, "/v1" },
    { "https://firemoon.studio", SOURCE_CHANGES, "" },
    { "https://www.firemoon.studio", SOURCE_CHANGES, "" },
    { "http://localhost:11434", SOURCE_CHANGES, "" },
    { "http://127.0.0.1:11434", SOURCE_CHANGES, "" },
};

static const struct known endpoints[] = {
    { "/chat/completions", SOURCE_SERVED, "" },
    { "/completions", SOURCE_SERVED, "" },
    { "/embeddings", SOURCE_SERVED, "" },
    { "/images/generations", SOURCE_SERVED, "" },
    { "/images/edits", SOURCE_SERVED, "" },
    { "/images/variations", SOURCE_SERVED, "" },
    { "/moderations", SOURCE_SERVED, "" },
    { "/v1/messages", SOURCE_SERVED, "" },
    { "/v1/responses", SOURCE_SERVED, "" },
    { "/text_to_image", SOURCE_SERVED, "" },
    { "/api/v1/flux/", SOURCE_SERVED, "" },
    { "/audio/transcriptions", SOURCE_MISSING, "this server has no speech" },
    { "/audio/translations", SOURCE_MISSING, "this server has no speech" },
    { "/audio/speech", SOURCE_MISSING, "this server has no speech" },
    { "/fine_tuning/jobs", SOURCE_MISSING, "this server trains nothing" },
    { "/vector_stores", SOURCE_MISSING, "keep vectors of /v1/embeddings in a store of your own" },
    { "/assistants", SOURCE_MISSING, "Responses (/v1/responses) keep a conversation" },
    { "/threads", SOURCE_MISSING, "Responses (/v1/responses) keep a conversation" },
    { "/realtime", SOURCE_MISSING, "streams of /v1/chat/completions" },
    { "chat.completions.create", SOURCE_SERVED, "" },
    { "chat.completions.parse", SOURCE_SERVED, "" },
    { "chat.completions.stream", SOURCE_SERVED, "" },
    { "completions.create", SOURCE_SERVED, "" },
    { "embeddings.create", SOURCE_SERVED, "" },
    { "images.generate", SOURCE_SERVED, "" },
    { "images.edit", SOURCE_SERVED, "" },
    { "images.create_variation", SOURCE_SERVED, "" },
    { "images.createVariation", SOURCE_SERVED, "" },
    { "responses.create", SOURCE_SERVED, "" },
    { "responses.stream", SOURCE_SERVED, "" },
    { "messages.create", SOURCE_SERVED, "" },
    { "messages.stream", SOURCE_SERVED, "" },
    { "moderations.create", SOURCE_SERVED, "" },
    { "audio.transcriptions.create", SOURCE_MISSING, "this server has no speech" },
    { "audio.speech.create", SOURCE_MISSING, "this server has no speech" },
    { "fine_tuning.jobs.create", SOURCE_MISSING, "this server trains nothing" },
    { "beta.assistants", SOURCE_MISSING, "Responses (responses.create) keep a conversation" },
    { "beta.threads", SOURCE_MISSING, "Responses (responses.create) keep a conversation" },
    { "ChatCompletion.create", SOURCE_CHANGES, "client.chat.completions.create, of openai 1.0 and later" },
    { "Image.create", SOURCE_CHANGES, "client.images.generate, of openai 1.0 and later" },
};

static const struct known parameters[] = {
    { "temperature", SOURCE_SERVED, "" },
    { "top_p", SOURCE_SERVED, "" },
    { "top_k", SOURCE_SERVED, "" },
    { "min_p", SOURCE_SERVED, "" },
    { "max_tokens", SOURCE_SERVED, "" },
    { "max_completion_tokens", SOURCE_SERVED, "" },
    { "max_output_tokens", SOURCE_SERVED, "" },
    { "stop_sequences", SOURCE_SERVED, "" },
    { "presence_penalty", SOURCE_SERVED, "" },
    { "frequency_penalty", SOURCE_SERVED, "" },
    { "repetition_penalty", SOURCE_SERVED, "" },
    { "logit_bias", SOURCE_SERVED, "" },
    { "logprobs", SOURCE_SERVED, "" },
    { "top_logprobs", SOURCE_SERVED, "" },
    { "response_format", SOURCE_SERVED, "" },
    { "tools", SOURCE_SERVED, "" },
    { "tool_choice", SOURCE_SERVED, "" },
    { "parallel_tool_calls", SOURCE_SERVED, "" },
    { "functions", SOURCE_SERVED, "" },
    { "function_call", SOURCE_SERVED, "" },
    { "reasoning_effort", SOURCE_SERVED, "" },
    { "stream_options", SOURCE_SERVED, "" },
    { "context_length_exceeded_behavior", SOURCE_SERVED, "" },
    { "guidance_scale", SOURCE_SERVED, "" },
    { "num_inference_steps", SOURCE_SERVED, "" },
    { "negative_prompt", SOURCE_SERVED, "" },
    { "aspect_ratio", SOURCE_SERVED, "" },
    { "image_size", SOURCE_SERVED, "" },
    { "num_images", SOURCE_SERVED, "" },
    { "dimensions", SOURCE_SERVED, "" },
    { "encoding_format", SOURCE_SERVED, "" },
    { "service_tier", SOURCE_IGNORED, "" },
    { "prompt_cache_key", SOURCE_IGNORED, "" },
    { "safety_identifier", SOURCE_IGNORED, "" },
    { "metadata", SOURCE_IGNORED, "" },
    { "prediction", SOURCE_IGNORED, "it may save time and never changes an answer" },
    { "web_search_options", SOURCE_MISSING, "offer a tool of your own" },
    { "modalities", SOURCE_MISSING, "answers are text" },
    { "suffix", SOURCE_MISSING, "a chat that is shown both sides" },
    { "use_beam_search", SOURCE_MISSING, "best_of, with temperature" },
    { "length_penalty", SOURCE_MISSING, "it belongs to a beam search" },
    { "verbosity", SOURCE_MISSING, "say it in the prompt" },
};

static const struct known settings[] = {
    { "OPENAI_API_KEY", SOURCE_CHANGES, "a key of this server, or any text where it has none" },
    { "OPENAI_BASE_URL", SOURCE_CHANGES, "/v1" },
    { "OPENAI_API_BASE", SOURCE_CHANGES, "/v1" },
    { "OPENAI_ORG_ID", SOURCE_IGNORED, "" },
    { "FIREWORKS_API_KEY", SOURCE_CHANGES, "a key of this server, or any text where it has none" },
    { "FIREWORKS_API_BASE", SOURCE_CHANGES, "/inference/v1" },
    { "FIREMOON_API_KEY", SOURCE_CHANGES, "a key of this server, or any text where it has none" },
    { "ANTHROPIC_API_KEY", SOURCE_CHANGES, "a key of this server, or any text where it has none" },
    { "ANTHROPIC_BASE_URL", SOURCE_CHANGES, "" },
    { "OLLAMA_HOST", SOURCE_CHANGES, "" },
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- a line -------------------------------------------------------------------------------------------------------- */

struct line {
    const char *from, *to;
    int number;
    bool (*fn)(void *arg, const struct source_found *f);
    void *arg;
    bool over;
};

static void tell(struct line *l, enum source_kind kind, const char *text, size_t len)
{
    const struct source_found f = { kind, l->number, text, len };
    if (!l->over && len) l->over = !l->fn(l->arg, &f);
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool begins(const char *at, const char *to, const char *s)
{
    const size_t n = strlen(s);
    return (size_t)(to - at) >= n && !memcmp(at, s, n);
}

/* What a quote, with or without a stroke before it, is; 0: none. */
static char quote_at(const char **at, const char *to)
{
    if (*at < to && **at == '\\') ++*at;
    if (*at < to && (**at == '"' || **at == '\'' || **at == '`')) return *(*at)++;
    return 0;
}

static const char *url_end(const char *at, const char *to)
{
    while (at<to && * at> ' ' && *at <= '~' && !strchr("\"'`\\<>(){}[],;|", *at)) at++;
    while (at[-1] == '.' || at[-1] == '/') at--;
    return at;
}

static void urls(struct line *l)
{
    for (const char *at = l->from; at < l->to; at++) {
        if (!begins(at, l->to, "http://") && !begins(at, l->to, "https://")) continue;
        const char *end = url_end(at + 8 < l->to ? at + 8 : l->to, l->to);
        tell(l, SOURCE_URL, at, (size_t)(end - at));
        at = end;
    }
}

/* Each where it stands alone: "/completions" is not found in "/chat/completions", nor "images.edit" in "images.editor". */
static void words_of(struct line *l, enum source_kind kind, const struct known *k, size_t n)
{
    for (const char *at = l->from; at < l->to; at++) {
        const char before = at > l->from ? at[-1] : ' ';
        if (is_word(*at) && is_word(before)) continue;
        for (size_t i = 0; i < n; i++) {
            const size_t len = strlen(k[i].text);
            if (!begins(at, l->to, k[i].text) || (at + len < l->to && is_word(at[len]))) continue;
            tell(l, kind, at, len);
            at += len - 1;
            break;
        }
    }
}

/* NAME: or NAME=, as a member, an argument or a field of a form; not NAME == or a call. */
static void parameters_of(struct line *l)
{
    for (const char *at = l->from; at < l->to; at++) {
        if (!is_word(*at) || (at > l->from && is_word(at[-1]))) continue;
        const char *end = at;
        while (end < l->to && is_word(*end)) end++;
        const char *next = end;
        quote_at(&next, l->to);
        while (next < l->to && (*next == ' ' || *next == '\t')) next++;
        const bool set = next < l->to && (*next == ':' || (*next == '=' && !begins(next, l->to, "==")));
        for (size_t i = 0; set && i < COUNT(parameters); i++)
            if (strlen(parameters[i].text) == (size_t)(end - at) && begins(at, end, parameters[i].text))
                tell(l, SOURCE_PARAMETER, at, (size_t)(end - at));
        at = end - 1;
    }
}

static bool is_model_byte(char c) { return is_word(c) || (c && strchr("-./:@#", c)); }

static bool names_model(const char *at, const char *to)
{
    static const char *const begin[] = { "accounts/",       "gpt-",          "chatgpt-",  "claude-",
                                         "dall-e-",         "gemini-",       "o1-",       "o3-",
                                         "text-embedding-", "text-davinci-", "deepseek-", "mistral-",
                                         "whisper-",        "tts-1",         "codex-" };
    for (size_t i = 0; i < COUNT(begin); i++)
        if (begins(at, to, begin[i])) return true;
    return false;
}

/* Behind `model` and ':' or '=' whatever is quoted; elsewhere what is quoted and begins as a hosted model's name does; in an .env NAME_MODEL=it. */
static void models(struct line *l)
{
    bool asked = false; /* the value of a model comes */
    for (const char *at = l->from; at < l->to; at++) {
        if (is_word(*at) && (at == l->from || !is_word(at[-1]))) {
            const char *end = at;
            while (end < l->to && is_word(*end)) end++;
            const size_t n = (size_t)(end - at);
            const bool is = (n == 5 && !memcmp(at, "model", 5)) || (n == 8 && !memcmp(at, "model_id", 8)) ||
                            (n >= 5 && !memcmp(end - 5, "MODEL", 5));
            const char *next = end;
            quote_at(&next, l->to);
            while (next < l->to && *next == ' ') next++;
            if (is && next < l->to && (*next == ':' || *next == '=') && !begins(next, l->to, "==")) {
                asked = true;
                const char *bare = next + 1, *stop = bare;
                while (stop < l->to && is_model_byte(*stop)) stop++;
                if (*next == '=' && stop == l->to && stop > bare)
                    tell(l, SOURCE_MODEL, bare, (size_t)(stop - bare));
                at = next;
                continue;
            }
            at = end - 1;
            continue;
        }
        if (*at == ',' || *at == ';') asked = false;
        const char *in = at;
        const char q = *at == '"' || *at == '\'' || *at == '`' ? quote_at(&in, l->to) : 0;
        if (!q) continue;
        const char *end = in;
        while (end < l->to && is_model_byte(*end)) end++;
        const char *close = end;
        if (end > in && (quote_at(&close, l->to) == q) && (asked || names_model(in, end))) {
            tell(l, SOURCE_MODEL, in, (size_t)(end - in));
            at = close - 1;
        }
        asked = false;
    }
}

void source_read(const char *bytes, size_t n, bool (*fn)(void *arg, const struct source_found *f), void *arg)
{
    struct line l = { .fn = fn, .arg = arg };
    const char *const end = bytes + n;
    for (const char *at = bytes, *next; at < end && !l.over; at = next) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        next = stop ? stop + 1 : end;
        l.from = at;
        l.to = stop ? stop : end;
        if (l.to > l.from && l.to[-1] == '\r') l.to--;
        l.number++;
        urls(&l);
        words_of(&l, SOURCE_ENDPOINT, endpoints, COUNT(endpoints));
        models(&l);
        parameters_of(&l);
        words_of(&l, SOURCE_SETTING, settings, COUNT(settings));
    }
}

/* ---- what becomes of it -------------------------------------------------------------------------------------------- */

static const struct known *lookup(const struct source_found *f, const struct known *k, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(k[i].text) == f->len && !memcmp(k[i].text, f->text, f->len)) return &k[i];
    return NULL;
}

static enum source_verdict judge_url(const struct source_found *f, const char *base, char *instead,
                                     size_t cap)
{
    for (size_t i = 0; i < COUNT(hosts); i++) {
        const size_t n = strlen(hosts[i].text);
        if (f->len < n || memcmp(f->text, hosts[i].text, n) != 0 || (f->len > n && f->text[n] != '/'))
            continue;
        snprintf(instead, cap, "%s%s%.*s", base, hosts[i].instead, (int)(f->len - n), f->text + n);
        return SOURCE_CHANGES;
    }
    return SOURCE_UNKNOWN;
}

enum source_verdict source_judge(const struct source_found *f, const char *base, char *instead, size_t cap)
{
    const struct known *k = NULL;
    *instead = 0;
    switch (f->kind) {
    case SOURCE_URL: return judge_url(f, base, instead, cap);
    case SOURCE_ENDPOINT: k = lookup(f, endpoints, COUNT(endpoints)); break;
    case SOURCE_PARAMETER: k = lookup(f, parameters, COUNT(parameters)); break;
    case SOURCE_SETTING: k = lookup(f, settings, COUNT(settings)); break;
    default: break;
    }
    if (!k) return SOURCE_UNKNOWN;
    const bool address =
        f->kind == SOURCE_SETTING && k->verdict == SOURCE_CHANGES && (!*k->instead || *k->instead == '/');
    snprintf(instead, cap, "%s%s", address ? base : "", k->instead);
    return k->verdict;
}
