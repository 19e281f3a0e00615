/* options_table.c - the settings: one row each. */
#include "cli/options_table.h"

#include "cli/options.h"
#include "lm/lm.h"

/* A field, and how it keeps a value, which its type says. */
#define F(field)                                                                                             \
    offsetof(struct options, field),                                   \
        _Generic(((struct options *)0)->field,                         \
            char *: STORE_STR, const char *: STORE_STR,                \
            struct str_list: STORE_LIST, bool: STORE_BOOL,             \
            int: STORE_INT, unsigned: STORE_UNSIGNED,                  \
            int64_t: STORE_LONG, size_t: STORE_SIZE, double: STORE_DOUBLE)
/* A number that another header names, as text. */
#define TEXT(number) TEXT_(number)
#define TEXT_(number) #number
#define LOADS (CMD_SERVE | CMD_CHAT | CMD_COMPLETE | CMD_BENCH | CMD_INSPECT)
#define RUNS (CMD_SERVE | CMD_CHAT | CMD_COMPLETE | CMD_BENCH)
#define ASKS (CMD_CHAT | CMD_COMPLETE)

/* clang-format off */
const struct option_spec options_table[] = {
    /* name, type, F(field), default, min, max, commands, value, what it does */
    { "config", OPT_STR, F(config), NULL, 0, 0, CMD_ALL, "FILE",
      "configuration file; default: hearth/config.yaml in the XDG configuration folder, if it is there" },
    { "models", OPT_STR, F(registry.models_dir), NULL, 0, 0, CMD_ALL & ~CMD_VERSION, "DIR",
      "folder of installed models; default: hearth/models in the XDG data folder" },
    { "catalog", OPT_STR, F(catalog), "", 0, 0, CMD_ALL & ~CMD_VERSION, "FILE",
      "a model catalog to use in place of the built-in one" },
    { "log-level", OPT_WORD, F(log_level), "info", 0, 0, CMD_ALL & ~CMD_VERSION, "error|warn|info|debug",
      "what is logged to standard error" },
    { "threads", OPT_INT, F(threads), "0", 0, 1024, RUNS | CMD_IMAGE, "N",
      "compute threads; 0: one for each core" },
    { "isa", OPT_WORD, F(isa), "", 0, 0, RUNS | CMD_IMAGE, "plain|avx2|avxvnni|avx512|avx512bf16|amx|neon|dotprod|i8mm|bf16",
      "the largest instruction set to use; default: all that this machine has" },

    { "ctx", OPT_INT, F(registry.lm.n_ctx), "0", 0, 1 << 24, LOADS, "TOKENS",
      "tokens a sequence may hold; 0: the model's own, at most " TEXT(LM_DEFAULT_CTX) },
    { "max-batch", OPT_INT, F(registry.lm.max_batch), TEXT(LM_DEFAULT_BATCH), 1, LM_MAX_BATCH, RUNS, "N",
      "sequences that are generated together" },
    { "queue-limit", OPT_INT, F(registry.lm.queue_limit), TEXT(LM_DEFAULT_QUEUE), 1, LM_MAX_QUEUE, CMD_SERVE, "N",
      "sequences (choices of requests) that may wait for a model before new ones get 429" },
    { "prefill-chunk", OPT_INT, F(registry.lm.prefill_chunk), TEXT(LM_DEFAULT_CHUNK), 1, LM_MAX_CHUNK, RUNS, "TOKENS",
      "prompt tokens processed in one step" },
    { "kv-memory", OPT_MEMORY, F(registry.lm.kv_bytes), "0", 0, 1e15, RUNS, "BYTES",
      "memory for keys and values of past tokens, per model; 0: four contexts, at most a quarter of memory" },
    { "kv-type", OPT_WORD, F(registry.lm.kv_type), "f16", 0, 0, LOADS, "f16|q8_0",
      "how keys and values of past tokens are kept" },
    { "prefix-sharing", OPT_WORD, F(server.share_prefixes), "key", 0, 0, CMD_SERVE, "key|all",
      "who reuses the cached beginning of whose prompts: requests of one key among themselves, or all" },
    { "memory-limit", OPT_MEMORY, F(registry.memory_limit), "0", 0, 1e15, CMD_SERVE, "BYTES",
      "models that were not used lately are unloaded above this, and one that is larger alone is refused; 0: nine tenths of the machine's memory" },
    { "memory-wait", OPT_INT, F(registry.memory_wait), "10", 0, 3600, CMD_SERVE, "SECONDS",
      "how long a model that is not loaded waits for memory that requests to others hold; then: 429" },
    { "preload", OPT_BOOL, F(preload), "yes", 0, 0, CMD_SERVE, NULL,
      "load the models named on the command line, or the only installed one, before the first request" },

    { "listen", OPT_STR, F(server.listen), "127.0.0.1:8080", 0, 0, CMD_SERVE, "ADDRESS:PORT",
      "where to listen; a port alone: on this machine; port 0 takes a free one; anything but loopback needs a key" },
    { "port", OPT_INT, F(server.port), "-1", -1, 65535, CMD_SERVE, "PORT",
      "(or -p) the port in place of the one that listen names; -1: that one" },
    { "keys", OPT_SECRET, F(keys), NULL, 0, 0, CMD_SERVE, "KEY",
      "a key that clients may use (repeatable); without any, only this machine is served" },
    { "key-file", OPT_STR, F(key_file), "", 0, 0, CMD_SERVE, "FILE",
      "file of keys, one a line; lines that start with # are comments" },
    { "new-key", OPT_BOOL, F(new_key), "no", 0, 0, CMD_SERVE, NULL,
      "make a key and print it once, unless key-file has one; it is kept in key-file when that is given" },
    { "allow-origin", OPT_LIST, F(server.allow_origin), NULL, 0, 0, CMD_SERVE, "ORIGIN",
      "web origin whose pages may call this server, as https://host[:port], or * (repeatable)" },
    { "allow-host", OPT_LIST, F(server.allow_host), NULL, 0, 0, CMD_SERVE, "NAME",
      "host name under which a server without keys may be addressed, besides loopback names (repeatable)" },
    { "http-threads", OPT_INT, F(server.http_threads), "2", 1, 64, CMD_SERVE, "N",
      "threads that read requests and write replies" },
    { "prepare-threads", OPT_INT, F(server.prepare_threads), "2", 1, 64, CMD_SERVE, "N",
      "threads that parse, template and tokenise" },
    { "max-body", OPT_MEMORY, F(server.max_body), "32M", 1024, 4e9, CMD_SERVE, "BYTES",
      "largest JSON request body; above it: 413" },
    { "body-memory", OPT_MEMORY, F(server.body_memory), "0", 0, 1e15, CMD_SERVE, "BYTES",
      "memory for the bodies of all requests that are being sent or prepared; above it: 429; 0: eight of the largest" },
    { "body-memory-per-address", OPT_BYTES, F(server.body_share), "0", 0, 1e15, CMD_SERVE, "BYTES",
      "what requests from one address may have of it; 0: half" },
    { "max-header", OPT_BYTES, F(server.max_header), "32K", 4096, 16 << 20, CMD_SERVE, "BYTES",
      "size of a request's first line and headers; above it: 414 or 431" },
    { "max-connections", OPT_INT, F(server.max_connections), "8192", 1, 1 << 20, CMD_SERVE, "N",
      "connections open at a time" },
    { "max-connections-per-address", OPT_INT, F(server.max_connections_per_address), "4096", 0, 1 << 20, CMD_SERVE, "N",
      "connections open at a time from one address; 0: no limit of its own" },
    { "max-json-depth", OPT_INT, F(server.max_json_depth), "128", 8, 1024, CMD_SERVE, "N",
      "nesting of a request's JSON" },
    { "max-json-values", OPT_INT, F(server.max_json_values), "1000000", 1000, 1 << 30, CMD_SERVE, "N",
      "values in a request's JSON" },
    { "request-time", OPT_SECONDS, F(server.times.request_s), "300", 1, 86400, CMD_SERVE, "SECONDS",
      "time a client may take to send a whole request; working on it has no part in this" },
    { "idle-time", OPT_SECONDS, F(server.times.idle_s), "75", 1, 86400, CMD_SERVE, "SECONDS",
      "silence after which a connection is closed, between requests or in the middle of sending one" },
    { "read-time", OPT_SECONDS, F(server.times.read_s), "75", 1, 86400, CMD_SERVE, "SECONDS",
      "time a client may take nothing of a reply that waits for it before its connection is closed" },
    { "run-time", OPT_SECONDS, F(server.times.run_s), "0", 0, 1e7, CMD_SERVE, "SECONDS",
      "time a request may be worked on before it ends with 408; 0: no limit" },
    { "keepalive", OPT_SECONDS, F(server.times.keepalive_s), "5", 0.1, 3600, CMD_SERVE, "SECONDS",
      "silence after which an event stream gets a comment line, so that proxies keep it open" },
    { "drain-time", OPT_SECONDS, F(drain_s), "30", 0, 86400, CMD_SERVE, "SECONDS",
      "after SIGTERM, time for running requests to finish before they are cancelled; the process ends within 2 s of it" },
    { "strict-fields", OPT_BOOL, F(server.strict_fields), "yes", 0, 0, CMD_SERVE, NULL,
      "refuse request fields that no API defines; otherwise they are ignored" },
    { "include-stop", OPT_BOOL, F(server.include_stop), "no", 0, 0, CMD_SERVE, NULL,
      "on /inference paths, leave the matched stop string in the output (as that API did until late 2025)" },

    { "files", OPT_STR, F(files_dir), "", 0, 0, CMD_SERVE, "DIR",
      "folder of pictures that are handed out by URL; default: files beside the folder of models" },
    { "files-time", OPT_SECONDS, F(files_s), "3600", 1, 1e9, CMD_SERVE, "SECONDS",
      "how long such a picture can be fetched" },
    { "files-limit", OPT_BYTES, F(files_bytes), "1G", 1 << 20, 1e15, CMD_SERVE, "BYTES",
      "size of that folder; above it the oldest pictures go" },
    { "loras", OPT_STR, F(loras_dir), "", 0, 0, CMD_SERVE, "DIR",
      "folder of adapters that image requests may name; default: loras beside the folder of models" },
    { "safety", OPT_STR, F(safety_policy), "", 0, 0, CMD_SERVE | CMD_IMAGE, "FILE",
      "what happens to unsafe pictures, a file like catalog/safety.yaml in place of the built-in one" },

    { "url", OPT_STR, F(url), "", 0, 0, ASKS | CMD_IMAGE | CMD_MODELS | CMD_PS, "URL",
      "use a running server instead of loading a model, as http://host:port" },
    { "key", OPT_SECRET, F(key), "", 0, 0, ASKS | CMD_IMAGE | CMD_MODELS | CMD_PS, "KEY", "key for --url" },
    { "system", OPT_STR, F(system_text), "", 0, 0, CMD_CHAT, "TEXT", "system message" },
    { "max-tokens", OPT_INT, F(max_tokens), "-1", -1, 1 << 30, ASKS, "N",
      "tokens of a reply; -1: until the model ends or the context is full" },
    { "temperature", OPT_NUM, F(temperature), "0.7", 0, 2, ASKS, "T", "0: always the likeliest token" },
    { "top-p", OPT_NUM, F(top_p), "0.95", 0, 1, ASKS, "P", "draw from the likeliest tokens that make up this share" },
    { "top-k", OPT_INT, F(top_k), "0", 0, 1 << 30, ASKS, "N", "draw from this many likeliest tokens; 0: off" },
    { "min-p", OPT_NUM, F(min_p), "0", 0, 1, ASKS, "P", "leave out tokens below this share of the likeliest one" },
    { "repetition-penalty", OPT_NUM, F(repetition_penalty), "1", 0.01, 2, ASKS, "R", "above 1: repeat less" },
    { "seed", OPT_INT, F(seed), "-1", -1, 9e18, ASKS | CMD_IMAGE, "N", "the same seed gives the same answer; -1: a new one" },

    { "schema", OPT_STR, F(schema), "", 0, 0, ASKS, "FILE", "every answer is JSON that meets this JSON Schema" },
    { "grammar", OPT_STR, F(grammar), "", 0, 0, ASKS, "FILE", "every answer is one that this grammar (GBNF) derives from root" },
    { "regex", OPT_STR, F(regex), "", 0, 0, ASKS, "EXPR",
      "every answer matches this regular expression (ECMA-262) from its beginning to its end" },
    { "tools", OPT_STR, F(tools), "", 0, 0, CMD_CHAT, "FILE",
      "a JSON array of tools, as requests have them, that the model may call; calls are printed and their results asked for, or read line by line from a pipe" },
    { "tool-choice", OPT_STR, F(tool_choice), "", 0, 0, CMD_CHAT, "CHOICE",
      "auto, none, required or the name of a tool, which a message's first reply keeps to; default: auto" },
    { "reasoning", OPT_WORD, F(reasoning), "", 0, 0, CMD_CHAT, "none|low|medium|high",
      "how long the model thinks before it answers; thoughts are shown in a terminal alone; default: the model's own" },

    { "model", OPT_STR, F(model), "", 0, 0, CMD_IMAGE, "MODEL",
      "image model: a path or an installed name; default: the first one installed" },
    { "output", OPT_STR, F(output), "", 0, 0, CMD_IMAGE, "FILE",
      "(or -o) a .png, .jpg or .webp; of several pictures each gets its number; - is standard output; default: picture.png" },
    { "n", OPT_INT, F(pictures), "1", 1, 10, CMD_IMAGE, "N", "(or -n) pictures, drawn from seed, seed + 1, ..." },
    { "size", OPT_STR, F(size), "", 0, 0, CMD_IMAGE, "SIZE",
      "1344x768, 16:9 or landscape_16_9; default: the model's, or the input picture's" },
    { "steps", OPT_INT, F(steps), "0", 0, 1000, CMD_IMAGE, "N", "denoising steps; 0: the model's own" },
    { "guidance", OPT_NUM, F(guidance), "-1", -1, 100, CMD_IMAGE, "G",
      "how closely the prompt is followed; -1: the model's own" },
    { "negative", OPT_STR, F(negative), "", 0, 0, CMD_IMAGE, "TEXT", "what to keep away from, where the model takes it" },
    { "sampler", OPT_STR, F(sampler), "", 0, 0, CMD_IMAGE, "NAME", "in place of the model's own" },
    { "init", OPT_STR, F(init), "", 0, 0, CMD_IMAGE, "FILE", "start from this picture" },
    { "mask", OPT_STR, F(mask), "", 0, 0, CMD_IMAGE, "FILE",
      "with init, of its size: paint anew where this is transparent, or white when nothing is" },
    { "strength", OPT_NUM, F(strength), "-1", -1, 1, CMD_IMAGE, "S",
      "with init, how far to go from it; -1: 0.75, with a mask 1" },
    { "lora", OPT_LIST, F(lora), NULL, 0, 0, CMD_IMAGE, "FILE[:WEIGHT]", "an adapter to draw with (repeatable)" },
    { "overwrite", OPT_BOOL, F(overwrite), "no", 0, 0, CMD_IMAGE, NULL,
      "replace a picture file that is already there; otherwise it is kept and the command refuses" },
    { "show", OPT_BOOL, F(show), "no", 0, 0, CMD_IMAGE, NULL, "show the pictures in the terminal too" },
    { "steps-preview", OPT_BOOL, F(steps_preview), "no", 0, 0, CMD_IMAGE, NULL,
      "show in the terminal what every step has come to" },

    { "hub", OPT_STR, F(hub), "https://huggingface.co", 0, 0, CMD_PULL, "URL", "the hub behind hf: names" },
    { "hub-token", OPT_SECRET, F(hub_token), "", 0, 0, CMD_PULL, "TOKEN", "token for gated models of the hub" },
    { "tries", OPT_INT, F(tries), "6", 1, 1000, CMD_PULL, "N",
      "attempts in a row that bring nothing before a download is given up" },
    { "sha256", OPT_STR, F(sha256), "", 0, 0, CMD_PULL, "HEX", "what the file must hash to" },

    { "store", OPT_STR, F(store), "", 0, 0, CMD_STORE, "FILE|URL",
      "where keys and the ledger are: a file (SQLite), or postgresql://...; a password belongs into the environment or ~/.pgpass" },

    { "json", OPT_BOOL, F(json), "no", 0, 0, CMD_INSPECT | CMD_MODELS | CMD_PS | CMD_BENCH, NULL, "print JSON" },
};
/* clang-format on */

const size_t n_options_table = sizeof options_table / sizeof *options_table;
