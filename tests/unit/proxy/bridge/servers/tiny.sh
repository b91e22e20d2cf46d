# The cheapest stdio MCP server: it answers every request, with its pid as a tool's result. The tool crash ends it.
# With the argument modern it refuses the handshake.
while IFS= read -r line; do
    case $line in *'"id":'*) ;; *) continue ;; esac
    id=${line#*\"id\":}
    id=${id%%[,\}]*}
    case $line in
    *'"method":"initialize"'*)
        if [ "$1" = modern ]; then
            printf '{"jsonrpc":"2.0","id":%s,"error":{"code":-32022,"message":"no handshake"}}\n' "$id"
            continue
        fi
        printf '{"jsonrpc":"2.0","id":%s,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"sh","version":"1"}}}\n' "$id"
        ;;
    *'"method":"server/discover"'*)
        printf '{"jsonrpc":"2.0","id":%s,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}}\n' "$id"
        ;;
    *'"name":"crash"'*) exit 3 ;;
    *) printf '{"jsonrpc":"2.0","id":%s,"result":{"content":[],"structuredContent":{"pid":%s}}}\n' "$id" "$$" ;;
    esac
done
