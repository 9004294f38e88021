import { defineConfig } from "vitest/config"

export default defineConfig({
  resolve: { tsconfigPaths: true },
  test: {
    // A hang shall fail, a busy machine shall not.
    testTimeout: 30_000,
    include: ["test/**/*.test.ts"],
    pool: "forks"
  }
})
