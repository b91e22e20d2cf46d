import { fileURLToPath } from "node:url";

import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const GATEWAY = process.env.GATEWAY ?? "http://127.0.0.1:8080";

export default defineConfig({
  base: "/ui/",
  plugins: [react()],
  resolve: { alias: { "~": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    outDir: process.env.UI_OUT ?? "../mcp_operator_proxy/inspector/static",
    emptyOutDir: true,
    // light-dark(), <dialog>, :has()
    target: ["chrome123", "edge123", "firefox121", "safari17.5"],
    // a data: URL is none of the scripts that the page's policy lets in, and a font or image as a file is cached
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 700,
    license: { fileName: "licenses.md" },
  },
  server: { proxy: { "/ui/api": GATEWAY, "^/(?!ui/|src/|node_modules/|@)": GATEWAY } },
  test: { environment: "node", include: ["src/**/*.test.ts"], testTimeout: 60_000 },
});
