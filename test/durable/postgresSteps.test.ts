import { steps } from "./steps.ts"
import { postgres } from "./worlds.ts"

steps(postgres)
