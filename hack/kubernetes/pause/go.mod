module mcp-operator.dev/hack/kubernetes/pause

go 1.26.0
