-- The documented calls on API keys of Cogniac and of CartoVista, as calls of Keyward's REST paths.
-- rest-compat.yaml runs it ahead of the transcoder, and says at its top what differs.

-- Ids go into another path, so that they may hold nothing that has a meaning in one.
local ID = "([%w._~-]+)"

-- What is not in the documents is left as it is: our own paths go through.
local function rules(method, path)
  local user, id, tenant

  -- Cogniac knows no tenant in paths: it is the caller's own.
  user = path:match("^/1/users/" .. ID .. "/apiKeys$")
  if user and (method == "GET" or method == "POST") then
    return {path = "/v1/tenants/-/users/" .. user .. "/keys"}
  end
  user, id = path:match("^/1/users/" .. ID .. "/apiKeys/" .. ID .. "$")
  if user and (method == "GET" or method == "DELETE") then
    return {path = "/v1/tenants/-/keys/" .. id, is_void = method == "DELETE"}
  end

  tenant, user = path:match("^/" .. ID .. "/api/v2/User/" .. ID .. "/ApiKey$")
  if tenant and (method == "GET" or method == "POST") then
    return {path = "/v1/tenants/" .. tenant .. "/users/" .. user .. "/keys", creates = method == "POST"}
  end
  tenant, id = path:match("^/" .. ID .. "/api/v2/ApiKey/" .. ID .. "$")
  if tenant and method == "DELETE" then
    return {path = "/v1/tenants/" .. tenant .. "/keys/" .. id, is_void = true}
  end
  tenant, id = path:match("^/" .. ID .. "/api/v2/ApiKey/" .. ID .. "/generateSecret$")
  if tenant and method == "POST" then
    return {path = "/v1/tenants/" .. tenant .. "/keys/" .. id .. ":generateSecretKey", body = "{}"}
  end
  tenant = path:match("^/" .. ID .. "/api/v2/ApiKey$")
  if tenant and method == "POST" then
    return {updates = "/v1/tenants/" .. tenant .. "/keys/"}
  end
end

-- Where the value that begins at `from` ends: a string, or anything up to the comma or bracket that is not its own.
local function value_end(text, from)
  local depth, at, is_text = 0, from, false
  while at <= #text do
    local char = text:sub(at, at)
    if is_text then
      if char == "\\" then
        at = at + 1
      elseif char == '"' then
        is_text = false
        if depth == 0 then
          return at
        end
      end
    elseif char == '"' then
      is_text = true
    elseif char == "[" or char == "{" then
      depth = depth + 1
    elseif char == "]" or char == "}" then
      if depth == 0 then
        return at - 1
      end
      depth = depth - 1
      if depth == 0 then
        return at
      end
    elseif char == "," and depth == 0 then
      return at - 1
    end
    at = at + 1
  end
end

-- The fields of a JSON object, each with the text of its value; nil unless all of them are known, each there once.
local function fields(text, known)
  local found, at = {}, text:match("^%s*{%s*()")
  if not at then
    return nil
  end
  while text:sub(at, at) ~= "}" do
    local name, from = text:match('^"(%w+)"%s*:%s*()', at)
    local to = name and value_end(text, from)
    if not to or not known[name] or found[name] then
      return nil
    end
    found[name] = text:sub(from, to):match("^(.-)%s*$")
    at = text:match("^%s*()", to + 1)
    if text:sub(at, at) == "," then
      at = text:match("^%s*()", at + 1)
    elseif text:sub(at, at) ~= "}" then
      return nil
    end
  end
  return text:match("^%s*$", at + 1) and found
end

-- CartoVista's names of what a key has, and ours. `grants` is ours: without any, a key of ours may do nothing.
local NAMES = {
  notes = "description",
  ipWhitelisting = "allowedIps",
  ipWhitelisted = "allowedIps",
  grants = "grants",
}

local function as_key(given)
  local key = {}
  for theirs, ours in pairs(NAMES) do
    if given[theirs] then
      key[#key + 1] = '"' .. ours .. '":' .. given[theirs]
    end
  end
  return "{" .. table.concat(key, ",") .. "}"
end

local function refuse(handle, text)
  handle:respond({[":status"] = "400", ["content-type"] = "application/json"}, '{"code":3,"message":"' .. text .. '"}')
end

local function body_of(handle)
  local body = handle:body(true)
  return body:getBytes(0, body:length())
end

local function set_body(handle, text)
  handle:headers():replace("content-type", "application/json")
  handle:headers():replace("content-length", tostring(handle:body(true):setBytes(text)))
end

-- Their header and query parameter `apiKey` and their header `secretKey` become ours. They are added, never put in the
-- place of another: Keyward refuses two credentials.
local function translate_credentials(headers, query)
  for theirs, ours in pairs({apikey = "x-api-key", secretkey = "x-secret-key"}) do
    for index = 0, headers:getNumValues(theirs) - 1 do
      headers:add(ours, headers:getAtIndex(theirs, index))
    end
    headers:remove(theirs)
  end
  local kept = {}
  for pair in query:gmatch("[^&]+") do
    local key = pair:match("^apiKey=(.*)$")
    if key then
      headers:add("x-api-key", key)
    else
      kept[#kept + 1] = pair
    end
  end
  return kept
end

-- One call of theirs is two of ours: what the key is, and whether it works. What takes away goes first and what gives
-- goes last, so that a call that fails between the two leaves less allowed, not more. The first goes through this
-- listener.
local function update(handle, prefix)
  local known = {accessKey = true, enabled = true, ipWhitelisted = true, notes = true, grants = true}
  local given = fields(body_of(handle), known)
  local id = given and given.accessKey and given.accessKey:match('^"' .. ID .. '"$')
  if not id or (given.enabled ~= "true" and given.enabled ~= "false") or not given.ipWhitelisted or not given.notes then
    return refuse(handle, "the body must have accessKey, enabled, ipWhitelisted and notes, and nothing undocumented")
  end
  local change = {
    method = "PATCH",
    path = prefix .. id .. "?updateMask=description,allowedIps" .. (given.grants and ",grants" or ""),
    body = as_key(given),
  }
  local verb = given.enabled == "true" and ":activate" or ":suspend"
  local switch = {method = "POST", path = prefix .. id .. verb, body = "{}"}
  local first, last = switch, change
  if given.enabled == "true" then
    first, last = change, switch
  end
  local headers = handle:headers()
  local sent = {[":method"] = first.method, [":path"] = first.path, [":authority"] = headers:get(":authority")}
  sent["content-type"] = "application/json"
  for _, name in ipairs({"authorization", "x-api-key", "x-secret-key"}) do
    local values = {}
    for index = 0, headers:getNumValues(name) - 1 do
      values[#values + 1] = headers:getAtIndex(name, index)
    end
    if #values > 0 then
      sent[name] = values
    end
  end
  local answer, text = handle:httpCall("self", sent, first.body, 15000)
  if answer[":status"] ~= "200" then
    return handle:respond({[":status"] = answer[":status"], ["content-type"] = answer["content-type"]}, text)
  end
  -- What was had of the handle before the call is not valid any more.
  handle:headers():replace(":method", last.method)
  handle:headers():replace(":path", last.path)
  set_body(handle, last.body)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path, query = headers:get(":path"):match("^([^?]*)%??(.*)$")
  local rule = rules(headers:get(":method"), path)
  if not rule then
    return
  end
  local kept = translate_credentials(headers, query)
  if rule.updates then
    return update(handle, rule.updates)
  end
  headers:replace(":path", rule.path .. (#kept > 0 and "?" .. table.concat(kept, "&") or ""))
  if rule.is_void then
    handle:streamInfo():dynamicMetadata():set("compat", "is_void", true)
  end
  if rule.creates then
    local given = fields(body_of(handle), {ipWhitelisting = true, notes = true, grants = true})
    if not given then
      return refuse(handle, "the body must have ipWhitelisting and notes, and nothing undocumented")
    end
    set_body(handle, as_key(given))
  elseif rule.body then
    set_body(handle, rule.body)
  end
end

-- What they document to answer without a body does so here too.
function envoy_on_response(handle)
  local ours = handle:streamInfo():dynamicMetadata():get("compat")
  if ours and ours.is_void and handle:headers():get(":status") == "200" then
    handle:body(true):setBytes("")
    handle:headers():replace(":status", "204")
    handle:headers():remove("content-type")
    handle:headers():remove("content-length")
  end
end
