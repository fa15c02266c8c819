-- A browser without a window, driven by the DevTools protocol: it loads a page, runs its scripts
-- and does what the spec says.
local codec = require "codec"
local crypto = require "crypto"
local fs = require "fs"
local json = require "json"
local process = require "process"
local task = require "task"
local timer = require "timer"
local websocket = require "websocket"

local browser = {}
local Page = {}
Page.__index = Page

local PATIENCE_MS = 60000
local FLAGS = {
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-extensions", "--disable-sync",
    "--remote-debugging-port=0", "--window-size=1000,900",
}

local function runs(name)
    local try = ("command -v %s && timeout 60 %s --headless=new --no-sandbox --disable-gpu "
        .. "--disable-dev-shm-usage --dump-dom about:blank"):format(name, name)
    return os.execute("(" .. try .. ") </dev/null >/dev/null 2>&1") == 0
end

local function find()
    for _, name in ipairs { "chromium", "chromium-browser", "google-chrome" } do
        if runs(name) then return name end
    end
    return false
end

-- The name of the program; false where there is none, or none that runs on this machine.
local found
function browser.program()
    if found == nil then found = find() end
    return found
end

-- What went wrong on a page: an error that a script raised, or one that the browser wrote into its
-- log, such as what a policy has refused. nil for other events.
local function fault_of(message)
    if message.method == "Runtime.exceptionThrown" then
        return message.params.exceptionDetails.text
    end
    local entry = message.method == "Log.entryAdded" and message.params.entry
    return entry and entry.level == "error" and entry.text or nil
end

-- What the browser answers to a command. Of the events that come before, faults are kept.
local function command(self, method, params)
    self.id = self.id + 1
    assert(self.ws:json { id = self.id, method = method, params = params or json.decode("{}"),
        sessionId = self.session })
    local give_up = timer.now() + PATIENCE_MS
    while timer.now() < give_up do
        local message = json.decode(assert(self.ws:read(PATIENCE_MS)))
        if message.id == self.id then
            assert(not message.error, message.error and message.error.message)
            return message.result
        end
        self.faults[#self.faults + 1] = fault_of(message)
    end
    error("the browser did not answer " .. method)
end

-- What has the browser trust a certificate: the hash of its key.
local function trust(cert)
    local body = crypto.key(cert):publicPem():gsub("%-%-%-%-%-[^\n]*", ""):gsub("%s", "")
    return "--ignore-certificate-errors-spki-list="
        .. crypto.hash("sha256", assert(codec.base64.decode(body)), "base64")
end

-- Starts a browser with an empty page; it trusts `cert`, if there is one.
function browser.start(cert)
    local dir = assert(fs.tempDir())
    local flags = { "--user-data-dir=" .. dir, cert and trust(cert) }
    for _, flag in ipairs(FLAGS) do flags[#flags + 1] = flag end
    local child = assert(process.spawn(browser.program(), flags, { stdin = "null", stdout = "null",
        stderr = "pipe" }))
    local self = setmetatable({ child = child, dir = dir, id = 0, faults = {} }, Page)
    local url = assert(task.withTimeout(PATIENCE_MS, function()
        while true do
            local line, err = child:readErrorLine()
            if not line then return nil, err end
            local there = line:match("^DevTools listening on (ws://%S+)")
            if there then return there end
        end
    end))
    self.ws = assert(websocket.connect(url, { maxMessageSize = 2 ^ 26 }))
    local target = command(self, "Target.createTarget", { url = "about:blank" })
    self.session = command(self, "Target.attachToTarget",
        { targetId = target.targetId, flatten = true }).sessionId
    command(self, "Runtime.enable")
    command(self, "Log.enable")
    return self
end

-- The value of an expression, waited for where it is a promise.
function Page:eval(expression)
    local result = command(self, "Runtime.evaluate", { expression = expression,
        awaitPromise = true, returnByValue = true })
    local failure = result.exceptionDetails
    if failure then
        error(failure.exception and failure.exception.description or failure.text, 2)
    end
    return result.result.value
end

-- Waits until an expression is true.
function Page:await(expression)
    local give_up = timer.now() + PATIENCE_MS
    while true do
        local ok, value = pcall(self.eval, self, expression) -- the page may just be going away
        if ok and value then return value end
        assert(timer.now() < give_up, "waited too long for " .. expression)
        timer.sleep(20)
    end
end

function Page:open(url)
    command(self, "Page.navigate", { url = url })
    self:await("document.readyState === 'complete' && location.href === " .. json.encode(url))
end

-- Shows pages as on another device: `width` in pixels; options: dark, phone, scripts (false: none).
function Page:showAs(width, options)
    command(self, "Emulation.setDeviceMetricsOverride",
        { width = width, height = 900, deviceScaleFactor = 1, mobile = options.phone or false })
    local scheme = { name = "prefers-color-scheme", value = options.dark and "dark" or "light" }
    command(self, "Emulation.setEmulatedMedia", { features = { scheme } })
    command(self, "Emulation.setScriptExecutionDisabled", { value = options.scripts == false })
end

-- The bytes of a picture (PNG) of the page.
function Page:screenshot()
    local data = command(self, "Page.captureScreenshot", { format = "png" }).data
    return codec.base64.decode(data)
end

function Page:stop()
    self.session = nil
    pcall(command, self, "Browser.close")
    self.ws:close()
    if not self.child:wait(10000) then
        self.child:kill("SIGKILL")
        self.child:wait(5000)
    end
    fs.remove(self.dir, { recursive = true })
end

return browser
