#!/usr/bin/env node
/// <reference types="node" />
/**
 * The demo: asynchronous calls hash the files of a folder, the client cancels calls that take too long, and a timeline shows when
 * each call waited, ran and ended. It is `callisto demo`; importing this module runs it.
 *
 * ```sh
 * npx @callisto/rpc demo
 * deno run -A jsr:@callisto/rpc/demo
 * bunx @callisto/rpc demo FOLDER
 * ```
 *
 * @module
 * @since 0.1.0
 */
import process from "node:process"

process.argv.splice(2, 0, "demo")
await import("./cli.ts")
