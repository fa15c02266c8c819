-- The smallest server: links examples/hello.lua, then open http://127.0.0.1:8080/
require "http".createServer(8080, function() return "hello\n" end)
