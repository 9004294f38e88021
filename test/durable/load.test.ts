import { load } from "./load.ts"
import { postgres, sqlite } from "./worlds.ts"

load(sqlite)
load(postgres)
