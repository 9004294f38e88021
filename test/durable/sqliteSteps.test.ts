import { steps } from "./steps.ts"
import { sqlite } from "./worlds.ts"

steps(sqlite)
