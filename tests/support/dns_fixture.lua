-- What the specs of the resolver have in common: servers and files that are gone after each test.
local dns = require "links.dns"
local dns_server = require "dns_server"
local udp = require "links.udp"

local fixture = {}

local servers, files = {}, {}

function fixture.write_file(path, text)
    local file = assert(io.open(path, "w"))
    file:write(text)
    file:close()
end

function fixture.temporary(text)
    local path = os.tmpname()
    files[#files + 1] = path
    fixture.write_file(path, text)
    return path
end

-- A server that all questions go to, unless the call says otherwise.
function fixture.serve(zones, options)
    local server = dns_server.start(zones, options)
    servers[#servers + 1] = server
    dns.setServers { server.address }
    return server
end

-- The address of a server that is there, and never answers.
function fixture.black_hole()
    local socket = assert(udp.createSocket(0, "127.0.0.1"))
    servers[#servers + 1] = socket
    return "127.0.0.1:" .. socket:localAddress().port, socket
end

-- The address of a server that is not there.
function fixture.nobody()
    local socket = assert(udp.createSocket(0, "127.0.0.1"))
    local port = socket:localAddress().port
    socket:close()
    return "127.0.0.1:" .. port
end

function fixture.configure(hosts, resolv_conf)
    dns.configure { hosts = fixture.temporary(hosts), resolvConf = fixture.temporary(resolv_conf) }
end

function fixture.name_of(...)
    local value, err = ...
    assert(value == nil, "there is no error")
    return err.name
end

-- To be closed after the test.
function fixture.keep(closable)
    servers[#servers + 1] = closable
end

-- Before each test of a spec: no cache, and files that say next to nothing.
function fixture.before()
    fixture.configure("127.0.0.1 localhost\n::1 localhost\n",
        "search .\nnameserver 127.0.0.1\n")
    dns.configure { cacheSize = 4096, minTtl = 0, maxTtl = 86400, maxNegativeTtl = 900 }
    dns.clearCache()
end

function fixture.after()
    dns.setServers(nil)
    for _, server in ipairs(servers) do server:close() end
    for _, path in ipairs(files) do os.remove(path) end
    servers, files = {}, {}
end

return fixture
