-- What the server makes of bytes: each case whole and split at every byte, alone and pipelined
-- between good requests. The handler answers with the method, the target and the body, so that a
-- request that was read differently from how it was meant shows.
package.path = "tests/support/?.lua;" .. package.path

local http = require "http"
local wire = require "wire"

local GOOD = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
local GOOD_BODY = "GET /good []"

local function get(fields) return "GET /x HTTP/1.1\r\n" .. fields .. "\r\n" end

local function post(fields, body)
    return "POST /x HTTP/1.1\r\nHost: a\r\n" .. fields .. "\r\n" .. (body or "")
end

local function chunks(body) return post("Transfer-Encoding: chunked\r\n", body) end

-- Requests that are answered: their bytes, and what the handler has seen.
local ACCEPTED = {
    { "a plain request", get "Host: a\r\n", "GET /x []" },
    { "HTTP/1.0 kept alive", "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /x []" },
    { "an empty line before the request", "\r\n" .. get "Host: a\r\n", "GET /x []" },
    { "blanks around a value", get "Host:\t a \t\r\n", "GET /x []" },
    { "an empty value", get "Host: a\r\nX:\r\nY: \r\n", "GET /x []" },
    { "an empty host", get "Host:\r\n", "GET /x []" },
    { "a host with a port", get "Host: a-b.c_d~:65535\r\n", "GET /x []" },
    { "a host with an empty port", get "Host: a:\r\n", "GET /x []" },
    { "an IPv6 address for a host", get "Host: [2001:DB8::1.2.3.4]\r\n", "GET /x []" },
    { "an IPv6 address with a port", get "Host: [::1]:80\r\n", "GET /x []" },
    { "a Transfer_Encoding, which is no such field",
        get "Host: a\r\nTransfer_Encoding: chunked\r\n", "GET /x []" },
    { "a Content-Encoding of chunked, which says nothing of the framing",
        post("Content-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        "POST /x [0\r\n\r\n]" },
    { "obs-text in the target", "GET /\195\169 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /\195\169 []" },
    { "an expectation without a body", get "Host: a\r\nExpect: 100-continue\r\n", "GET /x []" },
    { "an expectation of HTTP/1.0, which has none",
        "GET /x HTTP/1.0\r\nConnection: keep-alive\r\nExpect: a-pony\r\n\r\n", "GET /x []" },
    { "an upgrade that nobody takes up",
        get "Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n", "GET /x []" },
    { "obs-text in a value", get "Host: a\r\nX: \200\255\r\n", "GET /x []" },
    { "every token character in a name", get "Host: a\r\n!#$%&'*+-.^_`|~09aZ: x\r\n", "GET /x []" },
    { "a query with odd characters", "GET /x?a=[]{}|\"<>^` HTTP/1.1\r\nHost: a\r\n\r\n",
        'GET /x?a=[]{}|"<>^` []' },
    { "OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * []" },
    { "the absolute form", "GET http://A:1/x HTTP/1.1\r\nHost: a:1\r\n\r\n",
        "GET http://A:1/x []" },
    { "a body by length", post("Content-Length: 5\r\n", "hello"), "POST /x [hello]" },
    { "a length of zero", post "Content-Length: 0\r\n", "POST /x []" },
    { "a length with leading zeros", post("Content-Length: 0005\r\n", "hello"), "POST /x [hello]" },
    { "a body on GET", get "Host: a\r\nContent-Length: 3\r\n" .. "abc", "GET /x [abc]" },
    { "chunks", chunks("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"), "POST /x [hello!]" },
    { "chunks in any case", post("transfer-ENCODING: Chunked\r\n", "A\r\n0123456789\r\n0\r\n\r\n"),
        "POST /x [0123456789]" },
    { "chunk extensions", chunks("1;a=b;c=\"d;e\"\r\nx\r\n0;z\r\n\r\n"), "POST /x [x]" },
    { "a quoted pair in a chunk extension", chunks('1;a="\\"b"\r\nx\r\n0\r\n\r\n'), "POST /x [x]" },
    { "trailers", chunks("1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n"), "POST /x [x]" },
    { "a chunk size with leading zeros", chunks("0001\r\nx\r\n000\r\n\r\n"), "POST /x [x]" },
    { "a chunk size of 16 digits", chunks("0000000000000001\r\nx\r\n0\r\n\r\n"), "POST /x [x]" },
    { "a length among the trailers, which is none", chunks("0\r\nContent-Length: 9\r\n\r\n"),
        "POST /x []" },
    { "a body that looks like a request", post("Content-Length: 33\r\n",
        "GET /evil HTTP/1.1\r\nHost: evil\r\n\r"),
        "POST /x [GET /evil HTTP/1.1\r\nHost: evil\r\n\r]" },
}

-- Requests that are refused, after which the connection is closed.
local REFUSED = {
    { "no Host", get "", 400 },
    { "two Hosts", get "Host: a\r\nHost: a\r\n", 400 },
    { "a Host with a blank inside", get "Host: a b\r\n", 400 },
    { "a Host with a path", get "Host: a/b\r\n", 400 },
    { "a Host with a user", get "Host: a@b\r\n", 400 },
    { "a Host with a port that is no number", get "Host: a:b\r\n", 400 },
    { "a Host with a port of six digits", get "Host: a:123456\r\n", 400 },
    { "a Host with two ports", get "Host: a:1:2\r\n", 400 },
    { "a Host that is an IPv6 address without brackets", get "Host: ::1\r\n", 400 },
    { "a Host whose bracket is not closed", get "Host: [::1\r\n", 400 },
    { "a Host with something behind its bracket", get "Host: [::1]a\r\n", 400 },
    { "a Host with empty brackets", get "Host: []\r\n", 400 },
    { "a Host with brackets around no address", get "Host: [g]\r\n", 400 },
    { "a user in the target", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target without a host", "GET http:///x HTTP/1.1\r\nHost:\r\n\r\n", 400 },
    { "two Hosts of HTTP/1.0", "GET /x HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400 },
    { "a Host that is not that of the target", "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a space before the colon", get "Host: a\r\nX : b\r\n", 400 },
    { "a tab before the colon", get "Host: a\r\nX\t: b\r\n", 400 },
    { "a space before a name", get "Host: a\r\n X: b\r\n", 400 },
    { "a space in a name", get "Host: a\r\nX Y: b\r\n", 400 },
    { "an empty name", get "Host: a\r\n: b\r\n", 400 },
    { "no colon", get "Host: a\r\nX\r\n", 400 },
    { "obs-fold", get "Host: a\r\nX: b\r\n c\r\n", 400 },
    { "obs-fold after an empty value", get "Host: a\r\nX:\r\n\tc\r\n", 400 },
    { "a fold of the first field", "GET /x HTTP/1.1\r\n Host: a\r\n\r\n", 400 },
    { "a bare LF after the request line", "GET /x HTTP/1.1\nHost: a\r\n\r\n", 400 },
    { "a bare LF after a field", "GET /x HTTP/1.1\r\nHost: a\n\r\n", 400 },
    { "a bare LF at the end", "GET /x HTTP/1.1\r\nHost: a\r\n\n", 400 },
    { "bare LFs throughout", "GET /x HTTP/1.1\nHost: a\n\n", 400 },
    { "a bare CR in a value", get "Host: a\r\nX: b\rc\r\n", 400 },
    { "a bare CR in a name", get "Host: a\r\nX\rY: b\r\n", 400 },
    { "a bare CR before the end", "GET /x HTTP/1.1\r\nHost: a\r\n\rX", 400 },
    { "a bare LF before the request", "\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a NUL in a value", get "Host: a\r\nX: b\0c\r\n", 400 },
    { "a control in a value", get "Host: a\r\nX: b\1c\r\n", 400 },
    { "a DEL in a value", get "Host: a\r\nX: b\127\r\n", 400 },
    { "a NUL in a name", get "Host: a\r\nX\0: b\r\n", 400 },
    { "obs-text in a name", get "Host: a\r\nX\200: b\r\n", 400 },
    { "a NUL in the target", "GET /x\0y HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a tab in the target", "GET /x\ty HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a DEL in the target", "GET /x\127y HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a fragment in the target", "GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target that is no path", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a target of another scheme", "GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "GET *", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "two spaces after the method", "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "two spaces before the version", "GET /x  HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a space after the version", "GET /x HTTP/1.1 \r\nHost: a\r\n\r\n", 400 },
    { "no version", "GET /x\r\nHost: a\r\n\r\n", { 400, 505 } },
    { "a version in small letters", "GET /x http/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a version of two digits", "GET /x HTTP/1.10\r\nHost: a\r\n\r\n", 400 },
    { "a version with a leading zero", "GET /x HTTP/01.1\r\nHost: a\r\n\r\n", 400 },
    { "a version without a minor", "GET /x HTTP/1.\r\nHost: a\r\n\r\n", 400 },
    { "another protocol", "GET /x ICY/1.1\r\nHost: a\r\n\r\n", 400 },
    { "HTTP/0.9", "GET /x HTTP/0.9\r\nHost: a\r\n\r\n", 505 },
    { "HTTP/2.0", "GET /x HTTP/2.0\r\nHost: a\r\n\r\n", 505 },
    { "HTTP/1.2", "GET /x HTTP/1.2\r\nHost: a\r\n\r\n", 505 },
    { "a method that nobody knows", "FETCH /x HTTP/1.1\r\nHost: a\r\n\r\n", 501 },
    { "a method in small letters", "get /x HTTP/1.1\r\nHost: a\r\n\r\n", 501 },
    { "tabs in the request line", "GET\t/x\tHTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a LF in the request line", "GET /x\nHTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "a byte order mark", "\239\187\191GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "nine empty lines", ("\r\n"):rep(9), 400 },
    { "CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 405 },
    { "TRACE", "TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 405 },
    { "a TLS hello", "\22\3\1\2\0\1\0\1\252\3\3", 400 },
    { "both lengths", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        400 },
    { "both lengths, the other way", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "0\r\n\r\n"), 400 },
    { "a length beside what begins like the other",
        post("Content-Length: 5\r\nTransfer-Encodings: x\r\n", "hello"), 400 },
    { "two lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"), 400 },
    { "the same length twice", post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 400 },
    { "a list of lengths", post("Content-Length: 5, 5\r\n", "hello"), 400 },
    { "a signed length", post("Content-Length: +5\r\n", "hello"), 400 },
    { "a negative length", post("Content-Length: -5\r\n", "hello"), 400 },
    { "a spaced length", post("Content-Length: 5 5\r\n", "hello"), 400 },
    { "a hexadecimal length", post("Content-Length: 0x5\r\n", "hello"), 400 },
    { "an empty length", post("Content-Length:\r\n", "hello"), 400 },
    { "a length beyond 64 bits", post("Content-Length: 18446744073709551621\r\n", "hello"), 400 },
    { "a length of 64 bits less one", post("Content-Length: 18446744073709551615\r\n", "hello"),
        400 },
    { "a tab behind a length", post("Content-Length: 5\t\r\n", "hello"), 400 },
    { "a length with an underscore", post("Content-Length: 1_0\r\n", "0123456789"), 400 },
    { "a length with a letter behind it", post("Content-Length: 5x\r\n", "hello"), 400 },
    { "an empty length before another", post("Content-Length:\r\nContent-Length: 5\r\n", "hello"),
        400 },
    { "a length and an empty one", post("Content-Length: 5\r\nContent-Length:\r\n", "hello"), 400 },
    { "a length with a fraction", post("Content-Length: 5.0\r\n", "hello"), 400 },
    { "chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "0\r\n\r\n"), 400 },
    { "chunked that is not the last", post("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        400 },
    { "an empty element before chunked", post("Transfer-Encoding: , chunked\r\n", "0\r\n\r\n"),
        400 },
    { "an empty element behind chunked", post("Transfer-Encoding: chunked,\r\n", "0\r\n\r\n"),
        400 },
    { "chunked with a parameter", post("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"), 400 },
    { "chunked behind another coding", post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        400 },
    { "another coding in a field before",
        post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunked with obs-text around it",
        post("Transfer-Encoding: \160chunked\160\r\n", "0\r\n\r\n"), 400 },
    { "chunked behind a bare CR", get "Host: a\r\nX: y\rTransfer-Encoding: chunked\r\n", 400 },
    { "chunked behind a bare LF", post("X: y\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400 },
    { "another coding", post("Transfer-Encoding: gzip\r\n", "0\r\n\r\n"), 400 },
    { "identity", post("Transfer-Encoding: identity\r\n", ""), 400 },
    { "an empty coding", post("Transfer-Encoding:\r\n", ""), 400 },
    { "a quoted coding", post("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 400 },
    { "chunked with a vertical tab", post("Transfer-Encoding: \11chunked\r\n", "0\r\n\r\n"), 400 },
    { "chunks to HTTP/1.0",
        "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
    { "both lengths to HTTP/1.0",
        "POST /x HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400 },
    { "an expectation that nobody knows", post("Expect: a-pony\r\nContent-Length: 1\r\n", "x"),
        417 },
    { "a chunk size that is none", chunks("x\r\n"), 400 },
    { "an empty chunk size", chunks("\r\nhello"), 400 },
    { "a chunk size that is an extension only", chunks(";a\r\n\r\n"), 400 },
    { "a negative chunk size", chunks("-1\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk size with an underscore", chunks("0_5\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a tab after a chunk size", chunks("5\t\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a signed chunk size", chunks("+5\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a prefixed chunk size", chunks("0x5\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a blank before a chunk size", chunks(" 5\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a blank after a chunk size", chunks("5 \r\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk size that overflows", chunks("10000000000000005\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk size of all bits", chunks("ffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk size of 17 digits", chunks("00000000000000005\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk without its end", chunks("5\r\nhello0\r\n\r\n"), 400 },
    { "a NUL in a chunk extension", chunks("5;a\0\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a CR in a chunk extension", chunks("5;a\r\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a quoted string in a chunk extension that does not end",
        chunks('5;a="b\r\nhello\r\n0\r\n\r\n'), 400 },
    { "a line end in a quoted pair", chunks('5;a="b\\\r\n"\r\nhello\r\n0\r\n\r\n'), 400 },
    { "a chunk that is longer than its size", chunks("4\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk that ends in LF", chunks("5\r\nhello\n0\r\n\r\n"), 400 },
    { "a chunk size that ends in LF", chunks("5\nhello\r\n0\r\n\r\n"), 400 },
    { "a chunk size with a bare CR", chunks("5\rhello\r\n0\r\n\r\n"), 400 },
    { "a CR and another byte behind a chunk size", chunks("5\rXhello\r\n0\r\n\r\n"), 400 },
    { "a CR and another byte behind a chunk", chunks("5\r\nhello\rX\n0\r\n\r\n"), 400 },
    { "a CR and another byte behind the last chunk", chunks("0\r\n\rX\n"), 400 },
    { "a NUL in a quoted pair", chunks('5;a="\\\0"\r\nhello\r\n0\r\n\r\n'), 400 },
    { "a LF in a chunk extension", chunks("5;a\nb\r\nhello\r\n0\r\n\r\n"), 400 },
    { "a trailer that ends in LF", chunks("0\r\nA: b\n\r\n"), 400 },
    { "a trailer without a name", chunks("0\r\n: b\r\n\r\n"), 400 },
    { "a space before the colon of a trailer", chunks("0\r\nA : b\r\n\r\n"), 400 },
    { "a NUL in a trailer", chunks("0\r\nA: \0\r\n\r\n"), 400 },
    { "a bare CR in a trailer", chunks("0\r\nA: b\rC: d\r\n\r\n"), 400 },
    { "a trailer without a colon", chunks("0\r\nA\r\n\r\n"), 400 },
    { "a folded trailer", chunks("0\r\nA: b\r\n c\r\n\r\n"), 400 },
    { "chunks that end in LF", chunks("0\r\n\n"), 400 },
}

local server, port

setup(function()
    server = assert(http.createServer(0, function(req)
        local body, err = req:body()
        if err then return nil, err end
        return req.method .. " " .. req.url .. " [" .. body .. "]"
    end, { host = "127.0.0.1" }))
    port = server:address().port
end)

teardown(function() server:close(0) end)

local function expect_answer(c, case)
    local res = assert(c:response())
    assert.same({ 200, case[3] }, { res.status, res.body })
end

local function expect_refusal(c, case)
    local res = assert(c:response())
    local status = case[3]
    if type(status) == "table" then status = res.status == status[2] and status[2] or status[1] end
    assert.same({ status, "close" }, { res.status, res.headers.connection })
    if status == 405 then assert.truthy(res.headers.allow:find("GET, HEAD", 1, true)) end
    assert.is_true(c:isClosed())
end

local function with_connection(fn)
    local c = assert(wire.connect(port))
    fn(c)
    c:close()
end

local function tests(kind, cases, expect)
    for _, case in ipairs(cases) do
        it(kind .. " " .. case[1], function()
            with_connection(function(c)
                c:send(case[2])
                expect(c, case)
            end)
        end)

        it(kind .. " " .. case[1] .. ", split at every byte", function()
            for at = 1, #case[2] - 1 do
                with_connection(function(c)
                    c:send(case[2]:sub(1, at))
                    wire.turn()
                    c:send(case[2]:sub(at + 1))
                    expect(c, case)
                end)
            end
            with_connection(function(c)
                for at = 1, #case[2] do
                    c:send(case[2]:sub(at, at))
                    wire.turn(1)
                end
                expect(c, case)
            end)
        end)

        it(kind .. " " .. case[1] .. ", between good requests", function()
            with_connection(function(c)
                c:send(GOOD .. GOOD .. case[2] .. GOOD)
                assert.equal(GOOD_BODY, c:response().body)
                assert.equal(GOOD_BODY, c:response().body)
                expect(c, case)
                if expect == expect_answer then assert.equal(GOOD_BODY, c:response().body) end
            end)
        end)

        it(kind .. " " .. case[1] .. ", between good requests, split at every byte", function()
            for at = 0, #case[2] do
                with_connection(function(c)
                    c:send(GOOD .. case[2]:sub(1, at))
                    wire.turn()
                    c:send(case[2]:sub(at + 1) .. GOOD)
                    assert.equal(GOOD_BODY, c:response().body)
                    expect(c, case)
                    if expect == expect_answer then assert.equal(GOOD_BODY, c:response().body) end
                end)
            end
        end)
    end
end

describe("the http server", function()
    tests("answers", ACCEPTED, expect_answer)
    tests("refuses", REFUSED, expect_refusal)
end)
