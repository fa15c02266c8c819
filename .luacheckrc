std = "luajit"
max_line_length = 100
-- A method may leave self alone, and a callback its last arguments.
unused_args = false
self = false

-- The runtime replaces some of these; see src/lua and lib/links.
files["lib/links/**/*.lua"] = {
    globals = {
        "arg", "argv", "coroutine", "dofile", "load", "loadfile", "os", "package", "require",
        "string", "table",
    },
}
files["tests/**/*_spec.lua"] = {std = "+busted"}
files["tests/busted.lua"] = {globals = {"arg"}}
