# The cheapest stdio MCP server: it answers every request, with its pid as a tool's result. The tool crash ends it.
while IFS= read -r line; do
    case $line in *'"id":'*) ;; *) continue ;; esac
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case $line in
    *'"method":"initialize"'*)
        printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id"
        ;;
    *'"name":"crash"'*) exit 3 ;;
    *) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":{"pid":%s}}}\n' "$id" "$$" ;;
    esac
done
