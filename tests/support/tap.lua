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
    return handler
end
