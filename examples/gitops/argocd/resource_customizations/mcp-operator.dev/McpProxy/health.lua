-- Health of an McpProxy for Argo CD, from the conditions that the operator writes (docs/conditions.md).
-- Argo CD runs this as Lua 5.1 without the libraries string, math and io.
local hs = { status = "Progressing", message = "Waiting for the operator" }

-- Reasons of what another object has to mend, which may come a moment later in the same sync.
local awaited = {
  NoServerSelected = true,
  RefNotFound = true,
  ServerInvalid = true,
}

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end
local ready = conditions["Ready"]
if ready == nil then
  return hs
end
hs.message = ready.message

-- The operator has not seen this version of the spec yet, so the conditions speak of another.
if obj.metadata.generation ~= nil and obj.status.observedGeneration ~= obj.metadata.generation then
  hs.message = "Waiting for the operator"
  return hs
end

local programmed = conditions["Programmed"]
if programmed ~= nil and programmed.reason == "Paused" then
  hs.status = "Suspended"
  hs.message = programmed.message
  return hs
end
if ready.status == "True" then
  hs.status = "Healthy"
  return hs
end

hs.message = ready.reason .. ": " .. ready.message
local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  hs.status = "Degraded"
  return hs
end
local reconciling = conditions["Reconciling"]
if (reconciling ~= nil and reconciling.status == "True") or ready.status == "Unknown" or awaited[ready.reason] then
  return hs
end
hs.status = "Degraded"
return hs
