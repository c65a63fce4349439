import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The files must be the same wherever and whenever they are built, and must not need to know below which path they are
// shown: all addresses in them are relative.
export default defineConfig({
  base: "./",
  plugins: [react()],
  build: {
    outDir: "../internal/web/dist",
    emptyOutDir: true,
    target: "es2023",
    cssCodeSplit: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": "http://127.0.0.1:8082" } },
  test: { include: ["src/**/*.test.ts", "src/**/*.test.tsx"] },
});
