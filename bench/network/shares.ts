// The share list as ordinary schemas.
import { Schema } from "effect"

const entries = <S extends Schema.Struct.Fields>(fields: S) =>
  Schema.Struct({
    entries: Schema.NullOr(Schema.Array(Schema.Struct(fields)))
  })

export const Shares = Schema.Struct({
  info: Schema.Union([
    Schema.Struct({
      case: Schema.Literal(0),
      value: entries({ name: Schema.String })
    }),
    Schema.Struct({
      case: Schema.Literal(1),
      value: entries({
        name: Schema.String,
        type: Schema.Int,
        remark: Schema.NullOr(Schema.String)
      })
    })
  ]),
  total: Schema.Int
})
