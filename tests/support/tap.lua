local busted = require "busted"

-- What the tests of a file are made of. busted would keep it, and each collection in a later file
-- go through it again.
local function forget(element)
    local children = busted.children(element)
    for i, child in ipairs(children) do
        forget(child)
        for key in pairs(child) do child[key] = nil end
        children[i] = nil
    end
end

-- busted's TAP, for errors outside of tests too: of a file that is missing or cannot be compiled
-- busted knows no line, and its handler would fail for that instead of telling of the error.
return function(options)
    local handler = require "busted.outputHandlers.TAP"(options)
    local format = handler.format
    handler.format = function(...)
        local failure = format(...)
        local at = failure.element.trace or {}
        at.short_src = at.short_src or failure.element.name or "?"
        at.currentline = at.currentline or 0
        failure.element.trace = at
        return failure
    end
    busted.subscribe({ "file", "end" }, function(file)
        forget(file)
        return nil, true -- others may hear of it too
    end)
    return handler
end
