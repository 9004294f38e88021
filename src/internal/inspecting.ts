import * as Context from "effect/Context"
import type { Observer } from "../Observability.ts"

/** The observer of the inspector, beside that of the program. A program without an inspector has none. */
export const inspecting: Context.Reference<Observer | undefined> = Context.Reference<Observer | undefined>(
  "@callisto/rpc/Observability/inspecting",
  { defaultValue: () => undefined }
)
