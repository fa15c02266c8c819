-- Sending files, which many programs do without: loaded when it is first used.
local response = {}

function response.sendFile(res, name, options)
    return require("links.http.static").sendFile(res, name, options)
end

return { response = response }
