/*
 * Compiles the Lua library, and writes the C file that carries it inside the program (see
 * src/lua/lualib.h). A program of the build, not of what is built:
 *
 *     embed compiled|source CHUNKS FILE... >lualib.c
 *
 * FILE is a path that begins with lib/. All go into the file CHUNKS, one behind the other, and are
 * taken up from there by the assembler (.incbin). Lines and names of variables stay in bytecode:
 * errors and tracebacks are what they would be of the source. The source itself is for programs
 * that are linked when they start, perhaps with a LuaJIT of other bytecode.
 */
#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 120 };

typedef struct source {
    const char *path;
    char name[NAME_MAX_LEN]; /* links.http.server of lib/links/http/server.lua */
    long begin, end;         /* in CHUNKS */
} source;

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
    fprintf(stderr, "embed: %s: %s\n", what, why);
    exit(1);
}

static void name_source(source *s, const char *path)
{
    size_t len = strlen(path);
    if (strncmp(path, "lib/", 4) != 0 || len < 9 || strcmp(path + len - 4, ".lua") != 0)
        die(path, "not a Lua file below lib/");
    if (len - 8 >= sizeof(s->name))
        die(path, "its name is too long");
    s->path = path;
    memcpy(s->name, path + 4, len - 8);
    s->name[len - 8] = '\0';
    for (char *p = s->name; *p; p++)
        if (*p == '/')
            *p = '.';
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const source *)a)->name, ((const source *)b)->name);
}

static int write_piece(lua_State *L, const void *data, size_t len, void *out)
{
    (void)L;
    return fwrite(data, 1, len, out) != len;
}

/* The text of a file, and its length in *len; to be freed. */
static char *read_all(const char *path, size_t *len)
{
    FILE *in = fopen(path, "rb");
    if (!in)
        die(path, strerror(errno));
    char *text = NULL;
    size_t room = 0;
    *len = 0;
    do {
        room += 65536;
        text = realloc(text, room);
        if (!text)
            die(path, "no memory");
        *len += fread(text + *len, 1, room - *len, in);
    } while (*len == room);
    if (ferror(in))
        die(path, strerror(errno));
    fclose(in);
    return text;
}

static void put(lua_State *L, source *s, bool compiled, FILE *out)
{
    size_t len;
    char *text = read_all(s->path, &len);
    /* As the library names itself in messages: links/http/server.lua. */
    lua_pushfstring(L, "=%s", s->path + 4);
    if (luaL_loadbuffer(L, text, len, lua_tostring(L, 1)))
        die("lib", lua_tostring(L, -1));
    s->begin = ftell(out);
    if (compiled ? lua_dump(L, write_piece, out) : write_piece(L, text, len, out))
        die(s->path, strerror(errno));
    s->end = ftell(out);
    lua_settop(L, 0);
    free(text);
}

static void write_table(const source *sources, int count, const char *chunks)
{
    printf(
        "/* Made by lib/embed.c. */\n"
        "#include \"lua/lualib.h\"\n"
        "\n"
        "#ifdef __APPLE__\n"
        "#define SECTION \".section __TEXT,__const\\n\"\n"
        "#define LABEL \"_lualib_chunks\"\n"
        "#else\n"
        "#define SECTION \".section .rodata,\\\"a\\\"\\n\"\n"
        "#define LABEL \"lualib_chunks\"\n"
        "#endif\n"
        "\n"
        "__asm__(SECTION LABEL \":\\n\"\n"
        "        \".incbin \\\"%s\\\"\\n\"\n"
        "        \".text\\n\");\n"
        "\n"
        "/* Declared under the name that it has in the assembler. */\n"
        "extern const char lualib_chunks[];\n"
        "\n"
        "const lualib_file lualib_files[] = {\n",
        chunks);
    for (const source *s = sources; s < sources + count; s++)
        printf("    {\"%s\", \"=%s\", lualib_chunks + %ld, %ld},\n", s->name, s->path + 4, s->begin,
               s->end - s->begin);
    printf(
        "    {0, 0, 0, 0}, /* not counted: C has no empty arrays */\n"
        "};\n"
        "\n"
        "const size_t lualib_count = %d;\n",
        count);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        die("usage", "embed compiled|source CHUNKS FILE... >lualib.c");
    bool compiled = strcmp(argv[1], "compiled") == 0;
    const char *chunks = argv[2];
    int count = argc - 3;
    source *sources = calloc((size_t)count + 1, sizeof(*sources));
    FILE *out = fopen(chunks, "wb");
    lua_State *L = luaL_newstate();
    if (!sources || !out || !L)
        die(chunks, strerror(errno));
    luaL_openlibs(L); /* numbers such as 1LL are the FFI's */
    for (int i = 0; i < count; i++)
        name_source(&sources[i], argv[i + 3]);
    qsort(sources, (size_t)count, sizeof(*sources), by_name);
    for (int i = 0; i < count; i++)
        put(L, &sources[i], compiled, out);
    if (fclose(out))
        die(chunks, strerror(errno));
    write_table(sources, count, chunks);
    lua_close(L);
    free(sources);
    if (fflush(stdout))
        die("standard output", strerror(errno));
    return 0;
}
