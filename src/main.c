/*
 * The links program: reads the command line, opens the loop and the VM, runs the script, and
 * leaves as the script, a signal or an error says.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ev/ev.h"
#include "lua/vm.h"
#include "modules/modules.h"
#include "modules/net/inherited.h"
#include "modules/process/notify.h"
#include "modules/process/process.h"
#include "modules/process/spawn.h"
#include "modules/process/unit.h"
#include "version.h"

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: links [options] [script [argument...]]\n"
    "       links top|profile|admin pid|path [argument...]\n"
    "\n"
    "  script    a Lua file; - is standard input\n"
    "  -e CODE   run CODE\n"
    "  -l MODULE require MODULE, into a global of that name\n"
    "  -w N      run the script in N workers (or auto: one for each processor)\n"
    "  --strict  writing an undeclared global is an error, not a warning\n"
    "  -v        print the versions and exit\n"
    "  -h        print this and exit\n"
    "  --        end of the options\n"
    "\n"
    "  top       show how the processes of a running program do\n"
    "  profile   show where it spends its time\n"
    "  admin     ask it something: links admin pid help\n"
    "\n"
    "  links app.lua        serves whatever app.lua makes: see man links\n";

/* --- the command line ---------------------------------------------------------------------- */

static int bad_usage(const char *problem, const char *what)
{
    fprintf(stderr, "links: %s%s (links -h lists the options)\n", problem, what);
    return EXIT_USAGE;
}

/* The argument of an option, behind it or next to it. */
static const char *option_argument(char **argv, int argc, int *i)
{
    if (argv[*i][2])
        return argv[*i] + 2;
    if (*i + 1 < argc)
        return argv[++*i];
    return NULL;
}

static int add_first(vm_program *p, char kind, const char *text)
{
    if (!text)
        return bad_usage("an argument is missing after -", (char[]){kind, 0});
    if (p->nfirst == (int)(sizeof(p->first) / sizeof(*p->first)))
        return bad_usage("too many options: at most 64 of -e and -l", "");
    p->first[p->nfirst].kind = kind;
    p->first[p->nfirst++].text = text;
    return 0;
}

/* 0 to go on, -1 when all is done, or the exit code of a mistake. */
static int parse_option(vm_program *p, char **argv, int argc, int *i)
{
    const char *option = argv[*i];
    if (strcmp(option, "--strict") == 0) {
        p->strict = true;
        return 0;
    }
    if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
        fputs(usage, stdout);
        return -1;
    }
    if (strcmp(option, "-v") == 0 || strcmp(option, "--version") == 0) {
        vm_print_versions();
        modules_print_versions();
        return -1;
    }
    if (option[1] == 'e' || option[1] == 'l')
        return add_first(p, option[1], option_argument(argv, argc, i));
    if (option[1] == 'w') {
        p->workers = option_argument(argv, argc, i);
        return p->workers ? 0 : bad_usage("an argument is missing after -w", "");
    }
    return bad_usage("unknown option ", option);
}

/* The name of one of links' own programs; NULL: a script, which `./top` would be as well. */
static const char *tool_of(const char *name)
{
    static const char *const tools[] = {"top", "profile", "admin"};
    for (size_t i = 0; i < sizeof(tools) / sizeof(*tools); i++)
        if (strcmp(name, tools[i]) == 0)
            return tools[i];
    return NULL;
}

static int parse(vm_program *p, int argc, char **argv)
{
    int i = 1;
    p->tool = argc > 1 ? tool_of(argv[1]) : NULL;
    if (p->tool) {
        p->argv = argv;
        p->argc = argc;
        p->script = 1;
        return 0;
    }
    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        int rc = parse_option(p, argv, argc, &i);
        if (rc)
            return rc;
    }
    p->argv = argv;
    p->argc = argc;
    p->is_worker = links_worker_settings() != NULL;
    p->is_service = links_notify_socket() != NULL;
    if (i < argc) {
        p->script = i;
        p->from_stdin = strcmp(argv[i], "-") == 0;
    } else if (!p->nfirst) {
        if (isatty(STDIN_FILENO)) {
            fputs(usage, stderr);
            return EXIT_USAGE;
        }
        p->from_stdin = true;
    }
    return 0;
}

/* --- running ------------------------------------------------------------------------------- */

/* The exit code of a loop that has ended by itself, or by core.exit. */
static int exit_code(int loop_rc)
{
    int code = 0;
    if (vm_exit_asked(&code))
        return code;
    if (loop_rc < 0) {
        fprintf(stderr, "links: the event loop cannot wait: %s\n", strerror(-loop_rc));
        return EXIT_FAILURE;
    }
    if (!vm_main_over()) {
        const char *what = vm_main_waits();
        fprintf(stderr,
                "links: deadlock: the main program waits (%s) and nothing is left to wake it\n",
                what ? what : "?");
        return EXIT_FAILURE;
    }
    if (vm_main_failed())
        return EXIT_FAILURE;
    if (vm_last_words()) {
        fprintf(stderr, "links: %s\n", vm_last_words());
        return EXIT_FAILURE;
    }
    return 0;
}

/* Where one of these is closed, the next file or socket would get its number, and what is printed
 * would land in there. */
static void fill_stdio(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
    fill_stdio();
    process_arguments(argc, argv);
    vm_program program = {0};
    int rc = parse(&program, argc, argv);
    if (rc)
        return rc < 0 ? 0 : rc;

    char why[128];
    if (inherited_open(why, sizeof(why)) < 0) {
        fprintf(stderr, "links: %s\n", why);
        return EXIT_FAILURE;
    }
    spawn_enter();
    spawn_raise_limits();
    ev_loop *loop = ev_loop_new();
    if (!loop) {
        fprintf(stderr, "links: cannot make an event loop: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    if (vm_open(loop) < 0) {
        fprintf(stderr, "links: cannot make a Lua VM: out of memory\n");
        ev_loop_free(loop);
        return EXIT_FAILURE;
    }
    modules_open(loop);
    ending_open(loop);

    vm_start(&program);
    int code = 0;
    if (!vm_exit_asked(&code))
        rc = ev_loop_run(loop);
    if (!ending_asked())
        code = exit_code(rc);
    ending_wind_down(loop, code);

    ending_close(loop);
    vm_close();
    modules_close(loop);
    ev_loop_free(loop);
    fflush(stdout);
    return ending_finish();
}
