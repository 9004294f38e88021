import { defineConfig } from "vitest/config"

export default defineConfig({
  resolve: { tsconfigPaths: true },
  // The timeout is for what hangs, not for a busy machine.
  test: { include: ["test/**/*.test.ts"], pool: "forks", testTimeout: 30_000 }
})
