local access = {}
function access.new() end
return access
