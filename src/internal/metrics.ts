import * as Context from "effect/Context"

/** Counts for the metrics. Only programs that switch metrics on contain it. */
export interface Counting {
  /** Makes the observer that counts the calls of one side. */
  readonly calls: (context: Context.Context<never>, side: "client" | "server") => object
  /** Counts what an endpoint refuses for the sake of security, by the name of its provider. */
  readonly refused: (context: Context.Context<never>, refused: "login" | "message", provider: string) => void
}

/** What counts. A program without metrics has none. */
export const counting: Context.Reference<Counting | undefined> = Context.Reference<Counting | undefined>(
  "@callisto/rpc/Observability/counting",
  { defaultValue: () => undefined }
)
