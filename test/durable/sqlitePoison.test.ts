import { poison } from "./poison.ts"
import { sqlite } from "./worlds.ts"

poison(sqlite)
