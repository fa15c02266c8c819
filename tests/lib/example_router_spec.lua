describe("examples/router.lua", function()
    local app

    setup(function()
        rawset(_G, "TESTING", true)
        app = dofile("examples/router.lua")
        rawset(_G, "TESTING", nil)
    end)

    it("keeps notes", function()
        local JSON = { ["content-type"] = "application/json" }
        assert.equal("[]", select(3, app:call("GET", "/api/notes")))
        local status,
            headers = app:call("POST", "/api/notes", { headers = JSON, body = '{"text":"milk"}' })
        assert.same({ 201, "/api/notes/1" }, { status, headers.location })
        assert.equal(200, (app:call("GET", "/api/notes/1")))
        assert.equal(422, (app:call("POST", "/api/notes", { headers = JSON, body = "[]" })))
        assert.equal(400, (app:call("POST", "/api/notes", { headers = JSON, body = "{" })))
        local long = '{"text":"' .. ("x"):rep(5000) .. '"}'
        assert.equal(413, (app:call("POST", "/api/notes", { headers = JSON, body = long })))
    end)

    it("deletes them for those who may", function()
        assert.equal(401, (app:call("DELETE", "/api/notes/1")))
        local options = { headers = { authorization = "Bearer let-me" } }
        assert.equal(204, (app:call("DELETE", "/api/notes/1", options)))
        assert.equal(404, (app:call("DELETE", "/api/notes/1", options)))
    end)

    it("answers what is not there in JSON, and redirects its root", function()
        local status, headers, body = app:call("GET", "/api/none")
        assert.same({ 404, "application/json", '{"error":"there is nothing at this address"}' },
            { status, headers["content-type"], body })
        assert.equal("/api/notes", select(2, app:call("GET", "/")).location)
    end)
end)
