std = "luajit"
max_line_length = 100
max_string_line_length = 120
-- A method may leave self alone, and a callback its last arguments.
unused_args = false
self = false

-- The runtime replaces some of these; see src/lua and lib/links.
files["lib/links/**/*.lua"] = {
    globals = {
        "arg", "argv", "coroutine", "debug", "dofile", "load", "loadfile", "os", "package",
        "require", "string", "table",
    },
}
files["tests/**/*_spec.lua"] = {std = "+busted", globals = {"io"}}
files["tests/busted.lua"] = {globals = {"arg"}}
