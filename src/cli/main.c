/* main.c - which commands there are. */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/options.h"
#include "format/json_memory.h"

static int cmd_help(int argc, char **argv);

static const struct command commands[] = {
    { "serve", CMD_SERVE, cmd_serve, "[MODEL...]", "serve models over HTTP",
      "MODEL is a GGUF file, a Hugging Face folder, or the name of an installed model. Whatever else is in\n"
      "the model folder is served as well, and loaded when it is first asked for." },
    { "chat", CMD_CHAT, cmd_chat, "[MODEL [MESSAGE...]]",
      "talk with a model in the terminal, or line by line through a pipe",
      "MODEL is as for serve; it may be left out when one text model is installed. With messages, they are "
      "answered and the\n"
      "command ends. Inside, /help lists the commands, Ctrl-C stops a reply." },
    { "complete", CMD_COMPLETE, cmd_complete, "[MODEL] [PROMPT]", "continue a text",
      "Without PROMPT the text on standard input is continued." },
    { "image", CMD_IMAGE, cmd_image, "PROMPT", "draw pictures",
      "The path and the seed of every picture are printed to standard output." },
    { "pull", CMD_PULL, cmd_pull, "MODEL", "fetch a model into the model folder",
      "MODEL is one of\n"
      "  NAME                             a model of the catalog, from where the catalog says\n"
      "  hf:OWNER/REPO[@REVISION]         what makes up the model; of a GGUF repository one quantisation\n"
      "  hf:OWNER/REPO[@REVISION]:Q8_0    this quantisation\n"
      "  hf:OWNER/REPO[@REVISION]/FILE    this file, with its parts when it is split\n"
      "  https://HOST/PATH/FILE           a .gguf or .safetensors file\n"
      "  PATH                             a local file or folder, copied\n"
      "A pull that was interrupted goes on where it stopped. The installed path is printed to standard "
      "output." },
    { "models", CMD_MODELS, cmd_models, "", "list what is installed, and what the catalog knows besides",
      NULL },
    { "inspect", CMD_INSPECT, cmd_inspect, "FILE|DIR|NAME",
      "show what a model's files hold and what memory it takes", NULL },
    { "bench", CMD_BENCH, cmd_bench, "MODEL", "measure how fast a text model runs here",
      "Prompt processing over 512 tokens, generation of 128, and 1, 8 and 16 sequences at once: the best of "
      "three "
      "each." },
    { "ps", CMD_PS, cmd_ps, "", "list the models that a running server has in memory",
      "Without --url the server on this machine's usual port is asked." },
    { "rm", CMD_RM, cmd_rm, "NAME...", "remove installed models from the model folder", NULL },
    { "version", CMD_VERSION, cmd_version, "", "print the version", NULL },
};

/* What people type who come from other programs. */
static const struct {
    const char *typed, *name;
} also[] = {
    { "run", "chat" },   { "list", "models" },       { "ls", "models" },   { "show", "inspect" },
    { "remove", "rm" },  { "generate", "complete" }, { "start", "serve" }, { "--version", "version" },
    { "-v", "version" }, { "-V", "version" },
};

const struct command *cli_command(enum command_bit bit)
{
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (commands[i].bit == bit) return &commands[i];
    return NULL;
}

static void print_commands(FILE *f)
{
    fprintf(f, "hearth %s - language and image models behind the APIs you already use\n\n", HEARTH_VERSION);
    fprintf(f, "usage: hearth COMMAND [OPTIONS] [ARGUMENTS]\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(f, "\n`hearth help COMMAND` describes a command and its options.\n");
}

int cmd_version(int argc, char **argv)
{
    struct options o;
    int rc = options_parse(&o, CMD_VERSION, argc, argv);
    if (rc < 0) {
        printf("hearth %s\n", HEARTH_VERSION);
        rc = 0;
    }
    options_free(&o);
    return rc;
}

/* The command that this word means; NULL when it means none. */
static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof also / sizeof *also; i++)
        if (!strcmp(also[i].typed, name)) name = also[i].name;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (!strcmp(commands[i].name, name)) return &commands[i];
    return NULL;
}

static int unknown_command(const char *name)
{
    if (!strcmp(name, "stop"))
        fprintf(stderr, "hearth: a model leaves memory by itself when another needs it; Ctrl-C or SIGTERM "
                        "ends a server\n");
    else
        fprintf(stderr, "hearth: there is no command \"%s\"; `hearth help` lists them\n", name);
    return 2;
}

/* hearth help [COMMAND | --markdown] */
static int cmd_help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
    } else if (!strcmp(argv[1], "--markdown")) {
        options_print_markdown();
    } else {
        const struct command *c = find_command(argv[1]);
        if (!c) return unknown_command(argv[1]);
        char name[32], help[] = "--help", *args[] = { name, help, NULL };
        snprintf(name, sizeof name, "%s", c->name);
        return c->run(2, args);
    }
    return 0;
}

/* What did not get written must not look like success; a reader that went away had what it wanted. */
static int finish(const char *name, int rc)
{
    bool failed = fflush(stdout) || ferror(stdout);
    struct pollfd out = { .fd = STDOUT_FILENO };
    bool nobody_reads = poll(&out, 1, 0) > 0 && (out.revents & POLLERR);
    if (!failed || nobody_reads || rc) return rc;
    fprintf(stderr, "hearth %s: not everything could be written to standard output\n", name);
    return 1;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE,
           SIG_IGN); /* a reader that went away is an error of that write, not the end of the process */
    signal(SIGXFSZ, SIG_IGN); /* so is a file that grows over the limit of a process */
    json_memory_init();
    json_object_seed(0); /* both before there are threads */
    if (argc < 2) {
        print_commands(stderr);
        return 2;
    }
    const char *name = argv[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return finish(name, cmd_help(argc - 1, argv + 1));
    const struct command *c = find_command(name);
    return c ? finish(name, c->run(argc - 1, argv + 1)) : unknown_command(name);
}
