/* main.c - the command line's first word. */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/version.h"
#include "cli/cli.h"
#include "cli/first.h"
#include "cli/manual.h"
#include "cli/options.h"
#include "http/described.h"
#include "format/json_memory.h"

static void print_commands(FILE *f)
{
    fprintf(f, "hearth %s - language and image models behind the APIs you already use\n\n", hearth_version);
    fprintf(f, "usage: hearth COMMAND [OPTIONS] [ARGUMENTS]\n\n");
    for (int i = 0; i < N_COMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(f, "\n`hearth help COMMAND` describes a command and its options.\n");
}

static int unknown_command(const char *name)
{
    fprintf(stderr, "hearth: there is no command \"%s\"; `hearth help` lists them\n", name);
    return 2;
}

/* What docs/endpoints.md holds. */
static int print_api(void)
{
    struct buf b = BUF_INIT(0);
    const bool ok = described_markdown(&b);
    if (ok) fwrite(b.data, 1, b.len, stdout);
    buf_free(&b);
    if (!ok) fprintf(stderr, "hearth help: out of memory\n");
    return ok ? 0 : 1;
}

/* hearth help [COMMAND | --markdown | --api-markdown | --man] */
static int cmd_help(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
    } else if (!strcmp(argv[1], "--markdown")) {
        options_print_markdown();
    } else if (!strcmp(argv[1], "--man")) {
        manual_print();
    } else if (!strcmp(argv[1], "--api-markdown")) {
        return print_api();
    } else {
        const struct command *c = cli_find(argv[1]);
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
    if (argc < 2) return finish("help", first_steps());
    const char *name = argv[1];
    if (!strcmp(name, "help") || !strcmp(name, "--help") || !strcmp(name, "-h"))
        return finish(name, cmd_help(argc - 1, argv + 1));
    const struct command *c = cli_find(name);
    return c ? finish(name, c->run(argc - 1, argv + 1)) : unknown_command(name);
}
